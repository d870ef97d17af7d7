"""Refusals over a real connection: the same admission for every method, and what callers get told."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import grpc.aio
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from gateway.config import AdmissionSection, Config
from gateway.convert import POLICY_TO_PROTO
from gateway.deadline import Deadline
from gateway.rpc.server import Server
from gateway.telemetry.metrics import Metrics
from gateway.types import Answer, Criticality, Forecast, Policy, Question
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from tests.fakes import ANSWER, FakeGateway

QUEUE = Forecast(wait=9.5, backlog=9.5, service=0.002, cost=0.002)
"""Too long for 5 s, the default here, and short enough for a batch of two."""
Kind = TypeVar("Kind", bound=Message)
ONE = pb.AnswerRequest(question="why?")
SHEDDABLE = (("x-criticality", "sheddable"),)


@pytest.fixture
def answers(channel: grpc.aio.Channel) -> gateway_pb2_grpc.AnswersStub:
    return gateway_pb2_grpc.AnswersStub(channel)


@pytest.fixture
def knowledge(channel: grpc.aio.Channel) -> gateway_pb2_grpc.KnowledgeStub:
    return gateway_pb2_grpc.KnowledgeStub(channel)


def detail(error: grpc.aio.AioRpcError, kind: Kind) -> Kind:
    """`kind`, filled with what the details hold of it."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # the hints know only synchronous calls
    assert status is not None
    assert any(one.Unpack(kind) for one in status.details)
    return kind


def reason(error: grpc.aio.AioRpcError) -> str:
    return str(detail(error, error_details_pb2.ErrorInfo()).reason)


def rejected(metrics: Metrics, why: str, criticality: str = "critical") -> float:
    labels = {"reason": why, "criticality": criticality}
    return metrics.registry.get_sample_value("gateway_admission_rejected_total", labels) or 0.0


async def test_an_answer_that_would_be_late_is_refused_before_any_work(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, metrics: Metrics
) -> None:
    gateway.next_forecast = QUEUE
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers.Answer(ONE, metadata=SHEDDABLE)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert reason(caught.value) == "BUDGET"
    assert "predicted 9500.0 ms of waiting and 2.0 ms of work" in (caught.value.details() or "")
    assert "grpc-retry-pushback-ms" not in dict(caught.value.trailing_metadata())
    assert gateway.questions == []
    assert rejected(metrics, "deadline", "sheddable") == 1


async def test_a_search_is_refused_in_the_same_way(
    knowledge: gateway_pb2_grpc.KnowledgeStub, gateway: FakeGateway
) -> None:
    gateway.next_forecast = QUEUE
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await knowledge.Search(pb.SearchRequest(query="card"))
    assert reason(caught.value) == "BUDGET"
    assert gateway.searches == []


async def test_items_of_a_batch_are_refused_one_by_one(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, metrics: Metrics
) -> None:
    async def fill(question: Question, deadline: Deadline) -> Answer:
        gateway.next_forecast = QUEUE
        return ANSWER

    gateway.behaviour = fill
    response = await answers.AnswerBatch(pb.AnswerBatchRequest(items=[ONE, ONE, ONE]), timeout=5)
    assert [item.WhichOneof("result") for item in response.items] == ["answer", "error", "error"]
    assert {item.error.reason for item in response.items[1:]} == {"BUDGET"}
    assert rejected(metrics, "deadline") == 2


async def test_questions_of_a_stream_are_refused_one_by_one(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, metrics: Metrics
) -> None:
    call = answers.AnswerStream()
    await call.write(pb.AnswerStreamRequest(question=ONE))
    assert (await call.read()).WhichOneof("result") == "answer"
    gateway.next_forecast = QUEUE
    await call.write(pb.AnswerStreamRequest(question=ONE))
    assert (await call.read()).error.reason == "BUDGET"
    await call.write(pb.AnswerStreamRequest(question=ONE, timeout_ms=9800))
    assert (await call.read()).error.reason == "OVERLOADED"  # in time, but most of its time would be waiting
    await call.done_writing()
    assert (rejected(metrics, "deadline"), rejected(metrics, "shed")) == (1, 1)


