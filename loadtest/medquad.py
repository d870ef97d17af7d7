"""The whole of MedQuAD through the knowledge base: how fast it is taken in, and what questions find in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateway import assembly
from gateway.cli.importing import CHARACTERS, TOGETHER
from gateway.config import Config, Device, ModelSection
from gateway.deadline import Deadline
from gateway.knowledge.base import KnowledgeBase, key
from gateway.knowledge.changes import Create, Put
from gateway.knowledge.documents import passages
from gateway.knowledge.generation import Generation
from gateway.knowledge.library import Library
from gateway.knowledge.store import Store
from gateway.model import bundle as bundles
from gateway.model.engine import Engine
from gateway.model.packing import Tokenization
from gateway.types import Document, Prediction, Principal, Ranker
from loadtest import medquad_fidelity as fidelity
from loadtest.medquad_data import Asked, Data

PLACE = ("tenant", "medquad")
DEPTH, CITATIONS = 10, 3
"""Of a search."""
WARM = 30
"""Searches before the timed ones."""
RAW_EVERY = 8
"""Batches, of which the texts are embedded once more, by the session alone, to compare."""
PATIENCE = 60.0
"""Seconds for a question to be embedded."""


Tell = Callable[[int, int], None]
"""Hears of how many documents are written, and of how many."""


@dataclass(frozen=True, slots=True)
class Desk:
    """A gateway's knowledge base by its own engine."""

    engine: Engine
    store: Store
    library: Library
    base: KnowledgeBase

    @property
    def generation(self) -> Generation:
        """Of PLACE."""
        return self.library.generation(key(*PLACE))

    async def settle(self) -> None:
        while running := [task for task in self.base.merging if not task.done()]:
            await asyncio.gather(*running)

    async def close(self) -> None:
        await self.base.close()
        await self.engine.stop()
        self.store.close()


def opened(bundle: Path, folder: Path, threads: int) -> Desk:
    """Raises errors.GatewayError."""
    model = ModelSection(bundle=bundle, device=Device.CPU, threads=threads)
    engine = assembly.load_engine(Config(model=model))
    store, library = Store(folder), Library({})
    try:
        base = assembly.load_base(engine, store, library, None)
    except BaseException:
        store.close()
        raise
    return Desk(engine, store, library, base)


@asynccontextmanager
async def filled(
    documents: Sequence[Document], bundle: Path, folder: Path, threads: int, tell: Tell
) -> AsyncIterator[tuple[Desk, dict[str, Any]]]:
    """A desk that has all of them in PLACE, and how they were taken in. Raises errors.GatewayError."""
    desk = opened(bundle, folder, threads)
    try:
        desk.engine.start()
        found = {"bundle": desk.engine.bundle.id, "precision": desk.engine.precision, "threads": threads}
        found |= await _written(desk, documents, tell)
        desk.base.start()
        await desk.settle()
        generation = desk.generation
        stored, passages = generation.counts()
        yield desk, found | {"documents": stored, "passages": passages, "segments": len(generation.parts)}
    finally:
        await desk.close()


async def measured(
    data: Data, bundle: Path, folder: Path, threads: int, tell: Tell = lambda done, of: None
) -> dict[str, Any]:
    """Raises errors.GatewayError."""
    async with filled(data.documents, bundle, folder, threads, tell) as (desk, found):
        found |= {"left_out": data.left_out, "questions": len(data.asked), "of_several_records": data.several}
        predictions = await predicted(desk, data.asked)
        found |= _asked(desk, data.asked, predictions)
        texts = [one.text for one in data.asked]
        found |= {"fidelity": fidelity.measured(desk.generation, texts, predictions, DEPTH)}
    return found | {"bytes": _bytes(folder)}


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# -- ingest -----------------------------------------------------------------------------------------------------------


