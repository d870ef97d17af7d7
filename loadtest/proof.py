"""What the proofs of the knowledge base have in common: an encoder made of word counts, segments so small that graphs,
merges and masks all take part with a few hundred documents, and a process's view of a folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np

from gateway.knowledge import committing, generation, hybrid, merges, segment
from gateway.knowledge.acknowledged import NAME as ACKNOWLEDGED
from gateway.knowledge.base import KnowledgeBase, key
from gateway.knowledge.documents import PASSAGES_VERSION
from gateway.knowledge.encoder import Encoder
from gateway.knowledge.file import FILE
from gateway.knowledge.generation import Generation
from gateway.knowledge.lexical import LANGUAGE, analyzer
from gateway.knowledge.library import Library
from gateway.knowledge.store import Store
from gateway.types import Document, Matrix, Prediction, Principal, Ranker

DIM = 48
ENCODER = f"word counts {PASSAGES_VERSION}"
CLOSE = 1e-4
"""Between two scores that are the same: sums of other orders."""
OPEN_ROWS, GRAPH_FROM, FEW_ROWS, CHECKPOINT_BATCHES = 8, 24, 12, 16


@contextlib.contextmanager
def small(checkpoints: int = CHECKPOINT_BATCHES) -> Iterator[None]:
    """Segments are sealed after some four documents, merged from then on, and have graphs from a dozen on. The log is
    moved into the main file after so many writes."""
    with (
        mock.patch.object(generation, "OPEN_ROWS", OPEN_ROWS),
        mock.patch.object(merges, "GRAPH_FROM", GRAPH_FROM),
        mock.patch.object(segment, "FEW_ROWS", FEW_ROWS),
        mock.patch.object(committing, "CHECKPOINT_BATCHES", checkpoints),
    ):
        yield


def embed(texts: Sequence[str]) -> Matrix:
    counts = np.zeros((len(texts), DIM), np.float32)
    for row, text in zip(counts, texts, strict=True):
        for word in text.lower().split():
            hashed = zlib.crc32(word.strip(".,?").encode())
            row[hashed % DIM] += 1 + (hashed >> 16) % 7 / 8
        row += 0.05
    return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True), np.float32)


def asked(text: str) -> Prediction:
    return Prediction.alone(np.zeros(1, np.float32), embed([text])[0])


class Desk:
    """One process's view of a folder. `now`: the clock that tells which documents it is the time of."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.store = Store(folder)
        try:
            self.library = Library({}, now=now)
            self.base = KnowledgeBase(self.store, [self.library], Encoder(ENCODER, DIM, embed, self._embed_soon))
            self.base.load()
        except BaseException:
            self.store.close()
            raise

    async def _embed_soon(self, texts: Sequence[str]) -> Matrix:
        return embed(texts)  # at once: what is written first comes first

    async def settle(self) -> None:
        """Until nothing is being merged."""
        while running := [task for task in self.base.merging if not task.done()]:
            await asyncio.gather(*running)

    async def close(self) -> None:
        await self.base.close()
        self.store.close()


def copied(folder: Path, to: Path) -> None:
    """The files as a kill would leave them now. The main file changes only when the log is moved into it: a copy within
    which it did is made again."""
    while True:
        before = (folder / FILE).stat()
        to.mkdir()
        others = [Path(where, name) for where, _, names in os.walk(folder) for name in names]
        # The note first: what it tells of must be in what is copied after it.
        for path in (folder / ACKNOWLEDGED, folder / FILE, folder / f"{FILE}-wal", *others):
            there = to / path.relative_to(folder)
            if not path.name.endswith("-shm") and not there.exists():
                there.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileNotFoundError):  # what is only made from the rest comes and goes
                    shutil.copyfile(path, there)
        after = (folder / FILE).stat()
        if (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size):
            return
        shutil.rmtree(to)


def wrong_answers(
    library: Library, place: tuple[str, str], documents: Sequence[Document], questions: Sequence[str]
) -> list[str]:
    """What searches find that is not as a scan of all `documents` has it: others, fewer, or in another order.

    Asked for all that there are, as a graph may miss what is near. Words are weighed by how many documents have them,
    those included that do not count any more until a merge: where there are any, only what was meant is compared.
    """
    whole = Generation.build(documents, embed, exact_up_to=1 << 30) if documents else Generation(0, ())
    by_id = {one.id: one for one in documents}
    is_whole = all(part.alive is None for part in library.generation(key(*place)).parts)
    wrong = []
    for text in questions:
        for ranker in Ranker:
            evidence = library.search(key(*place), text, asked(text), Principal(), len(documents) + 1, 1, ranker)
            found = [hit.document for hit in evidence.hits]
            said = f"{text!r} by {ranker}:"
            wrong += [f"{said} {one.id} is found and is not stored so" for one in found if by_id.get(one.id) != one]
            if ranker is not Ranker.DENSE and not is_whole:
                continue
            scores = _scores(whole, text, ranker)
            wrong += [f"{said} {one} is not found" for one in sorted(scores.keys() - {one.id for one in found})]
            order = [scores.get(one.id, 0.0) for one in found]
            if any(after > before + CLOSE for before, after in pairwise(order)):
                wrong.append(f"{said} not in the order of a scan")
    return wrong


def _scores(whole: Generation, text: str, ranker: Ranker) -> dict[str, float]:
    """Of all documents that a scan finds."""
    terms = analyzer(LANGUAGE).question(text)
    ranked = hybrid.search(whole, asked(text), terms, Principal(), 1 << 20, time.time(), ranker)
    return {part.segment.documents[number].id: score for part, number, score, _ in ranked}
