"""A server with an audit log: every answer that leaves it is in there, by the name that its caller was told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway import auditing
from gateway.audit import reading
from gateway.audit.log import AuditLog, Terms
from gateway.audit.marks import Marker
from gateway.audit.reading import Record, Wanted
from gateway.client import AsyncClient, CallFailed
from gateway.config import AuditSection, Config
from gateway.deadline import Deadline
from gateway.errors import ConfigInvalid, DeadlineExceeded
from gateway.rpc.server import Ports, Server
from gateway.telemetry.metrics import Metrics
from gateway.types import Answer, Principal, Question
from tests.fakes import ANSWER, FakeGateway

KEY = bytes(range(32))


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path, 0, Marker(KEY, 1.0), Terms())


@pytest.fixture
async def server(gateway: FakeGateway, config: Config, metrics: Metrics, log: AuditLog) -> AsyncIterator[Server]:
    server = Server(gateway, config, metrics, audit=log)
    yield server
    await server.stop()
    log.close()


@pytest.fixture
async def client(ports: Ports) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(f"127.0.0.1:{ports.grpc}", Principal("acme", frozenset({"staff"})), timeout=10) as client:
        yield client


def records(folder: Path, log: AuditLog) -> list[Record]:
    log.close()
    return list(reading.records(folder, Wanted(kind="answer")))


async def test_an_answer_is_written_by_the_name_that_its_caller_is_told(
    client: AsyncClient, tmp_path: Path, log: AuditLog
) -> None:
    answer = await client.answer("When does my card come?", request_id="r-1")
    (record,) = records(tmp_path, log)
    assert (record["id"], record["drawn"], record["propensity"]) == (answer.audit_id, True, 1.0)
    assert (answer.audited, answer.audit_propensity) == (True, 1.0)
    assert (record["tenant"], record["groups"], record["request_id"]) == ("acme", ["staff"], "r-1")
    assert record["document"] == ANSWER.document_id
    assert 0 < record["us"] < 10e6


async def test_so_are_those_of_batches_and_streams_but_no_failures(
    client: AsyncClient, gateway: FakeGateway, tmp_path: Path, log: AuditLog
) -> None:
    async def picky(question: Question, deadline: Deadline) -> Answer:
        if question.text == "slow":
            raise DeadlineExceeded("too slow")
        return ANSWER

    gateway.behaviour = picky
    batch = await client.answer_batch(["one", "slow", "two"])
    stream = [answer async for _, answer in client.answer_stream(["three", "slow", "four"])]
    given = {answer.audit_id for answer in [*batch, *stream] if not isinstance(answer, CallFailed)}
    assert {record["id"] for record in records(tmp_path, log)} == given
    assert len(given) == 4


async def test_an_answer_without_room_in_the_log_is_given_all_the_same(
    client: AsyncClient, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "offer", lambda *_: None)
    answer = await client.answer("When does my card come?")
    assert (answer.document_id, answer.audit_id, answer.audited) == (ANSWER.document_id, "", False)


async def test_the_metrics_tell_of_the_log(client: AsyncClient, ports: Ports, log: AuditLog) -> None:
    await client.answer("When does my card come?")
    log.close()
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{ports.admin}/metrics") as response:
        text = await response.text()
    assert "gateway_audit_written_total 1.0" in text
    assert "gateway_audit_dropped_total 0.0" in text
    assert "gateway_audit_failing 0.0" in text


async def test_without_a_log_an_answer_has_no_name(gateway: FakeGateway, config: Config, metrics: Metrics) -> None:
    server = Server(gateway, config, metrics)
    ports = await server.start()
    async with AsyncClient(f"127.0.0.1:{ports.grpc}", timeout=10) as client:
        assert (await client.answer("why?")).audit_id == ""
    await server.stop()


def test_settings_become_a_log(tmp_path: Path) -> None:
    assert auditing.audit_log(AuditSection(), 0) is None
    section = AuditSection(folder=tmp_path / "audit", share=0.25, text_tenants=frozenset({"acme"}))
    log = auditing.audit_log(section, 3)
    assert log is not None
    assert (log.marker.share, log.keeps_text("acme"), log.keeps_text("other")) == (0.25, True, False)
    with pytest.raises(ConfigInvalid, match="written by another gateway"):
        auditing.audit_log(section, 3)
    log.close()
    assert {path.name for path in (tmp_path / "audit").iterdir()} == {"3", "cases.db", "key"}
    (tmp_path / "file").touch()
    with pytest.raises(ConfigInvalid, match="cannot be written"):
        auditing.audit_log(AuditSection(folder=tmp_path / "file" / "audit"), 0)
