"""The gateway that is tested: a process of its own, whose counters, memory and descriptors can be read, and that can be
told to fail while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from gateway.failpoints import FILE_VARIABLE
from loadtest.admin import Admin
from loadtest.chaos.verdicts import Terms
from loadtest.ports import free_port
from loadtest.processes import PAGE, PROC, Process
from loadtest.subjects import module

BUNDLE = Path("models/banking/1")
QUIET = 2.0
"""Seconds after which nothing of what was asked may be left."""
POLL = 0.05


@dataclass(frozen=True, slots=True)
class Inner:
    """What only the process itself knows: how many tasks its event loop has."""

    tasks: int


class Served:
    """One gateway. `folder` is for its files; see `fail` for its failpoints."""

    def __init__(self, process: Process, port: int, admin: int, folder: Path) -> None:
        self.process, self.port, self.folder = process, port, folder
        self.target, self.admin = f"127.0.0.1:{port}", f"127.0.0.1:{admin}"

    @property
    def control(self) -> Admin:
        return Admin(self.admin)

    def fail(self, text: str) -> None:
        """Arm its failpoints, in the place of those that were; "" mends it. It notices within 20 ms."""
        fresh = self.folder / "failpoints.new"
        fresh.write_text(text, encoding="utf-8")
        fresh.rename(self.folder / "failpoints")

    async def counted(self) -> Counters:
        return Counters(await asyncio.to_thread(fetched, f"http://{self.admin}/metrics"))

    async def status(self) -> dict[str, Any]:
        return dict(json.loads(await asyncio.to_thread(fetched, f"http://{self.admin}/status")))

    async def is_ready(self) -> bool:
        return await self._says("readyz")

    async def is_alive(self) -> bool:
        return await self._says("livez")

    async def _says(self, probe: str) -> bool:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(fetched, f"http://{self.admin}/{probe}")
            return True
        return False

    async def in_flight_is_over(self) -> float:
        """Seconds until nothing is in flight any more; infinite if that is more than ten times QUIET."""
        began = time.monotonic()
        while time.monotonic() - began < 10 * QUIET:
            # Of what C-core has not handed over yet the gauge knows nothing: it has to stay at 0.
            if (await self.counted()).total("gateway_inflight_requests") == 0:
                return time.monotonic() - began
            await asyncio.sleep(POLL)
        return float("inf")

    def rss(self) -> int:
        """Bytes of memory of the process that was started."""
        return int((PROC / str(self.process.pid) / "statm").read_text().split()[1]) * PAGE

    def descriptors(self) -> int:
        return len(list((PROC / str(self.process.pid) / "fd").iterdir()))

    def threads(self) -> int:
        return len(list((PROC / str(self.process.pid) / "task").iterdir()))

    def tasks(self) -> int:
        """Of its event loop, as it told within the last second; see `inside`."""
        return int((self.folder / "tasks").read_text())


async def until(holds: Callable[[], bool], seconds: float) -> float:
    """Seconds until it holds, or at most so many."""
    began = time.monotonic()
    for _ in range(int(seconds / POLL)):
        if holds() or time.monotonic() - began > seconds:
            break
        await asyncio.sleep(POLL)
    return time.monotonic() - began


class Counters:
    """What a scrape said."""

    def __init__(self, text: str) -> None:
        self._samples = [one for family in text_string_to_metric_families(text) for one in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """The sum of all series of that name that have those labels; 0 where there is none."""
        return sum(one.value for one in self._samples if one.name == name and labels.items() <= one.labels.items())

    def has(self, name: str) -> bool:
        return any(one.name == name for one in self._samples)


def started(
    terms: Terms, *arguments: str, environment: Mapping[str, str] | None = None, tree: Path | None = None
) -> Served:
    """`gateway serve ARGUMENTS` on free ports, started and not yet ready, with all that `Served` needs; stop it.
    `tree`: of other sources, whose gateway tells of no tasks."""
    port, admin = free_port(), free_port()
    folder = terms.folder / f"gateway-{port}"
    folder.mkdir()
    inside = module("loadtest.chaos.inside", str(folder / "tasks")) if tree is None else module("gateway")
    command = (*_in(tree), *inside, "serve", "--port", str(port), "--admin-port", str(admin), *arguments)
    added = {FILE_VARIABLE: str(folder / "failpoints"), **(environment or {})}
    return Served(Process(command, added), port, admin, folder)


def _in(tree: Path | None) -> tuple[str, ...]:
    return () if tree is None else ("env", "--chdir", str(tree))


@asynccontextmanager
async def served(
    terms: Terms, *arguments: str, environment: Mapping[str, str] | None = None, tree: Path | None = None
) -> AsyncIterator[Served]:
    """As `started`, once it is ready; stopped at the end. Raises ServerFailed with its last words."""
    gateway = started(terms, *arguments, environment=environment, tree=tree)
    try:
        await gateway.process.ready(gateway.is_ready)
        yield gateway
    finally:
        await asyncio.to_thread(gateway.process.stop)


def stored(folder: Path) -> dict[str, str]:
    """The setting of a folder of stored collections."""
    return {"GATEWAY_KNOWLEDGE__DATA": str(folder)}


def fetched(url: str) -> str:
    """The text there."""
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - our own, by http
        return str(response.read().decode())
