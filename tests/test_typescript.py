"""The client in TypeScript, as it was built: it asks a real server, and hears what is wrong."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.config import AccessSection, Config
from gateway.rpc.server import Ports
from tests.callers import created
from tests.fakes import ANSWER, CITATION, FakeGateway

FOLDER = Path(__file__).parent.parent / "clients" / "typescript"
BUILT = FOLDER / "build" / "src" / "ask.js"

if os.environ.get("GATEWAY_TEST_TYPESCRIPT") != "required":
    pytestmark = pytest.mark.skipif(
        shutil.which("node") is None or not BUILT.exists(), reason="`make typescript` has not built the client"
    )


async def ask(ports: Ports, question: str, key: str = "") -> subprocess.CompletedProcess[str]:
    command = ["node", str(BUILT), f"http://127.0.0.1:{ports.admin}", question]
    environment = {**os.environ, "GATEWAY_API_KEY": key}
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, env=environment, check=False
    )


async def test_an_answer_has_its_route_and_citations(ports: Ports, gateway: FakeGateway) -> None:
    done = await ask(ports, "Where is my card?")
    assert done.stdout.splitlines() == [f"MODEL 0.938: {ANSWER.text}", f"- {CITATION.title} {CITATION.uri}"]
    assert gateway.questions[0].text == "Where is my card?"


async def test_what_is_wrong_is_said(ports: Ports) -> None:
    done = await ask(ports, " ")
    assert (done.returncode, done.stderr) == (1, "InvalidArgument: question: is blank\n")


class TestKeys:
    @pytest.fixture
    def config(self, config: Config, tmp_path: Path) -> Config:
        file = tmp_path / "callers.json"
        self.key = created(file)
        return config.model_copy(update={"access": AccessSection(keys=file)})

    async def test_a_key_is_shown(self, ports: Ports) -> None:
        assert (await ask(ports, "why?")).stderr.startswith("Unauthenticated: ")
        assert (await ask(ports, "why?", self.key)).returncode == 0
