"""Feedback through the API, the Python client and the command line: who may give it, and what it changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import grpc.aio
import pytest
from click.testing import CliRunner, Result

from gateway.audit import reading
from gateway.audit.cases import Cases, Verdict
from gateway.audit.log import AuditLog, Terms
from gateway.audit.marks import Marker, key_of
from gateway.audit.reading import Record, Wanted
from gateway.cli.main import cli
from gateway.client import AsyncClient, CallFailed, Client
from gateway.config import AdmissionSection, Config
from gateway.errors import UnknownAnswer
from gateway.rpc.server import Ports, Server
from gateway.telemetry.metrics import Metrics
from gateway.types import Principal
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from tests.fakes import FakeGateway

ACME = Principal("acme", frozenset({"staff"}))


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path, 0, Marker(key_of(tmp_path, None), 1.0), Terms(text_tenants=frozenset({"open"})))


@pytest.fixture
async def server(gateway: FakeGateway, config: Config, metrics: Metrics, log: AuditLog) -> AsyncIterator[Server]:
    server = Server(gateway, config, metrics, audit=log)
    yield server
    await server.stop()
    log.close()


@pytest.fixture
def target(ports: Ports) -> str:
    return f"127.0.0.1:{ports.grpc}"


def told(folder: Path, log: AuditLog) -> list[Record]:
    """What the chain has of feedback."""
    log.close()
    return list(reading.records(folder, Wanted(kind="feedback")))


def verdicts(folder: Path) -> list[Verdict]:
    with closing(Cases(folder)) as cases:
        return list(cases.verdicts())


def holds(folder: Path, words: bytes) -> bool:
    """Whether any file does."""
    return any(words in path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_a_verdict_is_taken_once(target: str, tmp_path: Path, log: AuditLog, metrics: Metrics) -> None:
    async with AsyncClient(target, ACME, timeout=10) as client:
        answer = await client.answer("When does my card come?")
        assert answer.audited
        assert await client.feedback(answer.audit_id, is_correct=False, document_id="card-swallowed")
        assert not await client.feedback(answer.audit_id, is_correct=False, document_id="card-swallowed")
        assert await client.feedback(answer.audit_id, is_correct=True)
    first, second = told(tmp_path, log)
    assert (first["id"], first["tenant"], first["verdict"]) == (answer.audit_id, "acme", "incorrect")
    assert (first["document"], second["verdict"], second["document"]) == ("card-swallowed", "correct", "")
    assert metrics.registry.get_sample_value("gateway_feedback_total", {"verdict": "incorrect"}) == 1
    with closing(Cases(tmp_path)) as cases:
        (counted,) = cases.tallies()
    assert (counted.route, counted.stratum.drawn, counted.stratum.judged, counted.stratum.wrong) == ("model", 1, 1, 0)


async def test_only_the_tenant_that_was_answered_may_judge(target: str, tmp_path: Path, log: AuditLog) -> None:
    async with AsyncClient(target, ACME, timeout=10) as client:
        answer = await client.answer("When does my card come?")
    for principal in (Principal("other"), Principal()):
        async with AsyncClient(target, principal, timeout=10) as client:
            with pytest.raises(CallFailed) as caught:
                await client.feedback(answer.audit_id, is_correct=False)
            assert (caught.value.code, caught.value.reason) == ("NOT_FOUND", "UNKNOWN_ANSWER")
    async with AsyncClient(target, Principal("acme"), timeout=10) as client:  # in no group, and of the tenant
        assert await client.feedback(answer.audit_id, is_correct=True)
    assert len(told(tmp_path, log)) == 1


@pytest.mark.parametrize("answer_id", ["", "abc", "0" * 40, "zz" * 20], ids=repr)
async def test_an_id_that_was_never_given_is_unknown(target: str, answer_id: str) -> None:
    async with AsyncClient(target, ACME, timeout=10) as client:
        with pytest.raises(CallFailed) as caught:
            await client.feedback(answer_id, is_correct=True)
    assert caught.value.reason == "UNKNOWN_ANSWER"


def test_an_answer_that_is_too_old_is_unknown(tmp_path: Path) -> None:
    now = 1_800_000_000.0
    log = AuditLog(tmp_path, 0, Marker(key_of(tmp_path, None), 1.0), Terms(), lambda: now)
    mark = log.marker.mark("acme", now)
    assert log.judge(Verdict(mark.id, "acme", is_wrong=True))
    now += 91 * 86_400
    with pytest.raises(UnknownAnswer):
        log.judge(Verdict(mark.id, "acme", is_wrong=False))
    log.close()


async def test_comments_are_kept_only_of_tenants_that_allow_texts(target: str, tmp_path: Path, log: AuditLog) -> None:
    for tenant in ("acme", "open"):
        async with AsyncClient(target, Principal(tenant), timeout=10) as client:
            answer = await client.answer("When does my card come?")
            await client.feedback(answer.audit_id, is_correct=False, comment=f"a secret of {tenant}")
    log.close()
    assert [one.comment for one in verdicts(tmp_path)] == ["", "a secret of open"]
    assert not holds(tmp_path, b"secret of acme")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.GiveFeedbackRequest(), "verdict"),
        (pb.GiveFeedbackRequest(verdict=pb.VERDICT_CORRECT, label="x" * 129), "label"),
        (pb.GiveFeedbackRequest(verdict=pb.VERDICT_CORRECT, label="a\nb"), "label"),
        (pb.GiveFeedbackRequest(verdict=pb.VERDICT_CORRECT, document_id="a b"), "document_id"),
        (pb.GiveFeedbackRequest(verdict=pb.VERDICT_INCORRECT, document_id="a", no_answer=True), "no_answer"),
        (pb.GiveFeedbackRequest(verdict=pb.VERDICT_CORRECT, comment="x" * 2001), "comment"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
async def test_what_is_malformed_is_named(
    channel: grpc.aio.Channel, request_: pb.GiveFeedbackRequest, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway_pb2_grpc.AnswersStub(channel).GiveFeedback(request_)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (caught.value.details() or "").startswith(f"{field}: ")


async def test_without_an_audit_log_nothing_is_taken(gateway: FakeGateway, config: Config, metrics: Metrics) -> None:
    server = Server(gateway, config, metrics)
    ports = await server.start()
    async with AsyncClient(f"127.0.0.1:{ports.grpc}", timeout=10) as client:
        with pytest.raises(CallFailed) as caught:
            await client.feedback("0" * 40, is_correct=True)
    assert (caught.value.code, caught.value.reason) == ("FAILED_PRECONDITION", "NO_AUDIT_LOG")
    await server.stop()


async def test_a_verdict_counts_against_the_quota(
    gateway: FakeGateway, config: Config, metrics: Metrics, log: AuditLog
) -> None:
    limited = config.model_copy(update={"admission": AdmissionSection(tenant_rate=0.001, tenant_burst=2)})
    server = Server(gateway, limited, metrics, audit=log)
    ports = await server.start()
    async with AsyncClient(f"127.0.0.1:{ports.grpc}", ACME, timeout=1) as client:
        answer = await client.answer("When does my card come?")
        assert await client.feedback(answer.audit_id, is_correct=True)
        with pytest.raises(CallFailed, match=r"RESOURCE_EXHAUSTED|DEADLINE_EXCEEDED"):
            await client.feedback(answer.audit_id, is_correct=False)
    await server.stop()


def run(target: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["feedback", "--target", target, "--tenant", "acme", *arguments])


async def test_feedback_from_the_command_line(target: str, tmp_path: Path, log: AuditLog) -> None:
    def ask_and_judge() -> tuple[list[Result], list[str]]:
        ids = []
        for tenant in ("acme", "acme", "other"):
            with Client(target, Principal(tenant), timeout=10) as client:
                ids.append(client.answer("When does my card come?").audit_id)
        file = tmp_path / "verdicts.jsonl"
        rows = [
            {"id": ids[1], "verdict": "incorrect", "no_answer": True},
            {"id": ids[2], "verdict": "incorrect", "tenant": "other", "label": "card_arrival"},
        ]
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        one = (ids[0], "correct")
        return [run(target, *one), run(target, *one), run(target, "--file", str(file))], ids

    results, ids = await asyncio.to_thread(ask_and_judge)
    assert [result.output for result in results] == ["taken\n", "known already\n", "2 verdicts, 2 of them new\n"]
    log.close()
    found = {one.id: one for one in verdicts(tmp_path)}
    assert [found[one].is_wrong for one in ids] == [False, True, True]
    assert (found[ids[1]].no_answer, found[ids[2]].label, found[ids[2]].tenant) == (True, "card_arrival", "other")


@pytest.mark.parametrize(
    ("arguments", "line", "words"),
    [
        ((), "", "name an answer and a verdict"),
        (("0" * 40,), "", "name an answer and a verdict"),
        (("--file", "F"), "{", "F:1: is no JSON"),
        (("--file", "F"), '{"id": "a", "verdict": "maybe"}', "F:1: needs an id, and a verdict"),
        (("--file", "F"), '{"id": "a", "verdict": "correct", "lable": "b"}', "has no key 'lable'"),
    ],
)
def test_a_wrong_command_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], line: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("F").write_text(line)
    result = run("127.0.0.1:1", *arguments)
    assert result.exit_code != 0
    assert words in result.output


async def test_what_is_drawn_waits_to_be_judged_and_is_reported(target: str, tmp_path: Path, log: AuditLog) -> None:
    async with AsyncClient(target, Principal("open"), timeout=10) as client:
        answers = [await client.answer(f"question {number}") for number in range(4)]
        await client.feedback(answers[0].audit_id, is_correct=False)
    log.close()
    result = CliRunner().invoke(cli, ["audit", "pending", "--folder", str(tmp_path), "--json"])
    records = [json.loads(line) for line in result.output.splitlines()]
    assert [(one["id"], one["text"]) for one in records] == [
        (answer.audit_id, f"question {number}") for number, answer in enumerate(answers) if number
    ]
    report = CliRunner().invoke(cli, ["audit", "report", "--folder", str(tmp_path)]).output
    assert "model" in report
    assert "100.00 %" in report
    empty = CliRunner().invoke(cli, ["audit", "report", "--folder", str(tmp_path / "0")])
    assert (empty.exit_code, "nothing was drawn" in empty.output) == (1, True)
