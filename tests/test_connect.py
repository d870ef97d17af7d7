"""The API as JSON over HTTP, by the Connect protocol, against a real server."""

from __future__ import annotations

import asyncio
import base64
import io
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from google.rpc import error_details_pb2

from gateway.config import AccessSection, Config, load
from gateway.deadline import Deadline
from gateway.errors import ConfigInvalid, InferenceFailed, Overloaded
from gateway.rpc.server import Ports
from gateway.types import Answer, Policy, Question
from gateway.v1 import gateway_pb2 as pb
from tests.callers import created
from tests.fakes import ANSWER, FakeGateway

PATH = "/gateway.v1.Answers/Answer"
BUF = Path(sys.executable).parent / "buf"
ASKED = {"question": "Where is my card?"}


@pytest.fixture
async def session(ports: Ports) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{ports.admin}") as made:
        yield made


async def post(session: aiohttp.ClientSession, path: str = PATH, **how: Any) -> tuple[int, Any, Any]:
    async with session.post(path, **how) as response:
        found = await response.json() if response.content_type == "application/json" else await response.read()
        return response.status, found, response.headers


async def test_an_answer_is_json(session: aiohttp.ClientSession, gateway: FakeGateway) -> None:
    asked = ASKED | {"collection": "legal", "policy": "POLICY_ENSEMBLE", "maxCitations": 2, "requestId": "r-1"}
    status, found, headers = await post(
        session, json=asked, headers={"x-tenant": "acme", "Connect-Protocol-Version": "1"}
    )
    assert (status, headers["Content-Type"], headers["Cache-Control"]) == (
        200,
        "application/json; charset=utf-8",
        "no-store",
    )
    assert (found["text"], found["route"], found["confidence"]) == (ANSWER.text, "ROUTE_MODEL", ANSWER.confidence)
    assert (found["requestId"], found["documentId"]) == ("r-1", ANSWER.document_id)
    question = gateway.questions[0]
    assert (question.collection, question.policy, question.max_citations) == ("legal", Policy.ENSEMBLE, 2)
    assert question.principal.tenant == "acme"


async def test_bytes_are_taken_and_given_as_well(session: aiohttp.ClientSession) -> None:
    request = pb.AnswerRequest(question="why?").SerializeToString()
    status, found, headers = await post(session, data=request, headers={"Content-Type": "application/proto"})
    assert (status, headers["Content-Type"]) == (200, "application/proto")
    assert pb.AnswerResponse.FromString(found).text == ANSWER.text


async def test_every_unary_method_is_there(session: aiohttp.ClientSession) -> None:
    for service in pb.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            status, found, _ = await post(session, f"/{service.full_name}/{method.name}", json={})
            is_unary = not (method.client_streaming or method.server_streaming)
            assert (status != 404) == is_unary or found["code"] == "not_found", method.name


async def test_a_deadline_is_the_callers(session: aiohttp.ClientSession, gateway: FakeGateway) -> None:
    await post(session, json=ASKED, headers={"Connect-Timeout-Ms": "1500"})
    await post(session, json=ASKED)
    asked, default = (one.remaining() for one in gateway.deadlines)
    assert 0 < asked <= 1.5 < default <= 5

    async def never(question: Question, deadline: Deadline) -> Answer:
        await asyncio.sleep(60)
        raise AssertionError

    gateway.behaviour = never
    status, found, _ = await post(session, json=ASKED, headers={"Connect-Timeout-Ms": "30"})
    assert (status, found["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"json": {"question": " "}}, "question: is blank"),
        ({"json": {}}, "question: is blank"),
        ({"json": {"questoin": "why?"}}, 'no field named "questoin"'),
        ({"json": {"question": 3}}, "is not a valid AnswerRequest"),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, "is not a valid AnswerRequest"),
        ({"data": b"\xff", "headers": {"Content-Type": "application/json"}}, "is not a valid AnswerRequest"),
        ({"data": b"\xff", "headers": {"Content-Type": "application/proto"}}, "is not a valid AnswerRequest"),
        ({"json": ASKED, "headers": {"Connect-Timeout-Ms": "soon"}}, "Connect-Timeout-Ms: must be"),
        ({"json": ASKED, "headers": {"x-tenant": "a b"}}, "x-tenant: must be"),
        ({"json": ASKED, "headers": [("x-tenant", "a"), ("x-tenant", "b")]}, "x-tenant: is given twice"),
    ],
)
async def test_what_is_wrong_is_said(session: aiohttp.ClientSession, how: dict[str, Any], words: str) -> None:
    status, found, _ = await post(session, **how)
    assert (status, found["code"]) == (400, "invalid_argument")
    assert words in found["message"]


