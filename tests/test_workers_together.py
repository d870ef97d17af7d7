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

from gateway.config import AdmissionSection, Config, ModelSection, ServerSection
from gateway.errors import BundleInvalid, ConfigInvalid, Draining, Unavailable
from gateway.rpc.service import Description
from gateway.types import Degradation
from gateway.workers import serving
from gateway.workers.bundles import Bundles
from gateway.workers.fleet import Fleet, SettingsRefused
from gateway.workers.pace import Pace
from gateway.workers.process import Process
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


def asked(step: str, folder: str, *numbers: int) -> list[str]:
    """Who was told to take a step, in the order of their numbers."""
    return [f'{number} /bundle/{step} {{"folder": "{folder}"}}' for number in numbers]


def discarded(*numbers: int) -> list[str]:
    return [f"{number} /bundle/discard {{}}" for number in numbers]


def shaded(folder: str, *numbers: int) -> list[str]:
    return [f'{number} /shadow {{"folder": "{folder}", "share": 0.25}}' for number in numbers]


def unshaded(*numbers: int) -> list[str]:
    return [f'{number} /shadow {{"end": true}}' for number in numbers]


async def restarted(stage: Stage, fleet: Fleet, number: int, times: int = 1) -> str:
    """Wait until that worker was started again so often and all are ready; the bundle of its last start."""
    await until(lambda: fleet.workers[number].restarts == times)
    await ready(fleet, len(fleet.workers))
    return [start for start in stage.starts() if start.startswith(f"{number} ")][-1].partition(" ")[2]


async def test_all_are_prepared_one_going_ahead_before_any_switches(stage: Stage) -> None:
    async with running(stage, 3) as fleet:
        await ready(fleet, 3)
        now = await Bundles(fleet).swap(Path("/second"))
        assert now.bundle == "second"
        assert stage.asked()[0] == asked("prepare", "/second", 0)[0]
        assert sorted(stage.asked()[:3]) == asked("prepare", "/second", 0, 1, 2)
        assert sorted(stage.asked()[3:]) == asked("switch", "/second", 0, 1, 2)
        os.kill(fleet.ready()[1].pid, signal.SIGKILL)
        assert await restarted(stage, fleet, 1) == "/second"


async def test_what_the_first_refuses_nobody_else_loads(stage: Stage) -> None:
    async with running(stage) as fleet:
        await ready(fleet)
        bundles = Bundles(fleet)
        with pytest.raises(BundleInvalid, match="worker 0: is not fit"):
            await bundles.swap(Path("/refused-by-0"))
        assert stage.asked()[:1] == asked("prepare", "/refused-by-0", 0)
        assert sorted(stage.asked()[1:]) == discarded(0, 1)
        with pytest.raises(BundleInvalid, match="no other bundle"):
            await bundles.roll_back()


@pytest.mark.parametrize("folder", ["/refused-by-1", "/other-for-1"])
async def test_where_one_refuses_nobody_switches(stage: Stage, folder: str) -> None:
    async with running(stage, 3) as fleet:
        await ready(fleet, 3)
        words = "worker 1: is not fit" if "refused" in folder else "was changed while the workers loaded it"
        with pytest.raises(BundleInvalid, match=words):
            await Bundles(fleet).swap(Path(folder))
        assert sorted(stage.asked()[3:]) == discarded(0, 1, 2)
        assert (fleet.bundle, [worker.restarts for worker in fleet.workers]) == (Path("/first"), [0, 0, 0])


async def test_where_one_dies_of_it_nobody_switches(stage: Stage) -> None:
    async with running(stage) as fleet:
        await ready(fleet)
        with pytest.raises(BundleInvalid, match="no answer from worker 1"):
            await Bundles(fleet).swap(Path("/fatal-to-1"))
        assert not [line for line in stage.asked() if "switch" in line]
        assert await restarted(stage, fleet, 1) == "/first"


@pytest.mark.parametrize("folder", ["/refused-late-by-1", "/fatal-late-to-1"])
async def test_who_cannot_switch_is_started_again_with_what_the_others_serve(stage: Stage, folder: str) -> None:
    async with running(stage) as fleet:
        await ready(fleet)
        now = await Bundles(fleet).swap(Path(folder))
        assert now.bundle == folder[1:]
        assert await restarted(stage, fleet, 1) == folder
        assert fleet.workers[0].restarts == 0


