"""The page of a server with workers: what they have counted together, and that questions are theirs in turn."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.rpc.page.files import FOLDER
from tests.fake_worker import COUNTED
from tests.staging import PATIENCE, Stage
from tests.test_workers_together import Served, served

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def live(server: Served) -> dict[str, Any]:
    url = f"http://127.0.0.1:{server.admin}/live"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        found: dict[str, Any] = await response.json()
        return found


async def answered(server: Served, answers: int) -> dict[str, Any]:
    """Wait until so many answers are counted, and never more before."""
    async with asyncio.timeout(PATIENCE):
        while (now := await live(server))["view"]["routes"]["model"] != answers:
            assert now["view"]["routes"]["model"] < answers
            await asyncio.sleep(0.1)
    return now


async def test_what_workers_have_counted_is_added_up_and_never_falls(stage: Stage) -> None:
    async with served(stage) as server:
        now = await answered(server, 2 * COUNTED)
        assert sum(point["routes"]["model"] for point in now["points"]) == 2 * COUNTED
        assert (now["points"][-1]["in_flight"], now["points"][-1]["max_in_flight"]) == (2, 8)
        assert [worker["ready"] for worker in now["status"]["workers"]] == [True, True]
        os.kill(now["status"]["workers"][1]["pid"], signal.SIGKILL)
        await answered(server, 3 * COUNTED)  # with those of its successor


async def test_the_page_is_there(stage: Stage) -> None:
    async with served(stage) as server:
        assert await server.get("/") == (200, (FOLDER / "index.html").read_text(encoding="utf-8"))


async def test_questions_go_to_the_workers_in_turn(stage: Stage) -> None:
    async with served(stage) as server, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.admin}/ask"
        for _ in range(2):
            async with session.post(url, json={"question": "Where is my card?"}) as response:
                assert (response.status, (await response.json())["bundle"]) == (200, "first")
        assert [line.partition("{")[0] for line in stage.asked()] == ["0 /ask ", "1 /ask "]
        assert '"question": "Where is my card?"' in stage.asked()[0]


async def test_who_may_not_ask_reaches_no_worker(stage: Stage) -> None:
    async with served(stage) as server, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.admin}/ask"
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            async with session.post(url, json={"question": "hi"}, headers=headers) as response:
                assert response.status == 403
        assert stage.asked() == []


async def test_without_a_worker_a_question_is_refused_in_words(stage: Stage) -> None:
    stage.plays(*["1 hang"] * 9)
    config = stage.config()
    config = config.model_copy(update={"server": config.server.model_copy(update={"ready_workers": 1})})
    async with served(stage, config) as server, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.admin}/ask"
        stage.plays(*["0 hang"] * 9, *["1 hang"] * 9)  # from the next start on
        async with asyncio.timeout(PATIENCE):
            while (now := await live(server))["status"]["ready"]:
                os.kill(next(one["pid"] for one in now["status"]["workers"] if one["ready"]), signal.SIGKILL)
                await asyncio.sleep(0.1)
        async with session.post(url, json={"question": "hi"}) as response:
            assert (await response.json())["error"]["code"] == "UNAVAILABLE"


async def test_calls_as_json_go_to_the_workers_in_turn_and_come_back_as_they_are(stage: Stage) -> None:
    path = "/gateway.v1.Answers/Answer"
    async with served(stage) as server, aiohttp.ClientSession(f"http://127.0.0.1:{server.admin}") as session:
        for _ in range(2):
            async with session.post(path, json={"question": "why?"}) as response:
                assert response.status == 200
                assert "bundle" in await response.text()
        assert stage.asked() == [f'{number} {path} {{"question": "why?"}}' for number in (0, 1)]
        async with session.post(path, json={}, headers={"Origin": "https://evil.example"}) as response:
            assert response.status == 403
    assert len(stage.asked()) == 2