async def test_details_are_those_of_grpc(session: aiohttp.ClientSession, gateway: FakeGateway) -> None:
    async def full(question: Question, deadline: Deadline) -> Answer:
        raise Overloaded("full")

    gateway.behaviour = full
    status, found, headers = await post(session, json=ASKED)
    assert (status, found["code"], found["message"]) == (503, "unavailable", "full")
    (first, *_) = found["details"]
    assert (first["type"], first["debug"]["reason"]) == ("google.rpc.ErrorInfo", "OVERLOADED")
    packed = base64.b64decode(first["value"] + "=" * (-len(first["value"]) % 4))
    assert error_details_pb2.ErrorInfo.FromString(packed).reason == "OVERLOADED"
    assert int(headers["Trailer-grpc-retry-pushback-ms"]) > 0


async def test_nothing_inner_is_told(session: aiohttp.ClientSession, gateway: FakeGateway) -> None:
    async def broken(question: Question, deadline: Deadline) -> Answer:
        raise InferenceFailed("secret")

    gateway.behaviour = broken
    status, found, _ = await post(session, json=ASKED)
    assert (status, found["code"]) == (500, "internal")
    assert "secret" not in str(found)


async def test_another_type_and_another_method_are_refused(session: aiohttp.ClientSession) -> None:
    status, _, headers = await post(session, data=b"question=why", headers={"Content-Type": "text/plain"})
    assert (status, headers["Accept-Post"]) == (415, "application/json, application/proto")
    assert (await post(session, "/gateway.v1.Answers/Nothing", json={}))[0] == 404
    long, kind = io.BytesIO(b"a" * (5 * 2**20)), {"Content-Type": "application/json"}
    status, found, _ = await post(session, data=long, headers=kind)
    assert (status, found["code"]) == (429, "resource_exhausted")


# Pages.


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}]
)
async def test_no_page_of_others_calls(
    session: aiohttp.ClientSession, headers: dict[str, str], gateway: FakeGateway
) -> None:
    assert (await post(session, json=ASKED, headers=headers))[0] == 403
    async with session.options(PATH, headers=headers) as response:
        assert response.status == 403
    assert not gateway.questions


def test_an_origin_is_checked_where_it_is_set() -> None:
    said = {"GATEWAY_SERVER__JSON_ORIGINS": "https://a.example, http://localhost:3000"}
    assert load(None, said).server.json_origins == ("https://a.example", "http://localhost:3000")
    for wrong in ("*", "https://a.example/", "a.example"):
        with pytest.raises(ConfigInvalid, match="is no origin"):
            load(None, {"GATEWAY_SERVER__JSON_ORIGINS": wrong})


class TestOrigins:
    @pytest.fixture
    def config(self, config: Config) -> Config:
        server = config.server.model_copy(update={"json_origins": ("https://app.example",)})
        return config.model_copy(update={"server": server})

    async def test_a_page_that_is_named_may(self, session: aiohttp.ClientSession) -> None:
        page = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
        async with session.options(PATH, headers=page | {"Access-Control-Request-Method": "POST"}) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
            assert "authorization" in response.headers["Access-Control-Allow-Headers"]
        status, found, headers = await post(session, json=ASKED, headers=page)
        assert (status, found["text"]) == (200, ANSWER.text)
        assert headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert (await post(session, json=ASKED, headers={"Origin": "https://app.example.evil"}))[0] == 403


# Who may.


class TestKeys:
    @pytest.fixture
    def config(self, config: Config, tmp_path: Path) -> Config:
        file = tmp_path / "callers.json"
        self.key = created(file, "--scope", "ask", "--tenant", "acme")
        return config.model_copy(update={"access": AccessSection(keys=file)})

    async def test_a_key_is_needed_here_too(self, session: aiohttp.ClientSession, gateway: FakeGateway) -> None:
        status, found, _ = await post(session, json=ASKED)
        assert (status, found["code"]) == (401, "unauthenticated")
        shown = {"Authorization": f"Bearer {self.key}"}
        assert (await post(session, json=ASKED, headers=shown))[0] == 200
        assert gateway.questions[0].principal.tenant == "acme"
        status, found, _ = await post(session, "/gateway.v1.Knowledge/Search", json={"query": "card"}, headers=shown)
        assert (status, found["code"]) == (403, "permission_denied")


# Programs that others have made.


async def run(*command: str) -> str:
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl (Debian: apt-get install curl)")
async def test_curl_asks(ports: Ports) -> None:
    url = f"http://127.0.0.1:{ports.admin}{PATH}"
    found = await run("curl", "-sS", "--json", '{"question": "Where is my card?"}', url)
    assert ANSWER.text in found


@pytest.mark.skipif(not BUF.exists(), reason="there is no buf (pip install buf-bin)")
async def test_buf_asks(ports: Ports) -> None:
    url = f"http://127.0.0.1:{ports.admin}{PATH}"
    asked = ("--schema", "protos", "--protocol", "connect", "--data", '{"question": "why?"}', url)
    assert ANSWER.text in await run(str(BUF), "curl", *asked)
