"""The API over a real connection: answers, refusals, deadlines, cancellation, and what of an error gets out."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from gateway.config import Config
from gateway.convert import answer_from_proto
from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded, InferenceFailed, Overloaded, Unavailable
from gateway.rpc.server import Ports, Server
from gateway.telemetry.metrics import Metrics
from gateway.types import Answer, Policy, Principal, Question, Ranker
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from tests.fakes import ABSTENTION, ANSWER, CITATION, FakeGateway


@pytest.fixture
def answers(channel: grpc.aio.Channel) -> gateway_pb2_grpc.AnswersStub:
    return gateway_pb2_grpc.AnswersStub(channel)


@pytest.fixture
def knowledge(channel: grpc.aio.Channel) -> gateway_pb2_grpc.KnowledgeStub:
    return gateway_pb2_grpc.KnowledgeStub(channel)


def reasons(error: grpc.aio.AioRpcError) -> list[str]:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # the hints know only synchronous calls
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    return [info.reason for detail in status.details if detail.Unpack(info)]


def fields(error: grpc.aio.AioRpcError) -> list[str]:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    request = error_details_pb2.BadRequest()
    return [each.field for detail in status.details if detail.Unpack(request) for each in request.field_violations]


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


HANDLED = "grpc_server_handled_total"
ANSWER_LABELS = {"grpc_type": "unary", "grpc_service": "gateway.v1.Answers", "grpc_method": "Answer"}


async def test_an_answer_arrives_whole(answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway) -> None:
    response = await answers.Answer(
        pb.AnswerRequest(
            question="When will my card arrive?",
            collection="legal",
            policy=pb.POLICY_PARALLEL,
            max_citations=2,
            request_id="r-1",
        ),
        metadata=(("x-tenant", "acme"), ("x-groups", "staff, legal")),
    )
    assert answer_from_proto(response) == ANSWER
    assert response.request_id == "r-1"
    assert not response.HasField("handoff")
    assert gateway.questions == [
        Question(
            "When will my card arrive?",
            "legal",
            Principal("acme", frozenset({"staff", "legal"})),
            Policy.PARALLEL,
            2,
        )
    ]


async def test_defaults_fill_what_is_not_asked_for(answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway) -> None:
    await answers.Answer(pb.AnswerRequest(question="why?"))
    assert gateway.questions == [Question("why?", "banking", Principal(), Policy.CASCADE, 3)]


async def test_abstaining_is_ok_and_hands_off(answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway) -> None:
    async def abstain(question: Question, deadline: Deadline) -> Answer:
        return ABSTENTION

    gateway.behaviour = abstain
    response = await answers.Answer(pb.AnswerRequest(question="why?"))
    assert response.route == pb.ROUTE_ABSTAIN
    assert response.reason == pb.REASON_NO_EVIDENCE
    assert list(response.handoff.document_ids) == ["card-arrival"]
    assert not response.HasField("model_confidence")


async def test_items_of_a_batch_fail_alone(answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway) -> None:
    async def picky(question: Question, deadline: Deadline) -> Answer:
        if question.text == "slow":
            raise DeadlineExceeded("too slow")
        if question.text == "stopped":
            raise asyncio.CancelledError
        if question.text == "bug":
            raise RuntimeError("secret")
        return ANSWER

    gateway.behaviour = picky
    texts = ("fine", "", "slow", "bug")
    response = await answers.AnswerBatch(
        pb.AnswerBatchRequest(items=[pb.AnswerRequest(question=text, request_id=text) for text in texts])
    )
    assert [item.WhichOneof("result") for item in response.items] == ["answer", "error", "error", "error"]
    assert response.items[0].answer.request_id == "fine"
    assert [item.error.reason for item in response.items[1:]] == ["INVALID_QUESTION", "DEADLINE_EXCEEDED", "INTERNAL"]
    assert response.items[1].error.message.startswith("items[1].question: ")
    assert "secret" not in str(response)
    stopped = await answers.AnswerBatch(pb.AnswerBatchRequest(items=[pb.AnswerRequest(question="stopped")]))
    assert stopped.items[0].error.reason == "UNAVAILABLE"


@pytest.mark.parametrize("count", [0, 257])
async def test_batches_of_none_or_too_many_are_refused(answers: gateway_pb2_grpc.AnswersStub, count: int) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers.AnswerBatch(pb.AnswerBatchRequest(items=[pb.AnswerRequest(question="why?")] * count))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert fields(caught.value) == ["items"]


async def test_a_batch_wider_than_the_limit_is_answered_when_nothing_else_is(
    answers: gateway_pb2_grpc.AnswersStub,
) -> None:
    response = await answers.AnswerBatch(pb.AnswerBatchRequest(items=[pb.AnswerRequest(question="why?")] * 9))
    assert len(response.items) == 9


async def test_search_finds(knowledge: gateway_pb2_grpc.KnowledgeStub, gateway: FakeGateway) -> None:
    response = await knowledge.Search(pb.SearchRequest(query="card"), metadata=(("x-groups", "staff"),))
    assert gateway.searches == [("card", "banking", Principal("default", frozenset({"staff"})), 5, Ranker.HYBRID)]
    assert response.knowledge_version == 7
    assert response.hits[0].document_id == "card-arrival"
    assert response.hits[0].citations[0].quote == CITATION.quote


async def test_the_stages_of_a_search_are_counted(
    knowledge: gateway_pb2_grpc.KnowledgeStub, metrics: Metrics, ports: Ports
) -> None:
    await knowledge.Search(pb.SearchRequest(query="card"))
    for stage in ("infer", "search"):
        assert value(metrics, "gateway_stage_duration_seconds_count", stage=stage) == 1
    assert value(metrics, "gateway_queue_requests") == 5


async def test_search_is_checked_too(knowledge: gateway_pb2_grpc.KnowledgeStub) -> None:
    for request, field in ((pb.SearchRequest(query=" "), "query"), (pb.SearchRequest(query="x", limit=51), "limit")):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await knowledge.Search(request)
        assert fields(caught.value) == [field]


async def test_an_unknown_collection_is_not_found(answers: gateway_pb2_grpc.AnswersStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers.Answer(pb.AnswerRequest(question="why?", collection="nope"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert reasons(caught.value) == ["UNKNOWN_COLLECTION"]


async def test_a_bad_tenant_is_refused(answers: gateway_pb2_grpc.AnswersStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers.Answer(pb.AnswerRequest(question="why?"), metadata=(("x-tenant", "a/b"),))
    assert fields(caught.value) == ["x-tenant"]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff",
        b"\x0a\xff",  # a string longer than the message
    ],
)
async def test_bytes_that_are_not_the_message_are_invalid(
    channel: grpc.aio.Channel, gateway: FakeGateway, data: bytes
) -> None:
    raw: Any = channel.unary_unary("/gateway.v1.Answers/Answer")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw(data)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "request: is not a valid AnswerRequest"
    assert gateway.questions == []


@pytest.mark.parametrize(
    ("method", "data", "field"),
    [
        ("Answer", b"\x0a\x02\xc3\x28", "question"),
        ("Answer", b"\x0a\x03\xed\xa0\x80", "question"),  # a lone surrogate
        ("Answer", b"\x0a\x01x\x12\x01\xff", "collection"),
        ("AnswerBatch", b"\x0a\x03\x0a\x01x\x0a\x03\x2a\x01\xff", "items[1].request_id"),
    ],
)
async def test_a_string_that_is_not_utf8_is_named(
    channel: grpc.aio.Channel, gateway: FakeGateway, method: str, data: bytes, field: str
) -> None:
    raw: Any = channel.unary_unary(f"/gateway.v1.Answers/{method}")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw(data)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == f"{field}: is not UTF-8"
    assert fields(caught.value) == [field]
    assert gateway.questions == []


async def test_unknown_methods_are_unimplemented(channel: grpc.aio.Channel) -> None:
    raw: Any = channel.unary_unary("/gateway.v1.Answers/Nope")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (Overloaded("full"), grpc.StatusCode.UNAVAILABLE, "OVERLOADED"),
        (Unavailable("no tier is up"), grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
        (DeadlineExceeded("too slow"), grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    ],
)
async def test_expected_errors_keep_their_text(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, error: Exception, code: grpc.StatusCode, reason: str
) -> None:
    async def fail(question: Question, deadline: Deadline) -> Answer:
        raise error

    gateway.behaviour = fail
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers.Answer(pb.AnswerRequest(question="why?"))
    assert (caught.value.code(), caught.value.details(), reasons(caught.value)) == (code, str(error), [reason])


@pytest.mark.parametrize("error", [KeyError("secret"), InferenceFailed("secret"), TimeoutError("secret")])
async def test_our_own_failures_go_out_as_an_id_and_to_the_log_in_full(
    answers: gateway_pb2_grpc.AnswersStub,
    gateway: FakeGateway,
    metrics: Metrics,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    async def fail(question: Question, deadline: Deadline) -> Answer:
        raise error

    gateway.behaviour = fail
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers.Answer(pb.AnswerRequest(question="why?"))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    details = caught.value.details() or ""
    assert "secret" not in str(caught.value)
    assert "secret" in caplog.text
    assert details.rpartition(" ")[2] in caplog.text
    assert value(metrics, HANDLED, **ANSWER_LABELS, grpc_code="Internal") == 1


async def test_a_cancelled_future_of_ours_is_unavailable(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway
) -> None:
    async def stopped(question: Question, deadline: Deadline) -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        future.cancel()
        return await future

    gateway.behaviour = stopped
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers.Answer(pb.AnswerRequest(question="why?"), timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


class Stuck:
    """Answers only when told to, and says how it ended."""

    def __init__(self) -> None:
        self.entered = asyncio.Semaphore(0)
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, question: Question, deadline: Deadline) -> Answer:
        self.entered.release()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return ANSWER


async def test_a_caller_who_goes_away_frees_its_permit(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, metrics: Metrics
) -> None:
    stuck = Stuck()
    gateway.behaviour = stuck
    call = answers.Answer(pb.AnswerRequest(question="why?"))
    await stuck.entered.acquire()
    assert value(metrics, "gateway_inflight_requests") == 1
    call.cancel()
    await asyncio.wait_for(stuck.cancelled.wait(), 5)
    await asyncio.sleep(0)
    assert value(metrics, "gateway_inflight_requests") == 0
    assert value(metrics, HANDLED, **ANSWER_LABELS, grpc_code="Canceled") == 1


async def test_more_than_the_limit_is_shed_with_pushback(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, metrics: Metrics
) -> None:
    stuck = Stuck()
    gateway.behaviour = stuck
    calls = [answers.Answer(pb.AnswerRequest(question="why?")) for _ in range(4)]
    for _ in calls:
        await stuck.entered.acquire()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers.Answer(pb.AnswerRequest(question="why?"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reasons(caught.value) == ["OVERLOADED"]
    trailers = dict(caught.value.trailing_metadata())
    assert 50 <= int(trailers["grpc-retry-pushback-ms"]) <= 150
    assert value(metrics, "gateway_admission_rejected_total", reason="overload", criticality="critical") == 1
    stuck.release.set()
    assert len(await asyncio.gather(*calls)) == 4


@pytest.mark.parametrize("count", [0, 257])
async def test_a_batch_of_the_wrong_size_is_the_callers_fault_even_when_busy(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, count: int
) -> None:
    gateway.behaviour = stuck = Stuck()
    calls = [answers.Answer(pb.AnswerRequest(question="why?")) for _ in range(4)]
    for _ in calls:
        await stuck.entered.acquire()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers.AnswerBatch(pb.AnswerBatchRequest(items=[pb.AnswerRequest(question="why?")] * count))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    stuck.release.set()
    await asyncio.gather(*calls)


async def test_late_items_are_errors_inside_the_batch(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway
) -> None:
    left: list[float] = []

    async def late(question: Question, deadline: Deadline) -> Answer:
        left.append(deadline.remaining())
        if question.text == "late":
            raise DeadlineExceeded("too slow")
        return ANSWER

    gateway.behaviour = late
    items = [pb.AnswerRequest(question=text) for text in ("fine", "late")]
    response = await answers.AnswerBatch(pb.AnswerBatchRequest(items=items), timeout=5)
    assert response.items[0].HasField("answer")
    assert response.items[1].error.reason == "DEADLINE_EXCEEDED"
    # Less than was asked for, although gRPC rounds a timeout up by some milliseconds on its way.
    assert 0 < max(left) < 5


@pytest.mark.parametrize(("count", "least", "most"), [(1, 4, 5), (2, 9, 10), (4, 9, 10)])
async def test_a_batch_without_a_deadline_gets_the_default_for_each_item(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, count: int, least: float, most: float
) -> None:
    await answers.AnswerBatch(pb.AnswerBatchRequest(items=[pb.AnswerRequest(question="why?")] * count))
    assert least < gateway.deadlines[0].remaining() <= most


async def test_a_call_without_a_deadline_gets_the_default(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway
) -> None:
    await answers.Answer(pb.AnswerRequest(question="why?"))
    assert 0 < gateway.deadlines[0].remaining() <= 5


async def test_a_long_deadline_is_cut(answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway) -> None:
    await answers.Answer(pb.AnswerRequest(question="why?"), timeout=3600)
    assert 5 < gateway.deadlines[0].remaining() <= 10


class TestShortDefault:
    """A server whose default timeout is 50 ms."""

    @pytest.fixture
    def config(self, config: Config) -> Config:
        return config.model_copy(update={"server": config.server.model_copy(update={"default_timeout_ms": 50})})

    async def test_no_call_waits_for_ever(self, answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway) -> None:
        gateway.behaviour = stuck = Stuck()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await answers.Answer(pb.AnswerRequest(question="why?"))
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert reasons(caught.value) == ["DEADLINE_EXCEEDED"]
        assert stuck.cancelled.is_set()


async def test_draining_finishes_what_runs_and_takes_no_more(
    answers: gateway_pb2_grpc.AnswersStub, gateway: FakeGateway, server: Server, metrics: Metrics
) -> None:
    stuck = Stuck()
    gateway.behaviour = stuck
    running = answers.Answer(pb.AnswerRequest(question="why?"))
    await stuck.entered.acquire()
    drain = asyncio.create_task(server.drain())
    await asyncio.sleep(0.01)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers.Answer(pb.AnswerRequest(question="why?"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(gateway.questions) == 1
    assert not drain.done()
    stuck.release.set()
    assert (await running).route == pb.ROUTE_MODEL
    await asyncio.wait_for(drain, 5)


async def test_the_answer_is_counted_once(
    answers: gateway_pb2_grpc.AnswersStub, metrics: Metrics, ports: Ports
) -> None:
    await answers.Answer(pb.AnswerRequest(question="why?"))
    assert value(metrics, "gateway_route_decisions_total", route="model", reason="confident") == 1
    assert value(metrics, "gateway_request_duration_seconds_count", route="model", outcome="ok") == 1
    assert value(metrics, "gateway_stage_duration_seconds_count", stage="infer") == 1
    assert value(metrics, "gateway_stage_duration_seconds_count", stage="other") == 1
    assert value(metrics, "grpc_server_started_total", **ANSWER_LABELS) == 1
    assert value(metrics, HANDLED, **ANSWER_LABELS, grpc_code="OK") == 1
