"""Asks all workers at once: whether they are ready, what they serve, and what they have counted."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import TypeAdapter

from gateway.errors import Unavailable
from gateway.telemetry.live.history import Reading
from gateway.telemetry.live.together import Together
from gateway.telemetry.merging import FORMAT, Merger, merge, parse, render
from gateway.telemetry.supervision import WorkerMetrics
from gateway.workers.fleet import Fleet, Worker
from gateway.workers.process import Process, Reply

SOON = 1.0
"""Seconds for what a worker has at hand."""
RENDERING = 5.0
"""Seconds for its metrics; less than a scrape may take as a whole, so that one that hangs hides none of the others."""
SUPERVISOR = "supervisor"
READING = TypeAdapter(Reading)


class Survey:
    """Over the workers of `fleet`. On the event loop."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._merger = Merger()
        self._together = Together()
        self._metrics = WorkerMetrics(len(fleet.workers))
        self._scraping = asyncio.Lock()
        fleet.on_end = self._ended
        fleet.on_restart = self._restarted

    def _ended(self, worker: Worker) -> None:
        self._merger.retire(str(worker.number))

    def _restarted(self, worker: Worker) -> None:
        self._metrics.restarted(worker.number)

    async def ready(self) -> int:
        """How many say now that they take questions."""
        answers = (process.answers("/readyz", SOON) for process in self._fleet.processes())
        return sum(await asyncio.gather(*answers))

    async def statuses(self) -> list[tuple[Worker, dict[str, Any]]]:
        """Every worker with its own /status, which is empty where it has none to give."""
        replies = await asyncio.gather(*(_reply(worker.process, "/status", SOON) for worker in self._fleet.workers))
        return [
            (worker, {} if reply is None else reply.json())
            for worker, reply in zip(self._fleet.workers, replies, strict=True)
        ]

    async def reading(self, at: float) -> Reading:
        """What all workers together have counted, and what stands at some value; for `page.live`."""
        asked = {f"{one.number}/{one.process.pid}": one.process for one in self._fleet.workers if one.process}
        replies = await asyncio.gather(*(_reply(process, "/reading", SOON) for process in asked.values()))
        said = {
            source: READING.validate_json(reply.text)
            for source, reply in zip(asked, replies, strict=True)
            if reply is not None and reply.status == 200
        }
        return self._together.add(at, said, asked)

    async def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics of all workers, and of this process, as those of one, with their content type."""
        # One scrape after the other, so that no older reply takes the place of a newer one.
        async with self._scraping:
            live = await self._update()
            self._metrics.set_ready(await self.ready())
            self._merger.update(SUPERVISOR, self._metrics.families())
            parts = self._merger.parts({*live, SUPERVISOR})
        return await asyncio.to_thread(lambda: render(merge(parts), accept))

    async def _update(self) -> list[str]:
        """Tell the merger what the workers say. Returns those that have said something."""
        asked = [(worker, worker.process) for worker in self._fleet.workers]
        replies = await asyncio.gather(
            *(_reply(process, "/metrics", RENDERING, {"Accept": FORMAT}) for _, process in asked)
        )
        live = []
        for (worker, process), reply in zip(asked, replies, strict=True):
            if reply is None or reply.status != 200:
                continue
            families = await asyncio.to_thread(parse, reply.text)
            if worker.process is process:  # else it has ended, and what it had counted before is kept already
                self._merger.update(str(worker.number), families)
                live.append(str(worker.number))
        return live


async def _reply(
    process: Process | None, path: str, seconds: float, headers: dict[str, str] | None = None
) -> Reply | None:
    if process is None:
        return None
    try:
        return await process.get(path, seconds, headers)
    except Unavailable:
        return None
