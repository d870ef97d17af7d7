"""The stored collections by themselves, without a server: how soon a write is on disk and seen, what a kill leaves, how
long a start and a search take, and what the index misses. Vectors are made, so no model's time is in it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gateway.cascade.calibration import EVIDENCE_DEPTH
from gateway.knowledge.base import Encoder, KnowledgeBase, key
from gateway.knowledge.changes import Batch, Create, Put
from gateway.knowledge.generation import Generation
from gateway.knowledge.library import Library
from gateway.knowledge.store import Store
from gateway.types import Document, Matrix, Prediction, Principal

PLACE = ("tenant", "help")
DIM = 384
SUBJECTS = 200
"""Texts lie around so many centres."""
NOISE = 0.9 / DIM**0.5
TOGETHER = 256
RECALLED = 10
QUERIES = 300
"""For recall, each compared with all passages."""
WRITE_EVERY = 20
"""Searches: 5 % writes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything."""

    passages: int = 100_000
    writes: int = 10_000
    searches: int = 5_000
    kills: int = 200


@dataclass(slots=True)
class Texts:
    """Vectors for texts that begin with the number of their subject; the same text has the same one."""

    centres: Matrix = field(default_factory=lambda: np.random.default_rng(0).normal(size=(SUBJECTS, DIM)) / DIM**0.5)

    def embed(self, texts: Sequence[str]) -> Matrix:
        rows = [self._row(text) for text in texts]
        return np.stack(rows) if rows else np.empty((0, DIM), np.float32)

    async def embed_soon(self, texts: Sequence[str]) -> Matrix:
        return self.embed(texts)

    def _row(self, text: str) -> Matrix:
        # By the last words: the first is the title, which all passages of a document have.
        name = text.rsplit(" ", 2)[-2]
        subject, _, number = name.partition("-")
        noise = np.random.default_rng(int(number)).normal(size=DIM) * NOISE
        vector = self.centres[int(subject) % SUBJECTS] + noise
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


def document(number: int, version: int = 0) -> Document:
    """Of two passages; another version has other vectors."""
    subject, seed = number % SUBJECTS, 2 * (number + 1_000_003 * version)
    answer, body = f"About {subject}-{seed} here.", f"More {subject}-{seed + 1} here."
    return Document(f"d{number}", "T", "", "2026-01-01", answer, f"{answer}\n\n{body}\n")


class Desk:
    """One process's view of a folder."""

    def __init__(self, folder: Path, texts: Texts | None = None) -> None:
        texts = texts or Texts()
        started = time.perf_counter()
        self.store = Store(folder)
        self.library = Library({})
        self.base = KnowledgeBase(self.store, [self.library], Encoder("made", DIM, texts.embed, texts.embed_soon))
        self.base.load()
        self.seconds = time.perf_counter() - started
        self.texts = texts

    @property
    def generation(self) -> Generation:
        return self.library.generation(key(*PLACE))

    def asked(self, text: str) -> Prediction:
        return Prediction.alone(np.zeros(1, np.float32), self.texts.embed([text])[0])

    def ranked(self, text: str, least: int = EVIDENCE_DEPTH) -> list[str]:
        return [one for one, _ in self.library.rank(key(*PLACE), self.asked(text), Principal(), least).documents]

    async def close(self) -> None:
        await self.base.close()
        self.store.close()


async def measured(plan: Plan, folder: Path) -> dict[str, Any]:
    """Everything, in an empty folder."""
    chance = random.Random(1)  # noqa: S311 - a sample, no secret
    found: dict[str, Any] = {"passages": plan.passages}
    desk = Desk(folder)
    count = plan.passages // 2
    started = time.perf_counter()
    await desk.base.write(PLACE, [Create()])
    for at in range(0, count, TOGETHER):
        await desk.base.write(PLACE, [Put(document(number)) for number in range(at, min(at + TOGETHER, count))])
    found["ingest_passages_per_second"] = round(plan.passages / (time.perf_counter() - started), 1)
    await _settled(desk)
    found |= await _writes(desk, plan.writes, count, chance)
    found |= await _searches(desk, plan.searches, count, chance)
    await _settled(desk)
    found["segments"] = len(desk.generation.parts)
    found["recall"] = _recall(desk, chance)
    await desk.close()
    again = Desk(folder)
    found["restart_seconds"] = round(again.seconds, 3)
    started = time.perf_counter()
    again.base.start()
    await _settled(again)
    found["full_speed_seconds"] = round(again.seconds + time.perf_counter() - started, 3)
    await again.close()
    return found | _kills(plan.kills)