async def test_an_unknown_criticality_is_the_caller_s_fault(answers: gateway_pb2_grpc.AnswersStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers.Answer(ONE, metadata=(("x-criticality", "urgent"),))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    violations = detail(caught.value, error_details_pb2.BadRequest()).field_violations
    assert [(one.field, "'urgent'" in one.description) for one in violations] == [("x-criticality", True)]


async def test_what_is_shed_may_come_back_later(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, metrics: Metrics
) -> None:
    gateway.next_forecast = Forecast(wait=2.0, backlog=2.0, service=0.002, cost=0.002)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers.Answer(ONE)
    assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
    assert 50 <= int(dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"]) <= 150
    assert rejected(metrics, "shed") == 1
    assert await answers.Answer(ONE, metadata=(("x-criticality", "critical-plus"),))


async def test_what_has_waited_on_its_way_is_shed_once_that_is_a_queue(
    answers: gateway_pb2_grpc.AnswersStub, metrics: Metrics
) -> None:
    quick, late = ((("x-timeout-ms", milliseconds),) for milliseconds in ("5000", "60000"))  # 5 s are left of both
    await answers.Answer(ONE, timeout=5, metadata=quick)
    refusals = []
    for _ in range(8):
        await asyncio.sleep(0.11)
        try:
            await answers.Answer(ONE, timeout=5, metadata=late)
        except grpc.aio.AioRpcError as error:
            refusals.append((error.code(), reason(error)))
    assert set(refusals) == {(grpc.StatusCode.UNAVAILABLE, "OVERLOADED")}
    assert rejected(metrics, "shed") >= 1
    assert await answers.Answer(ONE, timeout=5, metadata=quick)


async def test_draining_sends_callers_elsewhere_at_once(
    channel: grpc.aio.Channel, server: Server, metrics: Metrics
) -> None:
    """Of a stream that is open, as other calls are not refused but go elsewhere."""
    stream = gateway_pb2_grpc.AnswersStub(channel).AnswerStream()
    await stream.wait_for_connection()
    await server.drain()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"] == "0"
    assert rejected(metrics, "draining") == 1


class TestQuota:
    """A server where each tenant may ask a question every 100 s, and two at once."""

    @pytest.fixture
    def config(self, config: Config) -> Config:
        return config.model_copy(update={"admission": AdmissionSection(tenant_rate=0.01, tenant_burst=2)})

    async def test_the_tenant_and_the_time_are_named(
        self, answers: gateway_pb2_grpc.AnswersStub, metrics: Metrics
    ) -> None:
        for _ in range(2):
            await answers.Answer(ONE, metadata=(("x-tenant", "acme"),))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await answers.Answer(ONE, metadata=(("x-tenant", "acme"),))
        assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
        assert 90_000 < int(dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"]) <= 100_000
        assert 90 <= detail(caught.value, error_details_pb2.RetryInfo()).retry_delay.seconds <= 100
        violations = detail(caught.value, error_details_pb2.QuotaFailure()).violations
        assert [one.subject for one in violations] == ["tenant:acme"]
        assert rejected(metrics, "quota") == 1
        assert await answers.Answer(ONE)

    async def test_a_batch_counts_by_its_questions(self, answers: gateway_pb2_grpc.AnswersStub) -> None:
        response = await answers.AnswerBatch(pb.AnswerBatchRequest(items=[ONE] * 3))
        assert [item.error.reason for item in response.items] == ["", "", "QUOTA_EXCEEDED"]


class TestBrownOut:
    """A server whose level is above that of the brown-out, because it is 0."""

    @pytest.fixture
    def config(self, config: Config) -> Config:
        section = AdmissionSection(brownout_level=0)
        return config.model_copy(update={"admission": section})

    @pytest.fixture
    def server(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
        monkeypatch.setattr("gateway.rpc.shedding.Shedding.level", lambda _, now: 0.1)
        return server

    @pytest.mark.parametrize(
        ("criticality", "policy", "may_search"),
        [
            (Criticality.SHEDDABLE, Policy.CASCADE, False),
            (Criticality.SHEDDABLE_PLUS, Policy.ENSEMBLE, False),
            (Criticality.SHEDDABLE, Policy.RETRIEVAL_ONLY, True),
            (Criticality.CRITICAL, Policy.CASCADE, True),
        ],
    )
    async def test_sheddable_questions_do_without_a_search_that_is_optional(
        self,
        answers: gateway_pb2_grpc.AnswersStub,
        gateway: FakeGateway,
        criticality: Criticality,
        policy: Policy,
        may_search: bool,
    ) -> None:
        request = pb.AnswerRequest(question="why?", policy=POLICY_TO_PROTO[policy])
        await answers.Answer(request, metadata=(("x-criticality", criticality.value),))
        assert [one.may_search for one in gateway.questions] == [may_search]
