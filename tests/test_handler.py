"""The wrapper by itself: deadlines that are past on arrival, and whose cancellation it was."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import pytest

from gateway.errors import Unavailable
from gateway.rpc.admission import Admission, Terms
from gateway.rpc.callers import Callers
from gateway.rpc.handler import Call, Door, Limits, Method, only_the_caller_cancels, unary_handler
from gateway.rpc.observing import Observer
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.traces import Tracing
from gateway.v1 import gateway_pb2 as pb
from tests.fakes import FakeGateway

REJECTED = {"reason": "deadline", "criticality": "critical"}


class FakeContext:
    """As much of a servicer context as the wrapper uses."""

    def __init__(self, remaining: float | None) -> None:
        self.remaining = remaining
        self.code = grpc.StatusCode.OK

    def time_remaining(self) -> float | None:
        return self.remaining

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    async def abort(self, code: grpc.StatusCode, details: str, trailers: object) -> None:
        self.code = code
        raise Aborted


class Aborted(Exception):
    """As abort raises."""


class Asked:
    """A method that records the calls it gets."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def __call__(self, request: pb.SearchRequest, call: Call) -> pb.SearchResponse:
        self.calls.append(call)
        return pb.SearchResponse()


@pytest.fixture
def asked() -> Asked:
    return Asked()


def opened(asked: Asked, metrics: Metrics) -> Any:
    admission = Admission(Terms(permits=1), FakeGateway().forecast)
    limits = Limits(default_timeout=0.2, max_timeout=10.0)
    observer = Observer(Tracing(metrics.traces))
    door = Door(metrics, Callers(None, metrics.access), admission, limits, observer, clock=lambda: 100.0)
    method: Method[Any, Any] = Method("gateway.v1.Knowledge", "Search", pb.SearchRequest, asked)
    return cast("Any", unary_handler(method, door)).unary_unary


@pytest.mark.parametrize("remaining", [0.0, -0.001, -5.0])
async def test_nothing_is_done_for_a_deadline_that_is_past(asked: Asked, remaining: float) -> None:
    metrics = Metrics()
    context = FakeContext(remaining)
    with pytest.raises(Aborted):
        await opened(asked, metrics)(pb.SearchRequest(), context)
    assert context.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert asked.calls == []
    assert metrics.registry.get_sample_value("gateway_admission_rejected_total", REJECTED) == 1


@pytest.mark.parametrize(("remaining", "at"), [(None, 100.2), (0.05, 100.05), (3600.0, 110.0)])
async def test_the_deadline_is_the_callers_within_the_servers(asked: Asked, remaining: float | None, at: float) -> None:
    await opened(asked, Metrics())(pb.SearchRequest(), FakeContext(remaining))
    assert asked.calls[0].deadline.at == pytest.approx(at)


async def test_a_cancellation_of_the_task_is_let_through() -> None:
    entered = asyncio.Event()

    async def wait() -> None:
        with only_the_caller_cancels():
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_of_something_else_is_unavailable() -> None:
    with pytest.raises(Unavailable), only_the_caller_cancels():
        raise asyncio.CancelledError
