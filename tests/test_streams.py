"""Streams of questions over a real connection: out of order, failing alone, bounded, and ended cleanly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest

from gateway.client import AsyncClient, CallFailed
from gateway.config import Config, ServerSection
from gateway.deadline import Deadline
from gateway.rpc import streams
from gateway.rpc.server import OPTIONS, Ports, Server
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


@pytest.fixture
async def narrow(ports: Ports) -> AsyncIterator[gateway_pb2_grpc.AnswersStub]:
    """A caller for whom HTTP/2 holds no more than 64 KiB that were not read."""
    options = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}", options=options) as channel:
        yield gateway_pb2_grpc.AnswersStub(channel)


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


async def test_an_old_stream_ends_after_what_it_has_read(
    monkeypatch: pytest.MonkeyPatch, answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, sender: Sender
) -> None:
    monkeypatch.setattr(streams, "AGE", 0.2)
    gate = gated(gateway, "slow")
    call = answers.AnswerStream(sender)
    sender.ask("slow")
    await asyncio.wait_for(_until(lambda: bool(gateway.questions)), 5)
    await asyncio.sleep(0.4)
    gate.set()
    assert (await call.read()).request_id == "slow"
    with pytest.raises(grpc.aio.AioRpcError, match="open another") as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_stream_outlives_its_connection_s_age(monkeypatch: pytest.MonkeyPatch, gateway: FakeGateway) -> None:
    young = tuple((name, 300 if name == "grpc.max_connection_age_ms" else value) for name, value in OPTIONS)
    monkeypatch.setattr("gateway.rpc.server.OPTIONS", young)
    server = Server(gateway, Config(server=ServerSection(port=0, admin_port=0)), Metrics())
    ports = await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
            sender = Sender()
            call = gateway_pb2_grpc.AnswersStub(channel).AnswerStream(sender)
            for text in ("young", "old"):
                sender.ask(text)
                assert (await call.read()).request_id == text
                await asyncio.sleep(1)
            sender.end()
            assert await call.read() is grpc.aio.EOF
    finally:
        await server.stop()


async def test_a_drain_waits_until_the_answers_are_written(
    narrow: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, sender: Sender, server: Server
) -> None:
    gateway.behaviour = _big
    call = narrow.AnswerStream(sender)
    for text in "abcd":
        sender.ask(text)
    await asyncio.wait_for(_until(lambda: len(gateway.questions) == 4), 5)
    draining = asyncio.create_task(server.drain())
    await asyncio.sleep(0.3)
    assert not draining.done()
    assert {(await call.read()).request_id for _ in range(4)} == set("abcd")
    with pytest.raises(grpc.aio.AioRpcError, match="stopping"):
        await call.read()
    await asyncio.wait_for(draining, 5)


async def test_a_caller_who_takes_no_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch, narrow: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, sender: Sender
) -> None:
    monkeypatch.setattr(streams, "PATIENCE", 0.2)
    gateway.behaviour = _big
    call = narrow.AnswerStream(sender)
    for text in ("taken", "dropped", "dropped"):
        sender.ask(text)
    await asyncio.sleep(0.8)
    sender.ask("not read")
    assert (await call.read()).request_id == "taken"
    with pytest.raises(grpc.aio.AioRpcError, match="no answer was taken") as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(gateway.questions) == 3


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
    async with AsyncClient(f"127.0.0.1:{ports.grpc}", timeout=5) as client:
        stream = client.answer_stream(_texts(asked))
        for number in range(3):
            asked.put_nowait("why?")
            assert await anext(stream) == (number, ANSWER)
        asked.put_nowait("")
        assert [pair async for pair in stream] == []


async def test_the_client_goes_on_in_another_stream(
    monkeypatch: pytest.MonkeyPatch, ports: Ports, gateway: FakeGateway
) -> None:
    monkeypatch.setattr(streams, "AGE", 0.2)
    asked: asyncio.Queue[str] = asyncio.Queue()
    async with AsyncClient(f"127.0.0.1:{ports.grpc}", timeout=5) as client:
        stream = client.answer_stream(_texts(asked))
        for number in range(3):
            asked.put_nowait("why?")
            assert await anext(stream) == (number, ANSWER)
            await asyncio.sleep(0.3)
        asked.put_nowait("")
        assert [pair async for pair in stream] == []


async def test_a_question_that_comes_after_the_hand_over_is_answered(
    monkeypatch: pytest.MonkeyPatch, ports: Ports
) -> None:
    """The client waits for answers when its stream ends; what gRPC still reads for that one must not be lost."""
    monkeypatch.setattr(streams, "AGE", 0.2)

    async def questions() -> AsyncIterator[str]:
        for _ in range(4):
            yield "why?"
            await asyncio.sleep(0.3)

    async with AsyncClient(f"127.0.0.1:{ports.grpc}", timeout=5) as client:
        async with asyncio.timeout(20):
            assert [pair async for pair in client.answer_stream(questions())] == [(at, ANSWER) for at in range(4)]


async def test_a_caller_that_asks_nothing_for_long_goes_on(monkeypatch: pytest.MonkeyPatch, ports: Ports) -> None:
    monkeypatch.setattr(streams, "AGE", 0.1)
    monkeypatch.setattr("gateway.client.client.QUIET", 0.05)

    async def questions() -> AsyncIterator[str]:
        await asyncio.sleep(1.5)
        yield "why?"

    async with AsyncClient(f"127.0.0.1:{ports.grpc}", timeout=5) as client:
        async with asyncio.timeout(20):
            assert [pair async for pair in client.answer_stream(questions())] == [(0, ANSWER)]


async def test_many_questions_to_nobody_end_too() -> None:
    async with AsyncClient("127.0.0.1:1", timeout=5) as client:
        async with asyncio.timeout(20):
            with pytest.raises(CallFailed, match="UNAVAILABLE"):
                [pair async for pair in client.answer_stream(["why?"] * 100)]


async def test_what_the_callers_own_questions_raise_reaches_the_caller(ports: Ports) -> None:
    async def questions() -> AsyncIterator[str]:
        yield "why?"
        raise RuntimeError("the file is at its end")

    found = []
    async with AsyncClient(f"127.0.0.1:{ports.grpc}", timeout=5) as client:
        with pytest.raises(RuntimeError, match="the file is at its end"):  # noqa: PT012  # what came before it counts
            async for pair in client.answer_stream(questions()):
                found.append(pair)  # noqa: PERF401
        assert found == [(0, ANSWER)]
        with pytest.raises(ValueError, match="surrogates not allowed"):
            [pair async for pair in client.answer_stream(["\ud800"])]


async def test_a_long_timeout_fits_into_the_message(ports: Ports) -> None:
    async with AsyncClient(f"127.0.0.1:{ports.grpc}") as client:
        assert [pair async for pair in client.answer_stream(["why?"], timeout=1e9)] == [(0, ANSWER)]


async def test_nobody_there_is_unavailable() -> None:
    async with AsyncClient("127.0.0.1:1", timeout=5) as client:
        with pytest.raises(CallFailed, match="UNAVAILABLE"):
            [pair async for pair in client.answer_stream(["why?"])]


async def _texts(asked: asyncio.Queue[str]) -> AsyncIterator[str]:
    """As they are handed in, until an empty one."""
    while text := await asked.get():
        yield text


async def _big(question: Question, deadline: Deadline) -> Answer:
    return replace(ANSWER, text="x" * 100_000)


def _response(data: bytes) -> pb.AnswerStreamResponse:
    return pb.AnswerStreamResponse.FromString(data)


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0.005)
