"""The stored collections by themselves, without a server: how soon a write is on disk and seen, what a kill leaves, how
long a start and a search take, what the index misses and how much memory it needs. Vectors are made, so no model's time
is in it; texts are as long as real ones, of words as frequent as in real ones.

`python -m loadtest.knowledge start FOLDER` starts once and prints what that took, `... write FOLDER AT` writes until it
is killed: both are processes of their own.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.cascade.calibration import EVIDENCE_DEPTH
from gateway.cli.replica import SWITCH_INTERVAL
from gateway.knowledge.base import KnowledgeBase, key
from gateway.knowledge.changes import Batch, Create, Put
from gateway.knowledge.encoder import Encoder
from gateway.knowledge.generation import Generation
from gateway.knowledge.library import Library
from gateway.knowledge.probe import TOP, exact
from gateway.knowledge.store import Store
from gateway.types import Document, Matrix, Prediction, Principal

PLACE = ("tenant", "help")
DIM = 384
SUBJECTS = 200
"""Texts lie around so many centres."""
NOISE = 0.9 / DIM**0.5
VOCABULARY, SENTENCES, WORDS = 20_000, 2_000, 45
"""Texts are of so many sentences, each of so many words, the n-th of which is there 1/n as often as the first."""
TOGETHER = 256
LIMIT, CITATIONS = 10, 3
"""Of a search."""
QUERIES = 200
"""For recall, each compared with all passages."""
WRITE_EVERY = 20
"""Searches: 5 % writes."""
IN_DOCUMENT = 2
"""Passages."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything."""

    passages: int = 100_000
    writes: int = 10_000
    searches: int = 5_000
    kills: int = 200
    tenants: int = 50


class Texts:
    """Vectors for texts that hold the number of their subject and their own, the last of which count; the same text has
    the same one."""

    def embed(self, texts: Sequence[str]) -> Matrix:
        rows = [self._row(text) for text in texts]
        return np.stack(rows) if rows else np.empty((0, DIM), np.float32)

    async def embed_soon(self, texts: Sequence[str]) -> Matrix:
        return self.embed(texts)

    @staticmethod
    def _row(text: str) -> Matrix:
        subject, number = re.findall(r"(\d+)-(\d+)", text)[-1]  # the first is in the title
        return _vector(int(subject) % SUBJECTS, int(number))


@functools.cache
def _centres() -> NDArray[np.float64]:
    centres: NDArray[np.float64] = np.random.default_rng(0).normal(size=(SUBJECTS, DIM)) / DIM**0.5
    return centres


@functools.lru_cache(64)
def _vector(subject: int, number: int) -> Matrix:
    """The last ones are kept: what is made before the clock starts costs nothing afterwards."""
    vector = _centres()[subject] + np.random.default_rng(number).normal(size=DIM) * NOISE
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


@functools.cache
def sentences() -> list[str]:
    chance = np.random.default_rng(1)
    often = 1 / np.arange(1, VOCABULARY + 1)
    words = chance.choice(VOCABULARY, size=(SENTENCES, WORDS), p=often / often.sum())
    return [" ".join(f"w{word}" for word in row) for row in words.tolist()]


def document(number: int, version: int = 0) -> Document:
    """Of two passages; another version has other vectors and other words."""
    subject, seed = number % SUBJECTS, IN_DOCUMENT * (number + 1_000_003 * version)
    said = [sentences()[at * 7919 % SENTENCES] for at in (seed, seed + 1)]
    answer, body = f"About {subject}-{seed} here. {said[0]}", f"More {subject}-{seed + 1} here. {said[1]}"
    title = f"On {subject}-{seed + 10**12} here"
    return Document(f"d{number}", title, "", "2026-01-01", answer, f"{answer}\n\n{body}\n")


def question(chance: random.Random, number: int) -> str:
    """About a subject, in words of which some are rare."""
    words = sentences()[chance.randrange(SENTENCES)].split()
    return f"About {chance.randrange(SUBJECTS)}-{number} here, {' '.join(chance.sample(words, 8))}?"


class Desk:
    """One process's view of a folder."""

    def __init__(self, folder: Path, texts: Texts | None = None) -> None:
        texts = texts or Texts()
        sys.setswitchinterval(SWITCH_INTERVAL)  # as where it serves: merges go on beside
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

    async def fill(self, place: tuple[str, str], numbers: Sequence[int]) -> None:
        await self.base.write(place, [Create()])
        for at in range(0, len(numbers), TOGETHER):
            await self.base.write(place, [Put(document(number)) for number in numbers[at : at + TOGETHER]])

    async def settle(self) -> None:
        """Until nothing is being merged."""
        while running := [task for task in self.base.merging if not task.done()]:
            await asyncio.gather(*running)

    async def close(self) -> None:
        await self.base.close()
        self.store.close()


