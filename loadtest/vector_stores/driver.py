"""One store, measured: `python -m loadtest.vector_stores.driver NAME FOLDER`, the folder as `World` keeps it.

What was found by then is written after each step, so that a store that fails later is known up to there.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from loadtest.vector_stores.world import EVERYTHING, TOP, Asked, Matrix, World

WRITE_EVERY = 20
"""Searches: 5 % writes."""
WARM = 20
"""Questions that are asked before those that are timed, of each kind."""
STORES = {
    "ours": "loadtest.vector_stores.ours",
    "qdrant": "loadtest.vector_stores.edge",
    "pgvector": "loadtest.vector_stores.postgres",
    "pgvector-parts": "loadtest.vector_stores.postgres_parts",
    "hnswlib": "loadtest.vector_stores.naive",
}
"""By module; each has a function `opened(folder, world)`."""


class Store(Protocol):
    """Passages by their numbers. All methods from one thread."""

    settings: str
    promise: str
    """What is certain of a write that was acknowledged."""
    is_durable: bool
    """Whether that is that it is on disk."""

    async def load(self) -> None:
        """Take in all passages, until they are acknowledged as writes are."""

    async def index(self) -> None:
        """Build what makes searches fast."""

    def search(self, vector: Matrix, tenant: int, group: str) -> Sequence[int]:
        """The nearest TOP passages of the tenant that the group may read, nearest first."""

    async def write(self, number: int, row: int, vector: Matrix) -> None:
        """Give a passage another vector, which is in `row` of the new ones."""

    def write_lightly(self, number: int, vector: Matrix) -> bool:
        """The same with a weaker promise; False where there is none."""

    def processes(self) -> list[int]:
        """All that it runs in."""

    async def close(self) -> None: ...


class Measure:
    def __init__(self, store: Store, world: World, data: Path, out: Path) -> None:
        self._store = store
        self._world = world
        self._data = data
        self._out = out
        self.found: dict[str, Any] = {"settings": store.settings, "promise": store.promise}

    async def everything(self) -> None:
        before = resident([os.getpid()])
        started = time.perf_counter()
        await self._store.load()
        self._keep(load_seconds=round(time.perf_counter() - started, 2))
        await self._store.index()
        self._keep(build_seconds=round(time.perf_counter() - started, 2))
        self._keep(asked={one.name: self._asked(one) for one in self._world.asked})
        self._keep(disk_mb=on_disk(self._data), memory_mb=round(resident(self._store.processes()) - before, 1))
        self._keep(process_mb=round(before, 1))
        await self._writes()
        everything = next(one for one in self._world.asked if one.group == EVERYTHING)
        await self._mixed(everything)
        self._keep(after=self._asked(everything))
        self._keep(disk_after_mb=on_disk(self._data))
        self._keep(memory_after_mb=round(resident(self._store.processes()) - before, 1))
        self._light()

    def _asked(self, asked: Asked) -> dict[str, Any]:
        """One question at a time."""
        questions = list(zip(self._world.questions(asked), asked.tenants, strict=True))
        for vector, tenant in questions[:WARM]:
            self._store.search(vector, tenant, asked.group)
        taken, hits = [], []
        for vector, tenant in questions:
            started = time.perf_counter()
            found = self._store.search(vector, tenant, asked.group)
            taken.append(time.perf_counter() - started)
            hits.append(list(found)[:TOP])
        return {"ms": percentiles(taken), "hits": hits}

    async def _writes(self) -> None:
        taken = []
        new = self._world.new()
        started = time.perf_counter()
        for row, number in enumerate(self._world.written[: self._world.alone]):
            began = time.perf_counter()
            await self._store.write(number, row, new[row])
            taken.append(time.perf_counter() - began)
        whole = time.perf_counter() - started
        if self._store.is_durable:
            self._keep(write_ms=percentiles(taken), writes_per_second=round(len(taken) / whole, 1))
        else:
            self._keep(light_write_ms=percentiles(taken))

    async def _mixed(self, asked: Asked) -> None:
        """Each write is looked for by its own vector, which is not timed."""
        new, questions = self._world.new(), self._world.questions(asked)
        taken, written, seen = [], [], 0
        for at, (row, number) in enumerate(enumerate(self._world.written[self._world.alone :], self._world.alone)):
            began = time.perf_counter()
            await self._store.write(number, row, new[row])
            written.append(time.perf_counter() - began)
            found = self._store.search(np.array(new[row]), int(self._world.tenants[number]), EVERYTHING)
            seen += list(found)[:1] == [number]
            for which in range(at * WRITE_EVERY, (at + 1) * WRITE_EVERY):
                which %= len(questions)
                began = time.perf_counter()
                self._store.search(questions[which], asked.tenants[which], asked.group)
                taken.append(time.perf_counter() - began)
        self._keep(mixed_ms=percentiles(taken), mixed_write_ms=percentiles(written), seen=seen, looked_for=len(written))

    def _light(self) -> None:
        """Last, as these are no part of what the others are compared by: the same vectors once more."""
        taken = []
        new = self._world.new()
        for row, number in enumerate(self._world.written):
            began = time.perf_counter()
            if not self._store.write_lightly(number, new[row]):
                return
            taken.append(time.perf_counter() - began)
        self._keep(light_write_ms=percentiles(taken))

    def _keep(self, **found: Any) -> None:
        self.found |= found
        self._out.write_text(json.dumps(self.found))


def percentiles(taken: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}": round(1e3 * float(np.percentile(taken, percent)), 4) for percent in (50, 99)}


def resident(processes: Sequence[int]) -> float:
    """MB, what several share counted once."""
    kilobytes = 0
    for one in processes:
        lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        kilobytes += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes / 1000


def on_disk(folder: Path) -> float:
    """MB that are taken: a log may be larger than what is in it."""
    return round(sum(512 * path.lstat().st_blocks for path in folder.rglob("*")) / 1e6, 1)


async def main(name: str, folder: Path) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and close: a server may have been started
    world = World.load(folder)
    data = folder / f"{name}-data"
    data.mkdir()
    store: Store = importlib.import_module(STORES[name]).opened(data, world)
    try:
        await Measure(store, world, data, folder / f"{name}.json").everything()
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
