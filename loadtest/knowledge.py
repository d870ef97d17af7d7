"""The stored collections by themselves, without a server: how soon a write is on disk and seen, what a kill leaves, how
long a start and a search take, what the index misses and how much memory it needs. See `knowledge_made`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateway.knowledge.base import key
from gateway.knowledge.changes import Put
from gateway.knowledge.probe import TOP, exact
from gateway.types import Principal
from loadtest import knowledge_ends
from loadtest.knowledge_made import IN_DOCUMENT, PLACE, Desk, document, question

LIMIT, CITATIONS = 10, 3
"""Of a search."""
QUERIES = 200
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
    tenants: int = 50


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
    one = folder / "one"
    found["start"] = knowledge_ends.started(one)
    knowledge_ends.killed("replace", one, 10**7, knowledge_ends.REPLACED)
    found["start_after_kill"] = knowledge_ends.started(one)
    return found | knowledge_ends.kills(plan.kills)


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