async def measured(plan: Plan, folder: Path) -> dict[str, Any]:
    """Everything, in an empty folder."""
    chance = random.Random(1)  # noqa: S311 - a sample, no secret
    found: dict[str, Any] = {"passages": plan.passages, "tenants": plan.tenants}
    found |= await _many(plan, folder / "many", chance) if plan.tenants else {"search_ms": None}
    desk = Desk(folder / "one")
    count = plan.passages // IN_DOCUMENT
    started = time.perf_counter()
    await desk.fill(PLACE, range(count))
    found["ingest_passages_per_second"] = round(plan.passages / (time.perf_counter() - started), 1)
    await desk.settle()
    found |= await _writes(desk, plan.writes, count, chance)
    places = [(PLACE, range(count))]
    found["search_of_one_ms"] = await _searches(desk, plan.searches, places, chance)
    await desk.settle()
    found["segments"] = len(desk.generation.parts)
    found["recall"] = _recall(desk, chance)
    await desk.close()
    found["start_after_kill"] = _started(folder / "one")  # which keeps what it has made, as one that is stopped does
    found["start"] = _started(folder / "one")
    return found | _kills(plan.kills)


async def _many(plan: Plan, folder: Path, chance: random.Random) -> dict[str, Any]:
    """Tenants of sizes 1, 1/2, 1/3, ..., asked as often as they are large."""
    desk = Desk(folder)
    shares = 1 / np.arange(1, plan.tenants + 1)
    ends = np.rint(np.cumsum(shares / shares.sum()) * (plan.passages // IN_DOCUMENT)).astype(int).tolist()
    places = [
        ((f"t{at}", "help"), range(start, end)) for at, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
    ]
    for place, numbers in places:
        await desk.fill(place, numbers)
    await desk.settle()
    found = await _searches(desk, plan.searches, places, chance)
    await desk.close()
    return {"search_ms": found, "largest_tenant": IN_DOCUMENT * len(places[0][1])}


async def _writes(desk: Desk, writes: int, count: int, chance: random.Random) -> dict[str, Any]:
    """Single documents, one after the other; after each, whether the next search sees it, and not what it was."""
    taken, seen = [], 0
    for version in range(1, writes + 1):
        new = document(chance.randrange(count), version)
        desk.texts.embed([new.title, new.answer, new.text])  # no part of a write here
        started = time.perf_counter()
        await desk.base.write(PLACE, [Put(new)])
        taken.append(time.perf_counter() - started)
        at = desk.generation.find(new.id)
        is_new = at is not None and at[0].segment.documents[at[1]] == new
        seen += is_new and desk.ranked(f"{new.title}. {new.answer}")[0] == new.id
    return {"write_ms": _percentiles(taken), "writes": writes, "seen": seen}


Places = Sequence[tuple[tuple[str, str], range]]
"""Collections, with the numbers of their documents."""


async def _searches(desk: Desk, searches: int, places: Places, chance: random.Random) -> dict[str, float]:
    """By meaning and words, with citations, and writes between."""
    taken = []
    for number in range(searches):
        (place, _), (written, others) = chance.choices(places, [len(each) for _, each in places], k=2)
        if number % WRITE_EVERY == 0 and others:
            await desk.base.write(written, [Put(document(chance.choice(others), 10**6 + number))])
        text = question(chance, 10**9 + number)
        asked = desk.asked(text)
        started = time.perf_counter()
        desk.library.search(key(*place), text, asked, Principal(), LIMIT, CITATIONS)
        taken.append(time.perf_counter() - started)
    return _percentiles(taken)


def _recall(desk: Desk, chance: random.Random) -> float:
    """Of the nearest documents, TOP of each question, how many are found."""
    found = wanted = 0
    for number in range(QUERIES):
        text = question(chance, 2 * 10**9 + number)
        nearest = exact(desk.generation, desk.asked(text), Principal(), 0.0)
        wanted += len(nearest)
        found += len(nearest & set(desk.ranked(text, TOP)[:TOP]))
    return round(found / wanted, 4)


def _percentiles(taken: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}": round(1e3 * float(np.percentile(taken, percent)), 3) for percent in (50, 99)}


# -- a start ----------------------------------------------------------------------------------------------------------


def _started(folder: Path) -> dict[str, float]:
    """In a process of its own."""
    command = (sys.executable, "-m", "loadtest.knowledge", "start", str(folder))
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))  # noqa: S603 - our own


async def _start(folder: Path) -> dict[str, float]:
    """Seconds to exact answers and to full speed, and the bytes of memory that are there then, beyond the texts."""
    texts = Texts()
    before = _memory()
    desk = Desk(folder, texts)
    started = time.perf_counter()
    desk.base.start()
    await desk.settle()
    full = desk.seconds + time.perf_counter() - started
    after = _memory()
    written = sum(
        len("".join((one.title, one.uri, one.answer, one.text)).encode()) for one in desk.generation.documents
    )
    passages = desk.generation.counts()[1]
    await desk.close()
    return {
        "exact_seconds": round(desk.seconds, 3),
        "full_speed_seconds": round(full, 3),
        "passages": passages,
        "text_bytes": written,
        "private_bytes": after["RssAnon"] - before["RssAnon"] - written,
        "mapped_bytes": after["RssFile"] - before["RssFile"],
    }


def _memory() -> dict[str, int]:
    """Resident bytes of this process: its own (RssAnon), and those of files, which the kernel can take back."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {
        line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssFile"))
    }


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
    command = (sys.executable, "-m", "loadtest.knowledge", "write", str(folder), str(at))
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
    match sys.argv[1:]:
        case ["start", folder]:
            print(json.dumps(asyncio.run(_start(Path(folder)))))
        case ["write", folder, at]:
            asyncio.run(_write_on(Path(folder), int(at)))