class Recorded(Bundles):
    """Says who is prepared."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        self.prepared: list[int] = []

    async def _prepare(self, process: Process, folder: Path) -> Description:
        now = await super()._prepare(process, folder)
        self.prepared.append(process.number)
        return now


async def test_who_dies_once_prepared_is_prepared_again(stage: Stage) -> None:
    """Where it is back before all the others are."""
    async with running(stage, 3) as fleet:
        await ready(fleet, 3)
        bundles = Recorded(fleet)
        swap = asyncio.create_task(bundles.swap(Path("/slow-for-2")))
        await until(lambda: bundles.prepared == [0, 1])
        os.kill(fleet.ready()[1].pid, signal.SIGKILL)
        assert await restarted(stage, fleet, 1) == "/first"
        (stage.folder / "go").touch()
        await swap
        assert bundles.prepared == [0, 1, 2, 1]
        assert sorted(stage.asked()[-3:]) == asked("switch", "/slow-for-2", 0, 1, 2)
        assert [worker.restarts for worker in fleet.workers] == [0, 1, 0]


async def test_who_dies_before_it_is_prepared_is_prepared_once_it_is_back(stage: Stage) -> None:
    async with running(stage) as fleet:
        await ready(fleet)
        swap = asyncio.create_task(Bundles(fleet).swap(Path("/slow")))
        await until(lambda: len(stage.asked()) == 1)
        os.kill(fleet.ready()[1].pid, signal.SIGKILL)  # the first is still loading
        assert await restarted(stage, fleet, 1) == "/first"
        (stage.folder / "go").touch()
        await swap
        assert sorted(stage.asked()[-2:]) == asked("switch", "/slow", 0, 1)
        assert fleet.workers[1].restarts == 1


async def test_who_is_started_during_a_swap_serves_what_the_others_serve(stage: Stage) -> None:
    """Where it is not back by then: it has begun with the bundle before, and begins again."""
    stage.plays("1 serve", "1 hang")
    async with running(stage) as fleet:
        await ready(fleet)
        swap = asyncio.create_task(Bundles(fleet).swap(Path("/slow")))
        await until(lambda: len(stage.asked()) == 1)
        os.kill(fleet.ready()[1].pid, signal.SIGKILL)
        await until(lambda: len(stage.starts()) == 3)
        assert stage.starts()[-1] == "1 /first"
        (stage.folder / "go").touch()
        await swap
        assert await restarted(stage, fleet, 1, times=2) == "/slow"


async def test_who_leaves_does_not_hinder_the_others(stage: Stage) -> None:
    """Somebody has told it to drain; it is neither waited for nor cut off."""
    async with running(stage) as fleet:
        await ready(fleet)
        leaving = fleet.ready()[1]
        assert (await Bundles(fleet).swap(Path("/left-by-1"))).bundle == "left-by-1"
        assert not leaving.is_dismissed
        os.kill(leaving.pid, signal.SIGTERM)
        assert await restarted(stage, fleet, 1) == "/left-by-1"


async def test_a_fleet_that_drains_is_left_alone(stage: Stage) -> None:
    stage.plays("0 deaf", "1 deaf")
    async with running(stage) as fleet:
        await ready(fleet)
        swap = asyncio.create_task(Bundles(fleet).swap(Path("/slow")))
        await until(lambda: len(stage.asked()) == 1)
        pids = [process.pid for process in fleet.processes()]
        drain = asyncio.create_task(fleet.drain())
        await asyncio.sleep(0)
        (stage.folder / "go").touch()
        with pytest.raises(Draining, match="this server is ending"):
            await swap
        for pid in pids:
            os.kill(pid, 0)  # they finish what they have begun
        assert not [line for line in stage.asked() if "switch" in line]
        await fleet.end()
        await drain


async def test_a_caller_who_goes_away_leaves_no_half_changed_fleet(stage: Stage) -> None:
    async with running(stage) as fleet:
        await ready(fleet)
        bundles = Bundles(fleet)
        swap = asyncio.create_task(bundles.swap(Path("/slow")))
        await until(lambda: len(stage.asked()) == 1)
        swap.cancel()
        await asyncio.wait({swap})
        with pytest.raises(Unavailable, match="another bundle is being loaded"):
            await bundles.swap(Path("/third"))
        (stage.folder / "go").touch()
        await until(lambda: len(stage.asked()) == 4)
        assert sorted(stage.asked()[-2:]) == asked("switch", "/slow", 0, 1)


async def test_the_way_back_is_the_same_for_all(stage: Stage) -> None:
    async with running(stage) as fleet:
        await ready(fleet)
        bundles = Bundles(fleet)
        for _ in range(2):  # the second time it is no other bundle
            await bundles.swap(Path("/second"))
        os.kill(fleet.ready()[1].pid, signal.SIGKILL)
        await restarted(stage, fleet, 1)
        assert (await bundles.roll_back()).bundle == "first"
        assert sorted(stage.asked()[-2:]) == asked("switch", "/first", 0, 1)
        assert (await bundles.roll_back()).bundle == "second"


async def test_there_is_no_way_back_to_what_has_changed(stage: Stage) -> None:
    async with running(stage) as fleet:
        await ready(fleet)
        bundles = Bundles(fleet)
        await bundles.swap(Path("/second"))
        (stage.folder / "sha256").write_text("2")
        with pytest.raises(BundleInvalid, match=r"/first: is not what was served before: .* was 00.* is 22"):
            await bundles.roll_back()
        assert sorted(stage.asked()[-2:]) == discarded(0, 1)
        assert fleet.bundle == Path("/second")


async def test_who_is_still_loading_the_old_one_begins_again(stage: Stage) -> None:
    stage.plays("1 late")
    async with running(stage) as fleet:
        await until(lambda: len(stage.starts()) == 2)
        await Bundles(fleet).swap(Path("/second"))
        await ready(fleet)
        assert (stage.starts()[-1], fleet.workers[1].restarts) == ("1 /second", 1)


async def test_wrong_settings_are_an_accident_after_a_swap(stage: Stage) -> None:
    """The fleet was never complete, but what it serves now was loaded by somebody."""
    stage.plays("1 late", "1 refuse")
    async with running(stage) as fleet:
        await until(lambda: len(stage.starts()) == 2)
        await Bundles(fleet).swap(Path("/second"))
        assert await restarted(stage, fleet, 1, times=2) == "/second"


async def test_only_one_change_at_a_time_and_none_without_workers(stage: Stage) -> None:
    async with running(stage) as fleet:
        bundles = Bundles(fleet)
        with pytest.raises(Unavailable, match="no worker is ready"):
            await bundles.swap(Path("/second"))
        with pytest.raises(Unavailable, match="no worker is ready"):
            await bundles.cast_shadow(Path("/second"), 0.5)
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
        assert stage.asked() == shaded("/second", 0, 1)
        with pytest.raises(BundleInvalid, match="worker 0: is not fit"):
            await bundles.cast_shadow(Path("/refused-by-0"), 0.25)
        assert stage.asked()[2:] == shaded("/refused-by-0", 0)  # and the one before goes on
        for folder in ("/refused-by-1", "/other-for-1"):
            with pytest.raises(BundleInvalid):
                await bundles.cast_shadow(Path(folder), 0.25)
            assert sorted(stage.asked()[-2:]) == unshaded(0, 1)


async def test_who_is_started_later_gets_the_shadow_of_the_others(stage: Stage) -> None:
    async with running(stage) as fleet:
        await ready(fleet)
        bundles = Bundles(fleet)
        await bundles.cast_shadow(Path("/second"), 0.25)
        os.kill(fleet.ready()[1].pid, signal.SIGKILL)
        await restarted(stage, fleet, 1)
        await until(lambda: len(stage.asked()) == 3)
        assert stage.asked()[2:] == shaded("/second", 1)
        await bundles.end_shadow()
        assert sorted(stage.asked()[3:]) == unshaded(0, 1)
        os.kill(fleet.ready()[1].pid, signal.SIGKILL)
        await restarted(stage, fleet, 1, times=2)
        await bundles.end_shadow()  # which waits for its turn
        assert not [line for line in stage.asked()[5:] if "second" in line]


async def test_who_comes_while_a_shadow_is_cast_gets_it_once(stage: Stage) -> None:
    stage.plays("1 late")
    async with running(stage) as fleet:
        await until(lambda: len(stage.starts()) == 2)
        bundles = Bundles(fleet)
        cast = asyncio.create_task(bundles.cast_shadow(Path("/slow"), 0.25))
        await until(lambda: len(stage.asked()) == 1)
        (stage.folder / "go").touch()
        await cast
        await ready(fleet)
        await until(lambda: len(stage.asked()) == 2)
        await bundles.end_shadow()
        assert sorted(stage.asked()) == sorted([*shaded("/slow", 0, 1), *unshaded(0, 1)])


@pytest.mark.parametrize("folder", ["/fatal-to-1", "/changed"])
async def test_a_shadow_that_a_later_worker_cannot_have_is_ended(
    stage: Stage, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Else it would end one worker after the other, or be two."""
    stage.plays("1 late")
    async with running(stage) as fleet:
        await until(lambda: len(stage.starts()) == 2)
        bundles = Bundles(fleet)
        await bundles.cast_shadow(Path(folder), 0.25)
        (stage.folder / "sha256").write_text("2")
        (stage.folder / "go").touch()
        await until(lambda: unshaded(0)[0] in stage.asked())
        assert "the shadow is ended for all workers" in caplog.text
        if "fatal" in folder:
            await restarted(stage, fleet, 1)
        await bundles.end_shadow()
        assert stage.asked().count(shaded(folder, 1)[0]) == 1


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
async def served(
    stage: Stage, config: Config | None = None, pace: Pace = PACE, read: Callable[[], Config] | None = None
) -> AsyncIterator[Served]:
    served = Served()
    served.task = asyncio.create_task(
        serving.serve(config or stage.config(), served.announce, read, stage.command, pace)
    )
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


