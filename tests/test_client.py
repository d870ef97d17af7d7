"""The client against a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

import pytest

from gateway.client import AsyncClient, CallFailed, Client, as_json
from gateway.deadline import Deadline
from gateway.errors import Overloaded
from gateway.rpc.admission import Caller
from gateway.rpc.callers import caller_of
from gateway.rpc.server import Ports
from gateway.types import Answer, Found, Policy, Principal, Question, Ranker
from tests.fakes import ABSTENTION, ANSWER, CITATION, FakeGateway

STAFF = Principal("acme", frozenset({"staff"}))


async def test_it_asks_as_whom_it_says(ports: Ports, gateway: FakeGateway) -> None:
    async with AsyncClient(f"127.0.0.1:{ports.grpc}", STAFF, timeout=5) as client:
        answer = await client.answer("why?", collection="legal", policy=Policy.MODEL_ONLY, max_citations=1)
    assert answer == ANSWER
    assert gateway.questions == [Question("why?", "legal", STAFF, Policy.MODEL_ONLY, 1)]


async def test_batches_keep_their_order_and_their_failures(ports: Ports) -> None:
    async with AsyncClient(f"127.0.0.1:{ports.grpc}", timeout=5) as client:
        answers = await client.answer_batch(["why?", "", "how?"])
    assert [type(answer) for answer in answers] == [Answer, CallFailed, Answer]
    failed = answers[1]
    assert isinstance(failed, CallFailed)
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "INVALID_QUESTION")


async def test_a_refusal_keeps_code_and_reason(ports: Ports) -> None:
    async with AsyncClient(f"127.0.0.1:{ports.grpc}", timeout=5) as client:
        with pytest.raises(CallFailed) as caught:
            await client.answer("why?", collection="nope")
    assert (caught.value.code, caught.value.reason) == ("NOT_FOUND", "UNKNOWN_COLLECTION")


async def test_what_was_shed_is_tried_again(ports: Ports, gateway: FakeGateway) -> None:
    async def second_time(question: Question, deadline: Deadline) -> Answer:
        if len(gateway.questions) < 2:
            raise Overloaded("full")
        return ANSWER

    gateway.behaviour = second_time
    async with AsyncClient(f"127.0.0.1:{ports.grpc}", timeout=5) as client:
        assert await client.answer("why?") == ANSWER
    assert len(gateway.questions) == 2


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The metadata of all calls, as the server gets it."""
    seen: list[dict[str, str]] = []

    def noted(metadata: Iterable[tuple[str, str]]) -> Caller:
        seen.append(dict(metadata))
        return caller_of(metadata)

    monkeypatch.setattr("gateway.rpc.callers.caller_of", noted)
    return seen


async def test_it_says_how_long_it_gives_a_call_and_grpc_that_it_is_tried_again(
    ports: Ports, gateway: FakeGateway, claims: list[dict[str, str]]
) -> None:
    await test_what_was_shed_is_tried_again(ports, gateway)
    assert [(one["x-timeout-ms"], one.get("grpc-previous-rpc-attempts")) for one in claims] == [
        ("5000", None),
        ("5000", "1"),
    ]


async def test_without_asyncio_it_says_so_too(ports: Ports, claims: list[dict[str, str]]) -> None:
    def ask() -> None:
        with Client(f"127.0.0.1:{ports.grpc}", timeout=2) as client:
            client.answer("why?", timeout=3)
            client.answer_batch(["why?"])

    await asyncio.to_thread(ask)
    assert [one["x-timeout-ms"] for one in claims] == ["3000", "2000"]


@pytest.mark.parametrize("left", [0.0, -1.0])
async def test_no_time_left_is_not_no_deadline(ports: Ports, gateway: FakeGateway, left: float) -> None:
    async with AsyncClient(f"127.0.0.1:{ports.grpc}") as client:
        with pytest.raises(CallFailed, match="DEADLINE_EXCEEDED"):
            await client.answer("why?", timeout=left)
    assert gateway.questions == []


async def test_it_works_without_asyncio(ports: Ports) -> None:
    def ask() -> tuple[Answer, list[Answer | CallFailed]]:
        with Client(f"127.0.0.1:{ports.grpc}", timeout=5) as client:
            return client.answer("why?"), client.answer_batch(["why?"])

    assert await asyncio.to_thread(ask) == (ANSWER, [ANSWER])


async def test_nobody_there_is_unavailable() -> None:
    async with AsyncClient("127.0.0.1:1", timeout=5) as client:
        with pytest.raises(CallFailed) as caught:
            await client.answer("why?")
    assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "")


def test_json_has_the_keys_of_the_api() -> None:
    answer = json.loads(as_json(ABSTENTION))
    assert answer["route"] == "ROUTE_ABSTAIN"
    assert answer["reason"] == "REASON_NO_EVIDENCE"
    assert answer["handoff"] == {"document_ids": ["card-arrival"]}


def test_json_has_every_field_that_is_there() -> None:
    answer = json.loads(as_json(ABSTENTION, "r-1"))
    assert (answer["text"], answer["label"], answer["batch_size"], answer["timings"]) == ("", "", 0, [])
    assert answer["request_id"] == "r-1"
    assert answer["knowledge_version"] == 0
    assert json.loads(as_json(ANSWER))["knowledge_version"] == 7
    assert json.loads(as_json(ANSWER))["citations"][0]["document_version"] == 5
    assert "model_confidence" not in answer
    assert "handoff" not in json.loads(as_json(ANSWER))


async def test_it_searches(ports: Ports, gateway: FakeGateway) -> None:
    def search() -> list[Found]:
        with Client(f"127.0.0.1:{ports.grpc}", STAFF, timeout=5) as client:
            return client.search("card")

    expected = [Found("card-arrival", CITATION.title, CITATION.uri, 0.75, (CITATION,), 1.25)]
    async with AsyncClient(f"127.0.0.1:{ports.grpc}", STAFF, timeout=5) as client:
        assert await client.search("card", collection="legal", limit=2, ranker=Ranker.LEXICAL) == expected
        with pytest.raises(CallFailed, match="limit"):
            await client.search("card", limit=51)
    assert await asyncio.to_thread(search) == expected
    assert gateway.searches == [
        ("card", "legal", STAFF, 2, Ranker.LEXICAL),
        ("card", "banking", STAFF, 5, Ranker.HYBRID),
    ]
