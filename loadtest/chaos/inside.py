"""`python -m loadtest.chaos.inside FILE serve ...`: the gateway itself, which writes to FILE each second how many tasks
its event loop has.

CHAOS_LEAK=memory|descriptors|tasks makes it leak that with each answer: the negative control of the soak, which has to
catch it. CHAOS_LEAK_BYTES is what one answer loses of memory.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from gateway.cli.main import main
from gateway.rpc import server
from gateway.telemetry.metrics import Metrics
from gateway.types import Answer

LEAK, BYTES = "CHAOS_LEAK", "CHAOS_LEAK_BYTES"
KINDS = ("memory", "descriptors", "tasks")
PERIOD = 1.0
_kept: list[object] = []


def _leak(kind: str) -> None:
    """Lose a little of it."""
    if kind == "memory":
        # Written to, or the kernel would give no page for it.
        _kept.append(bytearray(b"x" * int(os.environ.get(BYTES, "4096"))))
    elif kind == "descriptors":
        _kept.append(os.open(os.devnull, os.O_RDONLY))
    else:
        _kept.append(asyncio.get_running_loop().create_task(asyncio.sleep(86_400)))


def _plant(kind: str) -> None:
    """Let every answer leak, where it is counted."""
    if kind not in KINDS:
        raise SystemExit(f"{LEAK} is {kind!r}, which is none of {', '.join(KINDS)}")
    honest = Metrics.observe

    def observe(self: Metrics, answer: Answer, seconds: float) -> None:
        _leak(kind)
        honest(self, answer, seconds)

    Metrics.observe = observe  # type: ignore[method-assign]


async def _tell(file: Path) -> None:
    fresh = file.with_suffix(".new")
    while True:
        fresh.write_text(str(len(asyncio.all_tasks())))
        fresh.rename(file)
        await asyncio.sleep(PERIOD)


def _watch(file: Path) -> None:
    """Begin to tell as soon as a server has started."""
    start = server.Server.start

    async def watched(self: server.Server) -> server.Ports:
        ports = await start(self)
        _kept.append(asyncio.get_running_loop().create_task(_tell(file)))
        return ports

    server.Server.start = watched  # type: ignore[method-assign]


if __name__ == "__main__":
    _watch(Path(sys.argv.pop(1)))
    if planted := os.environ.get(LEAK):
        _plant(planted)
    main()
