"""The whole of MedQuAD through the knowledge base, and what 300 questions of laypeople find in it.

The questions were frozen before anything was tuned; nothing is tuned on them.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
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
from gateway.knowledge.library import Library
from gateway.knowledge.reading.drafts import Bad
from gateway.knowledge.reading.files import Reading
from gateway.knowledge.store import Store
from gateway.model import bundle as bundles
from gateway.model.engine import Engine
from gateway.model.packing import Tokenization
from gateway.types import Document, Prediction, Principal, Ranker

FILE = "medquad.jsonl.gz"
QUESTIONS = Path(__file__).with_name("medquad.jsonl")
PLACE = ("tenant", "medquad")
DEPTH, CITATIONS = 10, 3
"""Of a search."""
WARM = 30
"""Searches before the timed ones."""
RAW_EVERY = 8
"""Batches, of which the texts are embedded once more, by the session alone, to compare."""
PATIENCE = 60.0
"""Seconds for a question to be embedded."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and the documents that are right."""

    text: str
    right: frozenset[str]


@dataclass(frozen=True, slots=True)
class Data:
    """`documents` as the import reads them; `left_out` are records that it does not take. `several`: questions whose id
    in the data is that of several records, of which each is then the right one."""

    documents: Sequence[Document]
    left_out: int
    asked: Sequence[Asked]
    several: int


Record = dict[str, Any]


def read(folder: Path, most: int | None = None) -> Data:
    """All documents, or the first so many and those that are asked for. Raises OSError, ValueError."""
    path = folder / FILE
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        records: list[Record] = [json.loads(line) for line in lines]
    by_line: dict[int, Document] = {}
    left_out = 0
    for one in Reading([path]):
        if isinstance(one, Bad):
            left_out += 1
        else:
            by_line[one.where.line] = one.document
    questions = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    found = _Right(records, by_line)
    asked = [Asked(one["question"], found.of(one["id"])) for one in questions]
    wanted = {name for one in questions for name in found.own(one["id"])}
    documents = [
        one for number, one in enumerate(by_line.values()) if most is None or number < most or one.id in wanted
    ]
    several = sum(len(found.records(one["id"])) > 1 for one in questions)
    return Data(documents, left_out, asked, several)


class _Right:
    """Which documents answer a question: its own, and those that ask the same."""

    def __init__(self, records: Sequence[Record], by_line: dict[int, Document]) -> None:
        self._by_id: dict[str, list[Record]] = {}
        self._alike: dict[object, set[str]] = {}
        self._own: dict[str, set[str]] = {}
        for line, record in enumerate(records, 1):
            self._by_id.setdefault(record["id"], []).append(record)
            if line in by_line:
                name = by_line[line].id
                self._own.setdefault(record["id"], set()).add(name)
                for what in _says(record):
                    self._alike.setdefault(what, set()).add(name)

    def records(self, record_id: str) -> Sequence[Record]:
        return self._by_id.get(record_id, [])

    def own(self, record_id: str) -> set[str]:
        return self._own.get(record_id, set())

    def of(self, record_id: str) -> frozenset[str]:
        said = {what for record in self.records(record_id) for what in _says(record)}
        return frozenset(self.own(record_id).union(*(self._alike.get(what, set()) for what in said)))


def _says(record: Record) -> Iterator[object]:
    """Records that have any of these are about the same."""
    if focus := str(record.get("focus") or "").strip().lower():
        yield focus, record.get("qtype")
    if plain := " ".join(re.findall(r"[^\W_]+", record["question"].lower())):
        yield plain


@dataclass(frozen=True, slots=True)
class Desk:
    """A gateway's knowledge base by its own engine."""

    engine: Engine
    store: Store
    library: Library
    base: KnowledgeBase

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


async def measured(
    data: Data, bundle: Path, folder: Path, threads: int, tell: Callable[[int, int], None] = lambda done, of: None
) -> dict[str, Any]:
    """`tell` hears of how many documents are written, and of how many. Raises errors.GatewayError."""
    desk = opened(bundle, folder, threads)
    try:
        desk.engine.start()
        found = {"bundle": desk.engine.bundle.id, "precision": desk.engine.precision, "threads": threads}
        found |= await _written(desk, data.documents, tell)
        desk.base.start()
        await desk.settle()
        documents, stored = desk.library.generation(key(*PLACE)).counts()
        found |= {"documents": documents, "passages": stored, "left_out": data.left_out}
        found |= {"segments": len(desk.library.generation(key(*PLACE)).parts)}
        found |= {"questions": len(data.asked), "of_several_records": data.several}
        found |= await _asked(desk, data.asked)
    finally:
        await desk.close()
    return found | {"bytes": _bytes(folder)}


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# -- ingest -----------------------------------------------------------------------------------------------------------


async def _written(desk: Desk, documents: Sequence[Document], tell: Callable[[int, int], None]) -> dict[str, Any]:
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


async def _asked(desk: Desk, asked: Sequence[Asked]) -> dict[str, Any]:
    predictions = [await desk.engine.predict(one.text, Deadline.after(PATIENCE)) for one in asked]
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
