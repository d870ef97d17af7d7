"""Servers as processes: ready, counted with their children, and gone afterwards."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from loadtest import processes
from loadtest.processes import Process, ServerFailed, Stat, parse_stat, tree

BURN = """
import os, subprocess, sys, time
while sum(os.times()[:2]) < {seconds}: pass
{then}
open(sys.argv[1], "w").close()
time.sleep(60)
"""


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Processes that are certainly gone after the test."""
    started: list[Process] = []

    def begin(code: str, *arguments: str) -> Process:
        started.append(Process([sys.executable, "-c", code, *arguments]))
        return started[-1]

    yield begin
    for process in started:
        process.stop(grace=0)


def exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return await asyncio.to_thread(path.exists)

    return check


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(") ")[2][0] not in "ZX"


async def test_the_time_and_memory_of_children_count(start: Callable[..., Process], tmp_path: Path) -> None:
    """0.2 s of the process itself, 0.3 s of a child that has ended, 0.2 s of one that lives."""
    ended = f"subprocess.run([sys.executable, '-c', {BURN.format(seconds=0.3, then='sys.exit()')!r}])"
    living = (
        f"subprocess.Popen([sys.executable, '-c', {BURN.format(seconds=0.2, then='')!r}, sys.argv[1] + '.child'])\n"
        "while not os.path.exists(sys.argv[1] + '.child'): time.sleep(0.01)"
    )
    ready = tmp_path / "ready"
    process = start(BURN.format(seconds=0.2, then=f"{ended}\n{living}"), str(ready))
    await process.ready(exists(ready))
    use = process.use()
    assert use.cpu_seconds >= 0.65  # in steps of 10 ms a process
    assert use.rss_bytes > 2 * 2**20
    cheap = process.use(look_for_new=False)
    assert cheap.cpu_seconds >= use.cpu_seconds


async def test_whoever_is_left_is_killed(start: Callable[..., Process], tmp_path: Path) -> None:
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    code = (
        "import subprocess, sys, time, pathlib\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "pathlib.Path(sys.argv[1] + '.new').write_text(str(child.pid))\n"
        "pathlib.Path(sys.argv[1] + '.new').rename(sys.argv[1])\n"
        "time.sleep(60)"
    )
    ready = tmp_path / "ready"
    process = start(code, str(ready))
    await process.ready(exists(ready))
    orphan = int(ready.read_text())
    assert is_alive(orphan)
    process.stop(grace=0.5)
    assert not is_alive(orphan)
    assert not is_alive(process.pid)


async def test_a_server_that_ends_is_quoted(start: Callable[..., Process], tmp_path: Path) -> None:
    process = start("print('no model'); raise SystemExit(3)")
    with pytest.raises(ServerFailed, match="ended with 3: no model"):
        await process.ready(exists(tmp_path / "never"))


async def test_a_server_that_is_never_ready_is_not_waited_for(start: Callable[..., Process], tmp_path: Path) -> None:
    process = start("import time; print('loading', flush=True); time.sleep(60)")
    with pytest.raises(ServerFailed, match=r"not ready within 0\.3 s"):
        await process.ready(exists(tmp_path / "never"), patience=0.3)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ServerFailed, match="no-such-program"):
        Process(["no-such-program"])


def test_a_name_with_parentheses_is_no_obstacle() -> None:
    fields = ["S", "7", "7", "6", *["0"] * 7, "10", "20", "1", "2", *["0"] * 6, "99"]
    assert parse_stat(f"42 (a (strange) name) {' '.join(fields)}\n") == Stat(42, 7, 6, 33, 99)


@pytest.mark.parametrize(("state", "threads", "has_ended"), [("S", 1, False), ("Z", 3, False), ("Z", 1, True)])
def test_a_zombie_whose_threads_live_has_not_ended(state: str, threads: int, has_ended: bool) -> None:
    fields = [state, *["0"] * 16, str(threads), *["0"] * 4]
    assert parse_stat(f"42 (server) {' '.join(fields)}").has_ended is has_ended


def test_our_own_stat_is_read() -> None:
    stat = processes.read_stat(os.getpid())
    assert stat is not None
    assert (stat.pid, stat.parent, stat.session) == (os.getpid(), os.getppid(), os.getsid(0))
    assert stat.pages > 0
    assert processes.read_stat(2**22 + 1) is None


def test_a_tree_holds_descendants_and_the_session() -> None:
    def one(pid: int, parent: int, session: int = 1) -> Stat:
        return Stat(pid, parent, session, 0, 0)

    stats = [one(5, 1, 5), one(6, 5, 5), one(7, 6, 9), one(8, 1, 5), one(9, 1), one(10, 8, 3)]
    assert [stat.pid for stat in tree(5, stats)] == [5, 6, 7, 8, 10]
