"""Streams of questions over a real connection: out of order, failing alone, bounded, and ended cleanly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from gateway.client import AsyncClient, CallFailed
from gateway.deadline import Deadline
from gateway.rpc import streams
from gateway.rpc.server import Ports, Server
from gateway.telemetry.metrics import Code, Metrics
from gateway.types import Answer, Policy, Principal, Question
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from tests.fakes import ANSWER, FakeGateway

LABELS = {"grpc_type": "bidi_stream", "grpc_service": "gateway.v1.Answers", "grpc_method": "AnswerStream"}
REJECTED = {"reason": "overload", "criticality": "critical"}


class Sender:
    """Questions that a test hands in one by one; `None` ends the stream."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[pb.AnswerStreamRequest | None] = asyncio.Queue()

    def ask(self, text: str, timeout_ms: int = 0) -> None:
        self.queue.put_nowait(
            pb.AnswerStreamRequest(question=pb.AnswerRequest(question=text, request_id=text), timeout_ms=timeout_ms)
        )

    def end(self) -> None:
        self.queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[pb.AnswerStreamRequest]:
        while (request := await self.queue.get()) is not None:
            yield request


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def answers(channel: grpc.aio.Channel) -> gateway_pb2_grpc.AnswersStub:
    return gateway_pb2_grpc.AnswersStub(channel)


def gated(gateway: FakeGateway, *slow: str) -> asyncio.Event:
    """The gateway answers `slow` questions only once the event is set."""
    gate = asyncio.Event()

    async def answer(question: Question, deadline: Deadline) -> Answer:
        if question.text in slow:
            await gate.wait()
        return ANSWER

    gateway.behaviour = answer
    return gate


async def test_answers_come_when_they_are_ready(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, sender: Sender
) -> None:
    gate = gated(gateway, "slow")
    call = answers.AnswerStream(sender, metadata=(("x-tenant", "acme"),))
    sender.ask("slow")
    sender.ask("quick")
    first = await call.read()
    gate.set()
    second = await call.read()
    assert [first.request_id, second.request_id] == ["quick", "slow"]
    assert first.answer.request_id == "quick"
    assert gateway.questions[0] == Question("slow", "banking", Principal("acme"), Policy.CASCADE, 3)
    sender.end()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_question_fails_alone(answers: gateway_pb2_grpc.AnswersStub, sender: Sender) -> None:
    call = answers.AnswerStream(sender)
    sender.ask(" ")
    failed = await call.read()
    assert (failed.request_id, failed.error.code, failed.error.reason) == (" ", 3, "INVALID_QUESTION")
    assert "question.question" in failed.error.message
    sender.ask("why?")
    assert (await call.read()).answer.document_id == ANSWER.document_id
    sender.end()


async def test_each_question_has_a_deadline_of_its_own(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, sender: Sender
) -> None:
    gate = gated(gateway, "late", "patient")
    call = answers.AnswerStream(sender)
    sender.ask("patient")
    sender.ask("late", timeout_ms=1)
    late = await call.read()
    assert (late.request_id, late.error.reason) == ("late", "DEADLINE_EXCEEDED")
    gate.set()
    assert (await call.read()).request_id == "patient"
    assert gateway.deadlines[0].at - gateway.deadlines[1].at > 4  # the server's default, 5 s in these tests
    sender.end()


async def test_more_than_the_permits_is_refused_question_by_question(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, sender: Sender, metrics: Metrics
) -> None:
    gate = gated(gateway, *"abcd")
    call = answers.AnswerStream(sender)
    for text in "abcde":
        sender.ask(text)
    refused = await call.read()
    assert (refused.request_id, refused.error.reason) == ("e", "OVERLOADED")
    assert metrics.registry.get_sample_value("gateway_admission_rejected_total", REJECTED) == 1
    gate.set()
    assert {(await call.read()).request_id for _ in range(4)} == set("abcd")
    sender.end()


