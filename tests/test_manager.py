"""What a service manager is told, over a socket as systemd's; and the unit that is shipped."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.rpc.manager import Manager
from gateway.rpc.server import Ports, serve
from gateway.telemetry.metrics import Metrics
from tests.fakes import FakeGateway

UNIT = Path(__file__).parent.parent / "deploy" / "systemd" / "gateway.service"


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def told(systemd: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(systemd.recv(100).decode())
        except BlockingIOError:
            return found


async def test_a_server_tells_when_it_is_ready_and_when_it_ends(
    systemd: socket.socket,
    gateway: FakeGateway,
    config: Config,
    metrics: Metrics,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.getsockname())
    started: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(gateway, config, metrics, started.set_result))
    await started
    await asyncio.sleep(0)
    assert told(systemd) == ["READY=1"]
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
    assert told(systemd) == ["STOPPING=1"]


async def test_it_says_that_it_is_alive_as_long_as_it_is(systemd: socket.socket) -> None:
    is_live = True
    variables = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}
    watching = asyncio.create_task(Manager.of(variables).watched(lambda: is_live))
    async with asyncio.timeout(10):
        while len(told(systemd)) < 1:  # noqa: ASYNC110  # a socket
            await asyncio.sleep(0.01)
    is_live = False
    await asyncio.sleep(0.02)
    told(systemd)
    await asyncio.sleep(0.1)
    assert told(systemd) == []
    watching.cancel()


@pytest.mark.parametrize("variables", [{}, {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}])
async def test_without_a_watchdog_nothing_is_said(variables: dict[str, str]) -> None:
    async with asyncio.timeout(5):
        await Manager.of(variables).watched(lambda: True)


def test_nobody_who_listens_is_no_reason_to_fail(tmp_path: Path) -> None:
    Manager("").ready()
    Manager(str(tmp_path / "gone")).ready()
    Manager("@gateway-nobody").stopping()


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd (Debian: apt-get install systemd)"
)
def test_the_unit_is_right_and_closed(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name  # as it is, but for a program that is there
    unit.write_text(UNIT.read_text().replace("/opt/gateway/bin/gateway", "/bin/true"))
    found = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stderr) == (0, "")
    # Of 10, the lower the better: 3 is what the file has to be under.
    subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=30", str(unit)],
        capture_output=True,
        check=True,
        timeout=60,
    )
