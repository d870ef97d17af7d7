"""The client against a real server."""

from __future__ import annotations

import asyncio
import json
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

import pytest

from gateway.client import AsyncClient, CallFailed, Client, ServerFailed, TryLater, WrongRequest, as_json
from gateway.client.failures import failed
from gateway.deadline import Deadline
from gateway.errors import Overloaded
from gateway.rpc.admission import Caller
from gateway.rpc.callers import caller_of
from gateway.rpc.server import Ports
from gateway.rpc.status import TABLE
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
    assert [type(answer) for answer in answers] == [Answer, WrongRequest, Answer]
    failed = answers[1]
    assert isinstance(failed, WrongRequest)
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


FOREIGN = {
    "numpy",
    "pydantic",
    "aiohttp",
    "prometheus_client",
    "onnxruntime",
    "tokenizers",
    "hnswlib",
    "faiss",
    "uvloop",
}
OURS = {"client", "convert", "dates", "errors", "types", "v1"}


def test_it_imports_nothing_of_the_server() -> None:
    script = "import gateway.client, sys; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = ran.stdout.split()
    assert not FOREIGN & {name.partition(".")[0] for name in modules}
    assert {name.split(".")[1] for name in modules if name.startswith("gateway.")} == OURS


async def test_what_is_wrong_with_a_request_is_named(ports: Ports) -> None:
    async with AsyncClient(f"127.0.0.1:{ports.grpc}", timeout=5) as client:
        with pytest.raises(WrongRequest) as caught:
            await client.answer("")
    assert caught.value.field == "question"
    assert caught.value.retry_after is None


async def test_who_is_refused_for_load_hears_when_to_come_back(ports: Ports, gateway: FakeGateway) -> None:
    async def full(question: Question, deadline: Deadline) -> Answer:
        raise Overloaded("full")

    gateway.behaviour = full
    async with AsyncClient(f"127.0.0.1:{ports.grpc}", timeout=5) as client:
        with pytest.raises(TryLater) as caught:
            await client.answer("why?")
    assert caught.value.reason == "OVERLOADED"
    assert caught.value.retry_after is not None
    assert 0.05 <= caught.value.retry_after <= 1.5


def test_every_status_of_the_server_has_a_class() -> None:
    kinds = {(row.code.name, row.reason): type(failed(row.code.name, "", row.reason)) for row in TABLE.values()}
    assert CallFailed not in kinds.values()
    assert {key for key, kind in kinds.items() if kind is ServerFailed} == {
        ("INTERNAL", "INTERNAL"),
        ("DATA_LOSS", "DATA_LOSS"),
        ("RESOURCE_EXHAUSTED", "DISK_FULL"),
        ("FAILED_PRECONDITION", "NOT_CONFIGURED"),
    }


def test_a_failure_goes_from_one_process_to_another() -> None:
    sent = failed("UNAVAILABLE", "full", "OVERLOADED", retry_after=0.25)
    got = pickle.loads(pickle.dumps(sent))
    assert (type(got), str(got), vars(got)) == (TryLater, str(sent), vars(sent))


README = Path(__file__).parent.parent / "README.md"


async def test_what_the_readme_says_runs(ports: Ports, capsys: pytest.CaptureFixture[str]) -> None:
    section = README.read_text(encoding="utf-8").split("## From your service\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("    ") or not line]
    snippet = textwrap.dedent("\n".join(lines))
    assert '"127.0.0.1:50051", timeout=0.2' in snippet
    snippet = snippet.replace('"127.0.0.1:50051", timeout=0.2', f'"127.0.0.1:{ports.grpc}", timeout=5')
    await asyncio.to_thread(exec, snippet, {})
    assert capsys.readouterr().out == f"{ANSWER.route} {ANSWER.text}\n"
