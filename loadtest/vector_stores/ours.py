"""The knowledge base of the gateway: a stored collection for each tenant, a document for each passage."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gateway.knowledge.base import key
from gateway.knowledge.changes import Create, Put
from gateway.types import Document, Prediction, Principal
from loadtest.knowledge_made import TOGETHER, Desk, Texts
from loadtest.vector_stores.world import TOP, Matrix, World

NO_LOGITS = np.zeros(1, np.float32)


class Rows(Texts):
    """Vectors at hand, by the number in the text."""

    __slots__ = ("_count", "_new", "_vectors")

    def __init__(self, vectors: Matrix, new: Matrix) -> None:
        self._vectors = vectors
        self._new = new
        self._count = len(vectors)

    def forget(self) -> None:
        """Those at first: files that are mapped count as memory."""
        self._vectors = self._new[:0]

    def embed(self, texts: Sequence[str]) -> Matrix:
        rows = [int(re.findall(r"\d+", text)[0]) for text in texts]
        return np.stack([self._vectors[row] if row < self._count else self._new[row - self._count] for row in rows])


class Ours:
    settings = "a collection for each tenant, in process, ranked by Library.rank; a passage is a document of its own"
    promise = "fsync of the log (SQLite, WAL, synchronous FULL), and the next search sees it"
    is_durable = True

    def __init__(self, folder: Path, world: World) -> None:
        self._world = world
        self._count = len(world.vectors())
        self._texts = Rows(world.vectors(), world.new())
        self._desk = Desk(folder, self._texts)

    async def load(self) -> None:
        for tenant in np.unique(self._world.tenants).tolist():
            place = _place(tenant)
            await self._desk.base.write(place, [Create()])
            numbers = np.flatnonzero(self._world.tenants == tenant).tolist()
            for at in range(0, len(numbers), TOGETHER):
                puts = [Put(self._document(one, one)) for one in numbers[at : at + TOGETHER]]
                await self._desk.base.write(place, puts)
        self._texts.forget()

    async def index(self) -> None:
        """Which goes on beside the loading: until it is done."""
        while running := [task for task in self._desk.base.merging if not task.done()]:
            await asyncio.gather(*running)

    def search(self, vector: Matrix, tenant: int, group: str) -> Sequence[int]:
        name, groups = f"t{tenant}", frozenset([group])
        asked = Prediction.alone(NO_LOGITS, vector)
        ranking = self._desk.library.rank(key(*_place(tenant)), asked, Principal(name, groups), TOP)
        return [int(one) for one, _ in ranking.documents[:TOP]]

    async def write(self, number: int, row: int, vector: Matrix) -> None:
        place = _place(int(self._world.tenants[number]))
        await self._desk.base.write(place, [Put(self._document(number, self._count + row))])

    def write_lightly(self, number: int, vector: Matrix) -> bool:
        return False

    def _document(self, number: int, row: int) -> Document:
        text = f"Row {row}."
        return Document(str(number), text, "", "2026-01-01", text, text, frozenset(self._world.groups(number)))

    def processes(self) -> list[int]:
        return [os.getpid()]

    async def close(self) -> None:
        await self._desk.close()


def _place(tenant: int) -> tuple[str, str]:
    return f"t{tenant}", "help"


opened = Ours
