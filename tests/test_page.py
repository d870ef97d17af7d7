"""The page's port: its files and headers, what is shown live, who may ask by it, and that it asks as gRPC does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.config import AccessSection, Config, ServerSection
from gateway.deadline import Deadline
from gateway.errors import InferenceFailed, Overloaded
from gateway.rpc.page.files import FOLDER, POLICY, TYPES
from gateway.rpc.page.live import Live
from gateway.rpc.server import Ports, Server
from gateway.telemetry.live.history import Levels, Reading
from gateway.telemetry.metrics import Metrics
from gateway.types import Answer, Criticality, Policy, Principal, Question
from tests.callers import created
from tests.fakes import ABSTENTION, ANSWER, FakeGateway

JSON = {"Content-Type": "application/json"}


async def called(
    ports: Ports, method: str, path: str, body: str | None = None, headers: Mapping[str, str] = JSON
) -> tuple[int, Mapping[str, str], str]:
    url = f"http://127.0.0.1:{ports.admin}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, data=body, headers=headers) as response,
    ):
        return response.status, response.headers, await response.text()


async def ask(ports: Ports, **asked: Any) -> dict[str, Any]:
    url = f"http://127.0.0.1:{ports.admin}/ask"
    async with aiohttp.ClientSession() as session, session.post(url, json=asked) as response:
        assert response.status == 200
        found: dict[str, Any] = await response.json()
        return found


async def live(ports: Ports, query: str = "") -> dict[str, Any]:
    url = f"http://127.0.0.1:{ports.admin}/live{query}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        found: dict[str, Any] = await response.json()
        return found


async def test_every_file_is_served_with_its_type_and_the_policy(ports: Ports) -> None:
    for path in FOLDER.iterdir():
        at = "/" if path.name == "index.html" else f"/page/{path.name}"
        status, headers, text = await called(ports, "GET", at)
        assert status == 200
        assert headers["Content-Type"] == f"{TYPES[path.suffix]}; charset=utf-8"
        assert headers["Content-Security-Policy"] == POLICY
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert text == path.read_text(encoding="utf-8")


def test_the_policy_lets_nothing_in_from_elsewhere_and_nothing_inline() -> None:
    assert "default-src 'none'" in POLICY
    assert "frame-ancestors 'none'" in POLICY
    assert "unsafe" not in POLICY
    assert "http" not in POLICY


@pytest.mark.parametrize("path", ["/page/", "/page/../live.py", "/page/%2e%2e/files.py", "/page/index.html"])
async def test_nothing_else_is_served(ports: Ports, path: str) -> None:
    assert (await called(ports, "GET", path))[0] == 404


async def test_what_is_live_is_told(ports: Ports, metrics: Metrics) -> None:
    first = await live(ports)
    assert first["status"]["bundle"] == "banking/1"
    assert first["status"]["target"] == {"address": f"127.0.0.1:{ports.grpc}", "options": []}
    assert first["points"] == []
    metrics.observe(ANSWER, 0.003)
    metrics.observe(ABSTENTION, 0.004)
    assert (await live(ports))["at"] == first["at"]  # two at once share a reading


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def serving(routes: Sequence[web.RouteDef]) -> AsyncIterator[Ports]:
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Ports("127.0.0.1", 0, int(runner.addresses[0][1]))
    await runner.cleanup()


async def test_readings_are_taken_as_often_as_they_are_asked_for_and_not_oftener() -> None:
    clock, answers = Clock(), 0

    async def read(at: float) -> Reading:
        return Reading(at, {"decision/model/confident": answers}, Levels(in_flight=3))

    async def describe() -> dict[str, Any]:
        return {"bundle": "banking/1"}

    async with serving(Live(read, describe, clock).routes()) as ports:
        first = await live(ports)
        assert first["points"] == []
        clock.now, answers = 100.5, 3
        assert (await live(ports))["points"] == []
        clock.now = 101.0
        second = await live(ports)
        assert [(one["number"], one["routes"]["model"], one["in_flight"]) for one in second["points"]] == [(1, 3, 3)]
        assert second["view"]["routes"]["model"] == 3
        assert second["serial"] == first["serial"]
        clock.now, answers = 102.0, 4
        third = await live(ports, "?after=1&span=1")
        assert [one["number"] for one in third["points"]] == [2]
        assert (third["view"]["routes"]["model"], third["view"]["seconds"]) == (1, 1.0)


@pytest.mark.parametrize("query", ["after=-1", "after=x", "span=301", "span=nan"])
async def test_a_query_that_makes_no_sense_is_refused(ports: Ports, query: str) -> None:
    status, _, text = await called(ports, "GET", f"/live?{query}")
    assert (status, query.partition("=")[0] in text) == (400, True)


async def test_a_question_is_asked_as_by_grpc(ports: Ports, gateway: FakeGateway) -> None:
    found = await ask(
        ports,
        question="Where is my card?",
        collection="legal",
        policy="parallel",
        max_citations=5,
        timeout_ms=4000,
        tenant="acme",
        groups="staff,legal",
        criticality="sheddable",
    )
    assert found["answer"]["route"] == "ROUTE_MODEL"
    assert found["answer"]["text"] == ANSWER.text
    assert found["answer"]["knowledge_version"] == 7  # a number
    assert found["seconds"] > 0
    assert gateway.questions == [
        Question("Where is my card?", "legal", Principal("acme", frozenset({"staff", "legal"})), Policy.PARALLEL, 5)
    ]


async def test_it_counts_and_is_in_flight_as_any_other(ports: Ports, gateway: FakeGateway, metrics: Metrics) -> None:
    await ask(ports, question="Where is my card?")
    assert 'gateway_route_decisions_total{reason="confident",route="model"} 1.0' in metrics.render()[0].decode()
    assert 'grpc_code="OK",grpc_method="Answer"' in metrics.render()[0].decode()


@pytest.mark.parametrize(
    ("asked", "code", "reason"),
    [
        ({"question": " "}, "INVALID_ARGUMENT", "INVALID_QUESTION"),
        ({"question": "x" * 3000}, "INVALID_ARGUMENT", "INVALID_QUESTION"),
        ({"question": "hi", "collection": "none-such"}, "NOT_FOUND", "UNKNOWN_COLLECTION"),
        ({"question": "hi", "tenant": "no spaces"}, "INVALID_ARGUMENT", "INVALID_QUESTION"),
    ],
)
async def test_what_grpc_refuses_is_refused(ports: Ports, asked: dict[str, Any], code: str, reason: str) -> None:
    error = (await ask(ports, **asked))["error"]
    assert (error["code"], error["reason"]) == (code, reason)


async def test_failures_are_told_as_by_grpc_and_show_nothing_of_ours(ports: Ports, gateway: FakeGateway) -> None:
    async def fails(question: Question, deadline: Deadline) -> Answer:
        raise InferenceFailed("secret")

    async def is_full(question: Question, deadline: Deadline) -> Answer:
        raise Overloaded("7 in flight")

    gateway.behaviour = fails
    error = (await ask(ports, question="hi"))["error"]
    assert (error["code"], "secret" in error["message"]) == ("INTERNAL", False)
    gateway.behaviour = is_full
    error = (await ask(ports, question="hi"))["error"]
    assert error == {"code": "UNAVAILABLE", "message": "7 in flight", "reason": "OVERLOADED"}


async def test_the_deadline_is_the_callers(ports: Ports, gateway: FakeGateway) -> None:
    gateway.next_forecast = dataclasses.replace(gateway.next_forecast, wait=5.0)
    error = (await ask(ports, question="hi", timeout_ms=50))["error"]
    assert (error["code"], error["reason"]) == ("DEADLINE_EXCEEDED", "BUDGET")
    gateway.next_forecast = dataclasses.replace(gateway.next_forecast, wait=0.0)
    await ask(ports, question="hi", timeout_ms=9000)
    assert 8.0 < gateway.deadlines[-1].remaining() <= 9.0


async def test_a_server_that_drains_says_so(ports: Ports, server: Server) -> None:
    await server.drain()
    assert (await ask(ports, question="hi"))["error"]["reason"] == "DRAINING"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ("", "the body"),
        ("[]", "the body"),
        ("{}", "question"),
        ('{"question": 1}', "question"),
        ('{"question": "hi", "timeout_ms": 0}', "timeout_ms"),
        ('{"question": "hi", "policy": "none"}', "policy"),
        ('{"question": "hi", "max_citations": 4294967296}', "max_citations"),
        ('{"question": "hi", "more": 1}', "more"),
        ('{"question": "\\ud800"}', "the body"),
    ],
)
async def test_a_body_that_is_no_question_is_refused_by_name(ports: Ports, body: str, where: str) -> None:
    status, _, text = await called(ports, "POST", "/ask", body)
    assert status == 400
    assert json.loads(text)["error"].startswith(f"{where}: ")


ASKED = '{"question": "hi"}'


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
async def test_no_other_page_may_ask(ports: Ports, gateway: FakeGateway, headers: dict[str, str], status: int) -> None:
    assert (await called(ports, "POST", "/ask", ASKED, JSON | headers))[0] == status
    assert len(gateway.questions) == (status == 200)


async def test_the_page_itself_may_ask(ports: Ports) -> None:
    for host in (f"127.0.0.1:{ports.admin}", f"localhost:{ports.admin}", "a.localhost", "[::1]:9464", "10.0.0.7"):
        headers = JSON | {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        assert (await called(ports, "POST", "/ask", ASKED, headers))[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9464", "localhost.evil.example", "1.2.3.4.evil", "[::1"]
)
@pytest.mark.parametrize("path", ["/", "/live", "/page/style.css"])
async def test_a_name_that_anybody_may_have_pointed_here_reads_nothing(ports: Ports, path: str, host: str) -> None:
    status, _, text = await called(ports, "GET", path, headers={"Host": host})
    assert (status, "banking" in text) == (403, False)
    assert "ssh -L" in text


async def test_asking_by_another_method_is_not_asking(ports: Ports, gateway: FakeGateway) -> None:
    assert (await called(ports, "GET", "/ask?question=hi"))[0] == 405
    assert not gateway.questions


async def test_a_question_that_matters_less_is_refused_first(config: Config) -> None:
    """That the criticality arrives: as in every call, whoever is refused is counted by it."""
    gateway, metrics = FakeGateway(), Metrics()
    gateway.next_forecast = dataclasses.replace(gateway.next_forecast, wait=60.0)
    server = Server(gateway, Config(server=ServerSection(port=0, admin_port=0)), metrics)
    try:
        await ask(await server.start(), question="hi", criticality="sheddable")
    finally:
        await server.stop()
    counted = f'gateway_admission_rejected_total{{criticality="{Criticality.SHEDDABLE.value}",reason="deadline"}} 1.0'
    assert counted in metrics.render()[0].decode()


async def test_with_keys_it_asks_by_one_that_may_ask(config: Config, gateway: FakeGateway, tmp_path: Path) -> None:
    file = tmp_path / "callers.json"
    may_ask = created(file, "--scope", "ask", "--tenant", "acme")
    may_read = created(file, "--scope", "read")
    server = Server(gateway, config.model_copy(update={"access": AccessSection(keys=file)}), Metrics())
    try:
        ports = await server.start()
        for key, status in (("", "UNAUTHENTICATED"), (may_read, "PERMISSION_DENIED"), ("wrong", "UNAUTHENTICATED")):
            headers = JSON | ({"Authorization": f"Bearer {key}"} if key else {})
            reply = await called(ports, "POST", "/ask", ASKED, headers)
            assert (reply[0], json.loads(reply[2])["error"]["code"]) == (200, status)
        assert not gateway.questions
        reply = await called(ports, "POST", "/ask", ASKED, JSON | {"Authorization": f"Bearer {may_ask}"})
        assert json.loads(reply[2])["answer"]["text"] == ANSWER.text
        assert gateway.questions[0].principal == Principal("acme")
    finally:
        await server.stop()