async def _settled(desk: Desk) -> None:
    """Until nothing is being merged."""
    while running := [task for task in desk.base.merging if not task.done()]:
        await asyncio.gather(*running)


async def _writes(desk: Desk, writes: int, count: int, chance: random.Random) -> dict[str, Any]:
    """Single documents, one after the other; after each, whether the next search sees it, and not what it was."""
    taken, seen = [], 0
    for version in range(1, writes + 1):
        new = document(chance.randrange(count), version)
        started = time.perf_counter()
        await desk.base.write(PLACE, [Put(new)])
        taken.append(time.perf_counter() - started)
        at = desk.generation.find(new.id)
        is_new = at is not None and at[0].segment.documents[at[1]] == new
        seen += is_new and desk.ranked(f"T. {new.answer}")[0] == new.id
    return {"write_ms": _percentiles(taken), "writes": writes, "seen": seen}


async def _searches(desk: Desk, searches: int, count: int, chance: random.Random) -> dict[str, Any]:
    taken = []
    for number in range(searches):
        if number % WRITE_EVERY == 0:
            await desk.base.write(PLACE, [Put(document(chance.randrange(count), 10**6 + number))])
        asked = desk.asked(f"T. About {chance.randrange(SUBJECTS)}-{10**9 + number} here.")
        started = time.perf_counter()
        desk.library.rank(key(*PLACE), asked, Principal(), EVIDENCE_DEPTH)
        taken.append(time.perf_counter() - started)
    return {"search_ms": _percentiles(taken)}


def _recall(desk: Desk, chance: random.Random) -> float:
    """Of the RECALLED nearest documents, how many are found."""
    parts = [(part, np.array(part.numbers())) for part in desk.generation.parts]
    hits = 0
    for number in range(QUERIES):
        text = f"T. About {chance.randrange(SUBJECTS)}-{2 * 10**9 + number} here."
        embedding = desk.asked(text).embedding
        scored = [
            (float(score), part.segment.documents[at].id)
            for part, numbers in parts
            for at, score in zip(numbers.tolist(), part.segment.scores(embedding, numbers).tolist(), strict=True)
        ]
        exact = {one for _, one in sorted(scored, reverse=True)[:RECALLED]}
        hits += len(exact & set(desk.ranked(text, RECALLED)[:RECALLED]))
    return round(hits / (RECALLED * QUERIES), 4)


def _percentiles(taken: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}": round(1e3 * float(np.percentile(taken, percent)), 3) for percent in (50, 99)}


# -- kills ------------------------------------------------------------------------------------------------------------


def _kills(count: int) -> dict[str, int]:
    """A process that writes pairs of documents is killed, again and again; `lost` pairs were acknowledged and are gone,
    `torn` ones are there by half."""
    lost = torn = acknowledged = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kill in range(count):
            said = _killed(folder, acknowledged, random.Random(kill).randint(1, 60))  # noqa: S311
            store = Store(folder)
            ids = {one.document.id for one in store.documents(*PLACE)}
            store.close()
            pairs = {one.split("-")[0] for one in ids}
            torn += sum((f"{one}-a" in ids) != (f"{one}-b" in ids) for one in pairs)
            lost += sum(str(one) not in pairs for one in range(acknowledged, said))
            acknowledged = max([said, *(int(one) + 1 for one in pairs)])
    return {"kills": count, "acknowledged": acknowledged, "lost": lost, "torn": torn}


def _killed(folder: Path, at: int, after: int) -> int:
    """Let it acknowledge so many pairs from `at` on, and kill it. The next pair."""
    command = (sys.executable, "-m", "loadtest.knowledge", str(folder), str(at))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        assert process.stdout is not None
        for line in process.stdout:
            at = int(line) + 1
            after -= 1
            if after == 0:
                os.kill(process.pid, signal.SIGKILL)
    return at


async def _write_on(folder: Path, at: int) -> None:
    """Until somebody ends this process."""
    store = Store(folder)
    await store.write(Batch(*PLACE, (Create(),)))
    for number in _from(at):
        pair = [Document(f"{number}-{half}", "T", "", "", "A.", "A." * 300) for half in "ab"]
        await store.write(Batch(*PLACE, tuple(map(Put, pair))))
        os.write(1, f"{number}\n".encode())


def _from(number: int) -> Iterator[int]:
    while True:
        yield number
        number += 1


if __name__ == "__main__":
    asyncio.run(_write_on(Path(sys.argv[1]), int(sys.argv[2])))
