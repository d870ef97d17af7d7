"""Documents, questions and vectors that are made up, for measures of stored collections by themselves: no model's time
is in them. Texts are as long as real ones, of words as frequent as in real ones."""

from __future__ import annotations

import asyncio
import functools
import random
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.cascade.calibration import EVIDENCE_DEPTH
from gateway.cli.replica import SWITCH_INTERVAL
from gateway.knowledge.base import KnowledgeBase, key
from gateway.knowledge.changes import Create, Put
from gateway.knowledge.encoder import Encoder
from gateway.knowledge.generation import Generation
from gateway.knowledge.library import Library
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
IN_DOCUMENT = 2
"""Passages."""


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

    def merging(self) -> list[asyncio.Task[None]]:
        return [task for task in self.base.merging if not task.done()]

    async def settle(self) -> None:
        """Until nothing is being merged."""
        while running := self.merging():
            await asyncio.gather(*running)

    async def close(self) -> None:
        await self.base.close()
        self.store.close()
