"""Supervision: who is started, started again, given up, drained and ended. With fake workers, as real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.config import Config, KnowledgeSection, load
from gateway.errors import ConfigInvalid, Unavailable
from gateway.workers import lifeline
from gateway.workers.fleet import Fleet, SettingsRefused
from gateway.workers.orders import Orders, received
from gateway.workers.pace import Pace, Restarts
from gateway.workers.process import Process
from tests.staging import PATIENCE, Stage, ready, until

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder with a short name: a socket's path may not be longer than 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="gw-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@asynccontextmanager
async def running(fleet: Fleet) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(fleet.run())
    try:
        yield task
    finally:
        await fleet.end()
        await asyncio.wait({task})


def pid(fleet: Fleet, number: int) -> int:
    process = fleet.workers[number].process
    assert process is not None
    return process.pid


def is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


async def test_all_are_started_and_drained(stage: Stage, sockets: Path) -> None:
    fleet = stage.fleet(sockets, workers=3)
    async with running(fleet) as task:
        await ready(fleet, 3)
        pids = [process.pid for process in fleet.processes()]
        await fleet.drain()
        await task
        assert not any(map(is_alive, pids))
        assert not fleet.processes()
    assert sorted(stage.starts()) == ["0 /first", "1 /first", "2 /first"]


async def test_one_goes_ahead(stage: Stage, sockets: Path) -> None:
    stage.plays("0 late")
    fleet = stage.fleet(sockets)
    async with running(fleet):
        await until(lambda: bool(stage.starts()))
        assert stage.starts() == ["0 /first"]
        (stage.folder / "go").touch()
        await ready(fleet)


async def test_who_crashes_is_started_again(stage: Stage, sockets: Path) -> None:
    stage.plays("0 crash", "1 crash", "1 crash")
    fleet = stage.fleet(sockets)
    ended, restarted = [], []
    fleet.on_end = lambda worker: ended.append(worker.number)
    fleet.on_restart = lambda worker: restarted.append(worker.number)
    async with running(fleet):
        await ready(fleet)
        assert [worker.restarts for worker in fleet.workers] == [1, 2]
        assert ended == restarted == [0, 1, 1]


async def test_who_is_killed_is_replaced_and_nobody_else(stage: Stage, sockets: Path) -> None:
    fleet = stage.fleet(sockets)
    async with running(fleet):
        await ready(fleet)
        survivor, victim = pid(fleet, 0), pid(fleet, 1)
        os.kill(victim, signal.SIGKILL)
        await until(lambda: fleet.workers[1].restarts == 1)
        await ready(fleet)
        assert (pid(fleet, 0), is_alive(victim)) == (survivor, False)
        assert pid(fleet, 1) != victim


async def test_who_crashes_too_often_is_given_up(stage: Stage, sockets: Path) -> None:
    stage.plays(*["1 crash"] * 5)
    fleet = stage.fleet(sockets, restarts=2)
    async with running(fleet) as task:
        words = "worker 1 has ended more than 2 times within 900 s, the last time with exit code 1"
        with pytest.raises(Unavailable, match=words):
            await asyncio.wait_for(asyncio.shield(task), PATIENCE)
        assert [start[0] for start in stage.starts()].count("1") == 3


async def test_who_is_never_ready_is_killed_and_given_up(stage: Stage, sockets: Path) -> None:
    stage.plays(*["0 hang"] * 2)
    fleet = stage.fleet(sockets, workers=1, restarts=1, start=0.5)
    async with running(fleet) as task:
        with pytest.raises(Unavailable, match=r"worker 0 has ended more than 1 times within 900 s, .* by SIGKILL"):
            await asyncio.wait_for(asyncio.shield(task), PATIENCE)
        assert fleet.workers[0].restarts == 1


async def test_wrong_settings_are_not_tried_again(
    stage: Stage, sockets: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stage.plays("0 refuse")
    fleet = stage.fleet(sockets)
    async with running(fleet) as task:
        with pytest.raises(SettingsRefused):
            await asyncio.wait_for(asyncio.shield(task), PATIENCE)
    assert stage.starts() == ["0 /first"]
    assert capfd.readouterr().err == "Error: the settings are wrong\n"


async def test_settings_that_were_right_are_tried_again(stage: Stage, sockets: Path) -> None:
    """The file of a bundle may be in the making when a worker happens to be started again."""
    stage.plays("1 serve", "1 refuse")
    fleet = stage.fleet(sockets)
    async with running(fleet):
        await ready(fleet)
        os.kill(pid(fleet, 1), signal.SIGKILL)
        await until(lambda: fleet.workers[1].restarts == 2)
        await ready(fleet)


async def test_who_was_asked_to_end_has_not_crashed(stage: Stage, sockets: Path) -> None:
    fleet = stage.fleet(sockets, restarts=0)
    async with running(fleet):
        await ready(fleet)
        os.kill(pid(fleet, 1), signal.SIGTERM)
        await until(lambda: fleet.workers[1].restarts == 1)
        await ready(fleet)


async def test_who_hangs_is_killed(stage: Stage, sockets: Path) -> None:
    fleet = stage.fleet(sockets, restarts=1000, silence=1)
    async with running(fleet):
        await ready(fleet)
        victim = pid(fleet, 1)
        os.kill(victim, signal.SIGSTOP)
        await until(lambda: not is_alive(victim))
        await ready(fleet)


async def test_who_does_not_hear_is_killed_in_the_end(stage: Stage, sockets: Path) -> None:
    stage.plays("1 deaf")
    fleet = stage.fleet(sockets, drain=2)
    async with running(fleet):
        await ready(fleet)
        deaf = pid(fleet, 1)
        await fleet.drain()
        assert not is_alive(deaf)


async def test_the_end_does_not_wait_for_a_drain(stage: Stage, sockets: Path) -> None:
    stage.plays("0 deaf", "1 deaf")
    fleet = stage.fleet(sockets, drain=10_000)
    async with running(fleet):
        await ready(fleet)
        pids = [process.pid for process in fleet.processes()]
        drain = asyncio.create_task(fleet.drain())
        await asyncio.sleep(0)
        await fleet.end()
        await drain
        assert not any(map(is_alive, pids))


async def test_nobody_is_started_again_during_a_drain(stage: Stage, sockets: Path) -> None:
    stage.plays("0 crash")
    fleet = stage.fleet(sockets, first_delay=10_000, longest_delay=10_000)
    async with running(fleet) as task:
        await until(lambda: len(stage.starts()) == 1 and not fleet.processes())
        await fleet.drain()
        await task
    assert stage.starts() == ["0 /first"]


async def test_a_program_that_is_not_there_is_a_crash(stage: Stage, sockets: Path) -> None:
    stage.command = ("/nowhere/at-all",)
    fleet = stage.fleet(sockets)
    async with running(fleet) as task:
        with pytest.raises(Unavailable, match="worker 0 has ended more than 3 times"):
            await asyncio.wait_for(asyncio.shield(task), PATIENCE)


# When to start again.


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_restart_waits_twice_as_long() -> None:
    pace = Pace(first_delay=0.5, longest_delay=3, steady=60, restarts=100)
    restarts = Restarts(pace, Clock())
    assert [restarts.delay(ready_seconds) for ready_seconds in (0, 0, 59, 0, 60, 0)] == [0.5, 1, 2, 3, 0.5, 1]


def test_a_window_bounds_the_restarts() -> None:
    clock = Clock()
    restarts = Restarts(Pace(restarts=2, window=10), clock)
    given = []
    for now in (0, 5, 10, 15, 19.9):
        clock.now = now
        given.append(restarts.delay(0) is not None)
    assert given == [True, True, True, True, False]


def test_delays_stay_finite() -> None:
    restarts = Restarts(Pace(restarts=5000, window=1e9), Clock())
    assert {restarts.delay(0) for _ in range(2000)} >= {0.5, 30}


def test_the_pace_is_the_settings() -> None:
    config = load(flags={"server.worker_restarts": 7, "server.drain_seconds": 3, "server.drain_delay_seconds": 2})
    pace = Pace.of(config.server)
    assert (pace.restarts, pace.drain) == (7, 15)


def test_nobody_waits_for_more_workers_than_there_are() -> None:
    with pytest.raises(ConfigInvalid, match="ready_workers is 3 and there are only 2 workers"):
        load(flags={"server.workers": "2", "server.ready_workers": "3"})


# What a worker is told, and what holds it.


def test_orders_arrive_as_they_were_given(tmp_path: Path) -> None:
    config = load(flags={"server.port": 5, "model.bundle": "b"})
    config = config.model_copy(update={"server": config.server.model_copy(update={"port": 7})})
    inner, outer = os.pipe()
    orders = Orders(number=3, socket=tmp_path / "3.sock", config=config)
    os.write(outer, orders.line() + b"rest")
    got = received(inner)
    assert (got.number, got.socket, got.config) == (3, tmp_path / "3.sock", config)
    assert got.config.knowledge.is_default
    assert os.read(inner, 100) == b"rest"
    os.close(inner)
    os.close(outer)


def test_that_there_is_no_collection_arrives() -> None:
    config = Config(knowledge=KnowledgeSection(collections={}))
    inner, outer = os.pipe()
    os.write(outer, Orders(number=0, socket=Path("s"), config=config).line())
    assert not received(inner).config.knowledge.is_default
    os.close(inner)
    os.close(outer)


def test_nobody_is_a_worker_by_hand() -> None:
    inner, outer = os.pipe()
    os.close(outer)
    with pytest.raises(ConfigInvalid, match="--as-worker"):
        received(inner)
    os.close(inner)


def test_a_cut_lifeline_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    monkeypatch.setattr(lifeline, "PATIENCE", 0)
    monkeypatch.setattr(os, "_exit", done.append)
    folder = tmp_path / "sockets"
    folder.mkdir()
    (folder / "0.sock").touch()
    inner, outer = os.pipe()
    os.write(outer, b"something")
    os.close(outer)
    lifeline._wait(lambda: done.append("cut"), folder / "0.sock", inner)
    assert done == ["cut", 1]
    assert not folder.exists()
    os.close(inner)


async def test_no_answer_is_said_so(stage: Stage, sockets: Path) -> None:
    stage.plays("0 crash")
    orders = Orders(number=0, socket=sockets / "0.sock", config=stage.config())
    process = await Process.start(stage.command, orders)
    assert await process.ended() == 1
    assert not await process.answers("/readyz", 1)
    with pytest.raises(Unavailable, match="no answer from worker 0"):
        await process.get("/status", 1)
    process.kill()  # it is gone, and that is no error
    await process.close()
    with pytest.raises(Unavailable, match="it has ended"):
        await process.get("/status", 1)