async def test_no_more_is_read_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
    answers: gateway_pb2_grpc.AnswersStub,
    gateway: FakeGateway,
    sender: Sender,
) -> None:
    monkeypatch.setattr(streams, "AT_ONCE", 2)
    gate = gated(gateway, *"abc")
    call = answers.AnswerStream(sender)
    for text in "abc":
        sender.ask(text)
    sender.end()
    await asyncio.wait_for(_until(lambda: len(gateway.questions) == 2), 5)
    await asyncio.sleep(0.1)
    assert len(gateway.questions) == 2
    gate.set()
    assert {(await call.read()).request_id for _ in range(3)} == set("abc")


async def test_a_malformed_message_ends_the_stream_after_what_was_read(
    channel: grpc.aio.Channel, gateway: FakeGateway
) -> None:
    gate = gated(gateway, "slow")
    method: Any = channel.stream_stream("/gateway.v1.Answers/AnswerStream", response_deserializer=_response)
    call = method()
    await call.write(pb.AnswerStreamRequest(question=pb.AnswerRequest(question="slow")).SerializeToString())
    await call.write(b"\xff\xff")
    await asyncio.wait_for(_until(lambda: bool(gateway.questions)), 5)
    gate.set()
    assert (await call.read()).answer.document_id == ANSWER.document_id
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "AnswerStreamRequest" in (caught.value.details() or "")


async def test_a_server_that_stops_answers_what_it_has_read(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, sender: Sender, server: Server
) -> None:
    gate = gated(gateway, "slow")
    call = answers.AnswerStream(sender)
    sender.ask("slow")
    await asyncio.wait_for(_until(lambda: bool(gateway.questions)), 5)
    draining = asyncio.create_task(server.drain())
    await asyncio.sleep(0.1)
    gate.set()
    assert (await call.read()).request_id == "slow"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await draining


async def test_a_caller_who_leaves_frees_the_permits(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, sender: Sender, metrics: Metrics
) -> None:
    gated(gateway, "slow")
    call = answers.AnswerStream(sender)
    sender.ask("slow")
    await asyncio.wait_for(_until(lambda: bool(gateway.questions)), 5)
    call.cancel()

    def in_flight() -> float | None:
        return metrics.registry.get_sample_value("gateway_inflight_requests")

    await asyncio.wait_for(_until(lambda: in_flight() == 0), 5)
    assert (
        metrics.registry.get_sample_value("grpc_server_handled_total", LABELS | {"grpc_code": Code.CANCELLED.value})
        == 1
    )


async def test_the_client_pairs_answers_with_questions(ports: Ports, gateway: FakeGateway) -> None:
    async def answer(question: Question, deadline: Deadline) -> Answer:
        await asyncio.sleep(0.05 if question.text == "slow" else 0)
        return ANSWER

    gateway.behaviour = answer
    async with AsyncClient(f"127.0.0.1:{ports.grpc}", timeout=5) as client:
        found = [pair async for pair in client.answer_stream(["slow", "", "quick"])]
    by_number = dict(found)
    assert (by_number[0], by_number[2]) == (ANSWER, ANSWER)
    assert isinstance(by_number[1], CallFailed)
    assert found[-1][0] == 0


async def test_the_client_takes_questions_as_they_come(ports: Ports) -> None:
    asked: asyncio.Queue[str] = asyncio.Queue()

    async def questions() -> AsyncIterator[str]:
        while text := await asked.get():
            yield text

    async with AsyncClient(f"127.0.0.1:{ports.grpc}", timeout=5) as client:
        stream = client.answer_stream(questions())
        for number in range(3):
            asked.put_nowait("why?")
            assert await anext(stream) == (number, ANSWER)
        asked.put_nowait("")
        assert [pair async for pair in stream] == []


async def test_nobody_there_is_unavailable() -> None:
    async with AsyncClient("127.0.0.1:1", timeout=5) as client:
        with pytest.raises(CallFailed, match="UNAVAILABLE"):
            [pair async for pair in client.answer_stream(["why?"])]


def _response(data: bytes) -> pb.AnswerStreamResponse:
    return pb.AnswerStreamResponse.FromString(data)


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0.005)
