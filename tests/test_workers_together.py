"""What several workers say and do as one: bundles for all or for none, probes, status, metrics, and the end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.config import Config, ServerSection
from gateway.errors import BundleInvalid, ConfigInvalid, Unavailable
from gateway.rpc.service import Description
from gateway.types import Degradation
from gateway.workers import serving
from gateway.workers.bundles import Bundles
from gateway.workers.fleet import Fleet, SettingsRefused
from gateway.workers.pace import Pace
from tests.staging import PACE, PATIENCE, Stage, ready, until

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@asynccontextmanager
async def running(stage: Stage, workers: int = 2) -> AsyncIterator[Fleet]:
    with tempfile.TemporaryDirectory(prefix="gw-", ignore_cleanup_errors=True) as folder:
        fleet = stage.fleet(Path(folder), workers)
        task = asyncio.create_task(fleet.run())
        try:
            yield fleet
        finally:
            await fleet.end()
            await asyncio.wait({task})


# Bundles.


async def test_all_change_one_going_ahead(stage: Stage) -> None:
    async with running(stage, 3) as fleet:
        await ready(fleet, 3)
        now = await Bundles(fleet).swap(Path("/second"))
        assert now.bundle == "second"
        assert stage.asked()[0].startswith("0 ")
        assert sorted(stage.asked()) == [f'{number} /bundle {{"folder": "/second"}}' for number in range(3)]
        os.kill(fleet.ready()[1].pid, signal.SIGKILL)
        await until(lambda: fleet.workers[1].restarts == 1)
        await ready(fleet, 3)
        assert stage.starts()[-1] == "1 /second"


async def test_what_the_first_refuses_nobody_else_hears_of(stage: Stage) -> None:
    async with running(stage) as fleet:
        await ready(fleet)
        bundles = Bundles(fleet)
        with pytest.raises(BundleInvalid, match="worker 0: is not fit"):
            await bundles.swap(Path("/refused-by-0"))
        assert len(stage.asked()) == 1
        with pytest.raises(BundleInvalid, match="no other bundle"):
            await bundles.roll_back()


async def test_where_one_refuses_the_others_go_back(stage: Stage) -> None:
    async with running(stage, 3) as fleet:
        await ready(fleet, 3)
        with pytest.raises(BundleInvalid, match="worker 1: is not fit"):
            await Bundles(fleet).swap(Path("/refused-by-1"))
        assert sorted(stage.asked()[-2:]) == [f'{number} /bundle {{"folder": "/first"}}' for number in (0, 2)]
        assert {process.bundle for process in fleet.ready()} == {Path("/first")}
        assert [worker.restarts for worker in fleet.workers] == [0, 0, 0]


async def test_where_one_dies_of_it_the_others_go_back(stage: Stage) -> None:
    async with running(stage) as fleet:
        await ready(fleet)
        with pytest.raises(BundleInvalid, match="no answer from worker 1"):
            await Bundles(fleet).swap(Path("/fatal-to-1"))
        assert stage.asked()[-1] == '0 /bundle {"folder": "/first"}'
        await until(lambda: fleet.workers[1].restarts == 1)
        await ready(fleet)
        assert stage.starts()[-1] == "1 /first"


async def test_who_cannot_go_back_is_started_again(stage: Stage) -> None:
    async with running(stage) as fleet:
        await ready(fleet)
        bundles = Bundles(fleet)
        fleet.bundle = Path("/refused-by-0")  # which it had served before somebody broke it
        with pytest.raises(BundleInvalid, match="worker 1: is not fit"):
            await bundles.swap(Path("/refused-by-1"))
        await until(lambda: fleet.workers[0].restarts == 1)
        await ready(fleet)
        assert stage.starts()[-1] == "0 /refused-by-0"


async def test_the_way_back_is_the_same_for_all(stage: Stage) -> None:
    async with running(stage) as fleet:
        await ready(fleet)
        bundles = Bundles(fleet)
        await bundles.swap(Path("/second"))
        os.kill(fleet.ready()[1].pid, signal.SIGKILL)
        await until(lambda: fleet.workers[1].restarts == 1)
        await ready(fleet)
        assert (await bundles.roll_back()).bundle == "first"
        assert sorted(stage.asked()[-2:]) == [f'{number} /bundle {{"folder": "/first"}}' for number in (0, 1)]
        assert (await bundles.roll_back()).bundle == "second"


async def test_who_is_still_loading_the_old_one_begins_again(stage: Stage) -> None:
    stage.plays("1 late")
    async with running(stage) as fleet:
        await until(lambda: len(stage.starts()) == 2)
        await Bundles(fleet).swap(Path("/second"))
        await ready(fleet)
        assert (stage.starts()[-1], fleet.workers[1].restarts) == ("1 /second", 1)


async def test_only_one_change_at_a_time_and_none_without_workers(stage: Stage) -> None:
    async with running(stage) as fleet:
        bundles = Bundles(fleet)
        with pytest.raises(Unavailable, match="no worker is ready"):
            await bundles.swap(Path("/second"))
        await ready(fleet)
        first = asyncio.create_task(bundles.swap(Path("/second")))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="another bundle"):
            await bundles.swap(Path("/third"))
        await first


async def test_a_shadow_falls_on_all_or_on_none(stage: Stage) -> None:
    async with running(stage) as fleet:
        await ready(fleet)
        bundles = Bundles(fleet)
        await bundles.cast_shadow(Path("/second"), 0.25)
        assert sorted(stage.asked()) == [
            f'{number} /shadow {{"folder": "/second", "share": 0.25}}' for number in (0, 1)
        ]
        with pytest.raises(BundleInvalid, match="worker 1: is not fit"):
            await bundles.cast_shadow(Path("/refused-by-1"), 0.25)
        assert sorted(stage.asked()[-2:]) == [f'{number} /shadow {{"end": true}}' for number in (0, 1)]


# The server as a whole.


class Served:
    """A server with fake workers, and what it announced."""

    def __init__(self) -> None:
        self.announced: list[tuple[int, int, Description]] = []
        self.task: asyncio.Task[None]

    def announce(self, grpc: int, admin: int, now: Description) -> None:
        self.announced.append((grpc, admin, now))

    @property
    def admin(self) -> int:
        return self.announced[0][1]

    async def get(self, path: str, accept: str = "*/*") -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.admin}{path}"
        async with aiohttp.ClientSession() as session, session.get(url, headers={"Accept": accept}) as response:
            return response.status, await response.text()

    async def status(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.admin}/status"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            found: dict[str, Any] = await response.json()
            return found


@asynccontextmanager
async def served(stage: Stage, config: Config | None = None, pace: Pace = PACE) -> AsyncIterator[Served]:
    served = Served()
    served.task = asyncio.create_task(serving.serve(config or stage.config(), served.announce, stage.command, pace))
    try:
        await until(lambda: bool(served.announced) or served.task.done())
        yield served
    finally:
        while not served.task.done():
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait({served.task}, timeout=5)


async def test_it_says_once_where_to_ask(stage: Stage) -> None:
    async with served(stage) as server:
        [(grpc, admin, now)] = server.announced
        assert now.bundle == "first"
        assert grpc != admin
        assert (await server.get("/livez"))[0] == 200
        assert await server.get("/readyz") == (200, "2 of 2 workers ready\n")


async def test_status_lists_the_workers(stage: Stage) -> None:
    async with served(stage) as server:
        status = await server.status()
        assert (status["ready"], status["in_flight"], status["max_in_flight"]) == (True, 2, 8)
        assert (status["bundle"], status["pid"]) == ("first", os.getpid())
        assert (status["degraded"], status["can_answer"]) == (None, True)
        for number, worker in enumerate(status["workers"]):
            assert (worker["worker"], worker["ready"], worker["restarts"]) == (number, True, 0)
            assert (worker["in_flight"], worker["bundle"]) == (1, "first")
            os.kill(worker["pid"], 0)


async def test_a_worker_that_has_lost_its_device_is_seen_in_the_whole(stage: Stage) -> None:
    config = stage.config()
    lost = config.model_copy(update={"model": config.model.model_copy(update={"bundle": Path("/lost")})})
    async with served(stage, lost) as server:
        assert server.announced[0][2].degraded is Degradation.DEVICE_LOST
        status = await server.status()
        assert (status["degraded"], status["can_answer"]) == ("device_lost", True)
        assert [worker["degraded"] for worker in status["workers"]] == ["device_lost"] * 2


async def test_metrics_are_those_of_all_and_never_fall(stage: Stage) -> None:
    async with served(stage) as server:
        status, text = await server.get("/metrics")
        assert status == 200
        for line in ("seen_total 10.0", "gateway_workers 2.0", "gateway_workers_ready 2.0"):
            assert f"{line}\n" in text
        os.kill((await server.status())["workers"][1]["pid"], signal.SIGKILL)
        seen = [10.0]
        async with asyncio.timeout(PATIENCE):
            while seen[-1] < 15:
                _, text = await server.get("/metrics", "application/openmetrics-text")
                seen += [float(line.split()[1]) for line in text.splitlines() if line.startswith("seen_total ")]
        assert seen == sorted(seen)
        assert seen[-1] == 15
        assert 'gateway_worker_restarts_total{worker="1"} 1.0' in text
        assert text.endswith("# EOF\n")


@pytest.mark.parametrize(("least", "code"), [(0, 503), (1, 200)])
async def test_ready_are_all_or_as_many_as_the_settings_say(stage: Stage, least: int, code: int) -> None:
    config = stage.config()
    config = config.model_copy(update={"server": config.server.model_copy(update={"ready_workers": least})})
    async with served(stage, config, replace(PACE, first_delay=10_000, longest_delay=10_000)) as server:
        await until_async(lambda: server.get("/readyz"), lambda got: got == (200, "2 of 2 workers ready\n"))
        os.kill((await server.status())["workers"][1]["pid"], signal.SIGKILL)
        await until_async(lambda: server.get("/readyz"), lambda got: got == (code, "1 of 2 workers ready\n"))
        assert (await server.status())["ready"] is (code == 200)


async def until_async(ask: Callable[[], Any], condition: Callable[[Any], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition(await ask()):  # noqa: ASYNC110  # it is about other processes
            await asyncio.sleep(0.02)


async def test_a_bundle_is_posted_to_all(stage: Stage) -> None:
    async with served(stage) as server, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.admin}/bundle"
        for body, code, shown in (
            ({"folder": "/second"}, 200, "second"),
            ({"folder": "/refused-by-1"}, 422, "second"),
            ({"back": True}, 200, "first"),
            ({"folder": "/x", "back": True}, 400, "first"),
        ):
            async with session.post(url, json=body) as response:
                assert response.status == code
            assert {worker["bundle"] for worker in (await server.status())["workers"]} == {shown}


async def test_a_signal_drains(stage: Stage) -> None:
    async with served(stage) as server:
        pids = [worker["pid"] for worker in (await server.status())["workers"]]
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(server.task, PATIENCE)
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


async def test_a_second_signal_ends_the_drain(stage: Stage) -> None:
    stage.plays("0 deaf", "1 deaf")
    async with served(stage, pace=replace(PACE, drain=10_000)) as server:
        os.kill(os.getpid(), signal.SIGTERM)
        await until_async(lambda: server.get("/readyz"), lambda got: got[0] == 503)
        assert not server.task.done()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(server.task, PATIENCE)


async def test_who_gives_up_drains_the_others(stage: Stage) -> None:
    stage.plays("1 crash")
    async with served(stage, pace=replace(PACE, restarts=0)) as server:
        with pytest.raises(Unavailable, match="worker 1 has ended more than 0 times"):
            await server.task
        assert not server.announced


async def test_wrong_settings_end_it_at_once(stage: Stage) -> None:
    stage.plays("0 refuse")
    async with served(stage) as server:
        with pytest.raises(SettingsRefused):
            await server.task
    assert len(stage.starts()) == 1


@pytest.mark.parametrize("key", ["port", "admin_port"])
async def test_a_taken_port_is_named_before_anybody_is_started(stage: Stage, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = taken.getsockname()[1]
        config = stage.config()
        section = config.server.model_copy(update={key: port})
        with pytest.raises(ConfigInvalid, match=rf"server\.{key} = {port}: cannot listen on 127\.0\.0\.1:{port}"):
            await serving.serve(config.model_copy(update={"server": section}), lambda *_: None, stage.command, PACE)
    assert not stage.starts()


def test_a_held_port_is_shared_with_workers_only() -> None:
    with serving._held_port(ServerSection(port=0)) as held:
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", held))
        with socket.create_server(("127.0.0.1", held), reuse_port=True) as worker:
            worker.settimeout(30)
            for _ in range(20):  # the kernel deals connections by their ports: none may go to the holder
                with socket.create_connection(("127.0.0.1", held), 30):
                    worker.accept()[0].close()


def test_what_is_left_of_the_server_before_takes_no_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as before:
        port = before.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            before.accept()[0].close()  # who closes first remembers the connection for a minute
            assert client.recv(1) == b""
    with serving._held_port(ServerSection(port=port)) as held:
        assert held == port


def test_the_supervisor_has_no_use_for_the_heavy_packages() -> None:
    code = "import sys, gateway.cli.serve, gateway.cli.announcement, gateway.workers.serving; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"grpc", "onnxruntime", "tokenizers", "hnswlib", "uvloop"} & set(done.stdout.split())