async def _written(desk: Desk, documents: Sequence[Document], tell: Tell) -> dict[str, Any]:
    """What is not there yet; of some of it, how long it takes beside the session alone on the same texts."""
    there = {one.document.id: one.document for one in desk.store.documents(*PLACE)}
    new = [one for one in documents if there.get(one.id) != one]
    await desk.base.write(PLACE, [Create()])
    tokenization = Tokenization(desk.engine.bundle.path(bundles.TOKENIZER), desk.engine.bundle.manifest.max_tokens)
    seconds, embedded, done = 0.0, 0, 0
    tokens, written, alone = 0, 0.0, 0.0
    for number, some in enumerate(_batches(new)):
        texts = [one.plain for each in some for one in passages(each)]
        embedded += len(texts)
        started = time.perf_counter()
        await desk.base.write(PLACE, [Put(one) for one in some])
        taken = time.perf_counter() - started
        seconds += taken
        if number % RAW_EVERY == 0:
            texts += [one.title for one in some]
            tokens += sum(len(one) for one in tokenization.encode_all(texts))
            written += taken
            started = time.perf_counter()
            desk.engine.embed(texts)
            alone += time.perf_counter() - started
        tell(done := done + len(some), len(new))
    return {
        "written": len(new),
        "ingest_seconds": round(seconds, 2),
        "ingest_passages": embedded,
        "ingest_passages_per_second": _rate(embedded, seconds),
        "ingest_tokens_per_second": _rate(tokens, written),
        "session_tokens_per_second": _rate(tokens, alone),
        "ingest_to_session": round(alone / written, 3) if written else None,
    }


def _batches(documents: Sequence[Document]) -> Iterator[list[Document]]:
    """As an import makes them."""
    some: list[Document] = []
    size = 0
    for one in documents:
        if some and (len(some) == TOGETHER or size + len(one.text) > CHARACTERS):
            yield some
            some, size = [], 0
        some.append(one)
        size += len(one.text)
    if some:
        yield some


def _rate(count: int, seconds: float) -> float | None:
    return round(count / seconds, 1) if seconds else None


# -- questions --------------------------------------------------------------------------------------------------------


async def predicted(desk: Desk, asked: Sequence[Asked]) -> list[Prediction]:
    """Of each question, one after another: each is a pass of its own, as a search gets it."""
    return [await desk.engine.predict(one.text, Deadline.after(PATIENCE)) for one in asked]


def _asked(desk: Desk, asked: Sequence[Asked], predictions: Sequence[Prediction]) -> dict[str, Any]:
    for one, prediction in list(zip(asked, predictions, strict=True))[:WARM]:
        for ranker in Ranker:
            _found(desk, one.text, prediction, ranker)
    ranks: dict[Ranker, list[int]] = {ranker: [] for ranker in Ranker}
    taken: dict[Ranker, list[float]] = {ranker: [] for ranker in Ranker}
    for one, prediction in zip(asked, predictions, strict=True):
        for ranker in Ranker:
            started = time.perf_counter()
            found = _found(desk, one.text, prediction, ranker)
            taken[ranker].append(time.perf_counter() - started)
            ranks[ranker].append(rank(found, one.right))
    rankers = {ranker.value: scored(ranks[ranker]) | _percentiles(taken[ranker]) for ranker in Ranker}
    lead = {
        name: round(100 * (rankers["hybrid"][name] - max(rankers[one][name] for one in ("dense", "lexical"))), 2)
        for name in ("first", "among_10", "mrr")
    }
    return {"rankers": rankers, "hybrid_lead_points": lead}


def _found(desk: Desk, text: str, prediction: Prediction, ranker: Ranker) -> list[str]:
    evidence = desk.library.search(key(*PLACE), text, prediction, Principal(), DEPTH, CITATIONS, ranker)
    return [hit.document.id for hit in evidence.hits]


def rank(found: Sequence[str], right: frozenset[str]) -> int:
    """Of the first right one, from 1; 0 if none is."""
    return next((at for at, one in enumerate(found, 1) if one in right), 0)


def scored(ranks: Sequence[int]) -> dict[str, float]:
    """Shares of the questions, and the mean reciprocal rank."""
    return {
        "first": round(sum(one == 1 for one in ranks) / len(ranks), 4),
        "among_10": round(sum(one > 0 for one in ranks) / len(ranks), 4),
        "mrr": round(sum(1 / one for one in ranks if one) / len(ranks), 4),
    }


def _percentiles(taken: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}_ms": round(1e3 * float(np.percentile(taken, percent)), 3) for percent in (50, 99)}
