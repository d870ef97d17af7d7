"""Supervised workers in miniature: what tests of `gateway.workers` share."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gateway.config import Config, ModelSection, ServerSection
from gateway.workers.fleet import Fleet
from gateway.workers.pace import Pace

PATIENCE = 90.0
"""Seconds after which a test fails; what it waits for takes milliseconds on a machine that has time."""
PACE = Pace(
    start=60, first_delay=0.01, longest_delay=0.02, poll=0.02, watch=0.05, silence=60, drain=60, end=60, restarts=3
)


class Stage:
    """A folder that says how the fake workers behave, and remembers what they did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command: tuple[str, ...] = (
            sys.executable,
            "-S",
            str(Path(__file__).with_name("fake_worker.py")),
            str(folder),
        )
        self.plays()

    def plays(self, *words: str) -> None:
        """One word for each start: "<number> <word>"."""
        (self.folder / "behaviour").write_text("\n".join(words))

    def starts(self) -> list[str]:
        """The number and the bundle of each start."""
        return self._lines("starts")

    def asked(self) -> list[str]:
        """What was posted to whom."""
        return self._lines("asked")

    def _lines(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    def fleet(self, sockets: Path, workers: int = 2, **pace: float) -> Fleet:
        return Fleet(self.config(workers), sockets, self.command, replace(PACE, **pace))  # type: ignore[arg-type]

    def config(self, workers: int = 2) -> Config:
        return Config(
            server=ServerSection(port=0, admin_port=0, workers=workers), model=ModelSection(bundle=Path("/first"))
        )


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # it is about other processes
            await asyncio.sleep(0.02)


async def ready(fleet: Fleet, workers: int = 2) -> None:
    async with asyncio.timeout(PATIENCE):
        await fleet.wait_for_ready(workers)