async def test_a_signal_ends_a_swap(stage: Stage) -> None:
    async with served(stage) as server, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.admin}/bundle"
        swap = asyncio.create_task(session.post(url, json={"folder": "/slow"}))
        await until(lambda: len(stage.asked()) == 1)
        os.kill(os.getpid(), signal.SIGTERM)
        async with await swap as response:
            assert (response.status, "this server is ending" in await response.text()) == (503, True)
        await asyncio.wait_for(server.task, PATIENCE)


async def test_a_stalled_client_holds_up_no_end(stage: Stage) -> None:
    async with served(stage) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.admin)
        writer.write(
            b"POST /bundle HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        await writer.drain()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(server.task, 30)  # with aiohttp's own patience it takes a minute
        writer.close()


async def test_pages_in_a_browser_change_nothing(stage: Stage) -> None:
    async with served(stage) as server, aiohttp.ClientSession(headers={"Origin": "http://127.0.0.1"}) as session:
        for path in ("/bundle", "/shadow", "/drift"):
            url = f"http://127.0.0.1:{server.admin}{path}"
            async with session.post(url, json={"folder": "/second", "share": 1}) as response:
                assert response.status == 403
        assert not stage.asked()


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
            await serving.serve(
                config.model_copy(update={"server": section}), lambda *_: None, None, stage.command, PACE
            )
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
    assert not {"grpc", "onnxruntime", "tokenizers", "hnswlib", "faiss", "uvloop"} & set(done.stdout.split())


async def test_settings_that_are_read_again_reach_every_worker(stage: Stage) -> None:
    config = stage.config()
    now = [config]
    async with served(stage, config, read=lambda: now[0]) as running:
        await until(lambda: len(stage.starts()) == config.server.workers)
        now[0] = config.model_copy(update={"admission": AdmissionSection(tenant_rate=3)})
        url = f"http://127.0.0.1:{running.admin}/settings"
        async with aiohttp.ClientSession() as session:
            async with session.post(url, json={}) as response:
                assert (response.status, await response.json()) == (200, {"changed": ["admission.tenant_rate"]})
            await until(lambda: len(told(stage)) == config.server.workers)
            now[0] = config.model_copy(update={"model": ModelSection(bundle=Path("another"))})
            async with session.post(url, json={}) as response:
                assert response.status == 422
                assert "model.bundle: needs a restart" in (await response.json())["error"]
        assert [line.split()[0] for line in sorted(told(stage))] == ["0", "1"]
        assert all('"tenant_rate": 3.0' in line for line in told(stage))


def told(stage: Stage) -> list[str]:
    return [line for line in stage.asked() if "/settings" in line]
