"""Random questions to a knowledge base that is changed, restarted and killed meanwhile, each against what the oracle
says may be seen."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.knowledge.changes import Change
from loadtest import leak_cases
from loadtest.leak_cases import KINDS, Case
from loadtest.leak_world import DAY, Chance, Oracle, Place
from loadtest.proof import Desk, copied, small

STEP_EVERY = 20
"""Cases."""
DESCRIBED = 50
"""Leaks that are told in words."""
LONGEST_WAIT = 0.008
"""Seconds from the first of some writes to a crash."""
STEPS = {"write": 80, "together": 6, "time": 8, "restart": 3, "crash": 3, "clear": 0.3}
"""With how often each is done. `together`: several writes at once, by one process."""

Batch = tuple[Place, Sequence[Change]]


@dataclass(slots=True)
class Tally:
    cases: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    changes: int = 0
    graphs: int = 0
    """Cases in which a part of the collection was a graph, and so on."""
    masked: int = 0
    several: int = 0
    leaks: int = 0
    described: list[dict[str, Any]] = field(default_factory=list)

    def leaked(self, **described: Any) -> None:
        self.leaks += 1
        if len(self.described) < DESCRIBED:
            self.described.append(described)


class Lost(Exception):
    """The store is not what it should be: no oracle can tell any more what to expect."""


class World:
    """Two processes' views of one folder, and the oracle. All by one seed, but where merges and crashes fall."""

    def __init__(self, folder: Path, seed: int, has_dates: bool) -> None:
        self._root = folder
        self._folders = (folder / f"life-{number}" for number in itertools.count())
        self.oracle = Oracle()
        self.chance = Chance(random.Random(seed), has_dates)  # noqa: S311 - a sample, no secret
        self.tally = Tally()
        self._open(next(self._folders))

    def _open(self, folder: Path) -> None:
        self.folder = folder
        self.desks = [Desk(folder, self._now) for _ in range(2)]

    def _now(self) -> float:
        return self.oracle.now

    async def run(self, cases: int) -> None:
        try:
            await self._write()
            for number in range(cases):
                if number % STEP_EVERY == 0:
                    (step,) = self.chance.random.choices(list(STEPS), list(STEPS.values()))
                    self.tally.steps[step] += 1
                    await getattr(self, f"_{step}")()
                await self._ask(number)
        except Lost as lost:
            self.tally.leaked(case=sum(self.tally.cases.values()), kind="store", wrong=[str(lost)])
        finally:
            await self._close()

    async def _close(self) -> None:
        for desk in self.desks:
            await desk.close()

    async def _ask(self, number: int) -> None:
        await asyncio.sleep(0)  # what was merged is shown
        chance = self.chance.random
        place = self.chance.place()
        desk = chance.choice(self.desks)
        await desk.base.follow()
        (kind,) = chance.choices(list(KINDS), [often for often, _ in KINDS.values()])
        case = Case(desk, self.oracle, self.chance, place, self.chance.principal(place))
        asked, wrong = await leak_cases.tried(case, kind)
        self.tally.cases[kind] += 1
        self._look(case)
        if wrong:
            groups = sorted(case.principal.groups)
            self.tally.leaked(case=number, kind=kind, place=place, groups=groups, asked=asked, wrong=wrong)

    def _look(self, case: Case) -> None:
        generation = case.desk.library.find(case.name)
        parts = generation.parts if generation else ()
        self.tally.graphs += any(not part.segment.index.is_exact for part in parts)
        self.tally.masked += any(part.alive is not None for part in parts)
        self.tally.several += len(parts) > 1

    # -- what happens between cases -----------------------------------------------------------------------------------

    def _batches(self, count: int) -> list[Batch]:
        """One after the other, as the oracle will have it then."""
        ahead = self.oracle.fork()
        made: list[Batch] = []
        for _ in range(count):
            place = self.chance.place()
            changes = self.chance.batch(ahead, place)
            ahead.done(place, changes)
            made.append((place, changes))
        return made

    async def _write(self, count: int = 1) -> None:
        desk, batches = self.chance.random.choice(self.desks), self._batches(count)
        receipts = await asyncio.gather(*(desk.base.write(*one) for one in batches))
        for (place, changes), receipt in zip(batches, receipts, strict=True):
            _, versions = self.oracle.done(place, changes)
            self.tally.changes += len(changes)
            if versions != list(receipt.versions):
                raise Lost(f"a receipt says {receipt.versions}, and {versions} was expected")

    async def _together(self) -> None:
        await self._write(self.chance.random.randint(2, 8))

    async def _time(self) -> None:
        """Documents expire, and others come."""
        self.oracle.now += DAY * self.chance.random.uniform(0, 0.5)

    async def _clear(self) -> None:
        await asyncio.to_thread(self.desks[0].store.clear, float("inf"))

    async def _restart(self) -> None:
        at = self.chance.random.randrange(len(self.desks))
        await self.desks[at].close()
        self.desks[at] = Desk(self.folder, self._now)
        if self.chance.random.random() < 0.5:
            self.desks[at].base.start()

    async def _crash(self) -> None:
        """Some writes begin; the files are as they are at a moment, and opened; whoever wrote is gone."""
        desk, batches = self.chance.random.choice(self.desks), self._batches(6)
        writing = [asyncio.create_task(desk.base.write(*one)) for one in batches]
        await asyncio.sleep(self.chance.random.uniform(0, LONGEST_WAIT))
        acknowledged = sum(task.done() for task in writing)
        left = next(self._folders)
        copied(self.folder, left)
        await asyncio.gather(*writing)
        await self._close()
        shutil.rmtree(self.folder, ignore_errors=True)  # a merge may still be at work there
        self._open(left)
        self._recover(batches, acknowledged)

    def _recover(self, batches: Sequence[Batch], acknowledged: int) -> None:
        """Bring the oracle to where the store is: some whole batches further, those that were acknowledged among
        them."""
        store = self.desks[0].store
        there = [(one.op, (one.tenant, one.collection), one.document_id) for one in store.changes(self.oracle.last)]
        for number, (place, changes) in enumerate(batches):
            lines, _ = self.oracle.fork().done(place, changes)
            if there[: len(lines)] != lines:
                if number < acknowledged:
                    raise Lost(f"{acknowledged} writes were acknowledged, and {number} are there")
                break
            self.oracle.done(place, changes)
            self.tally.changes += len(changes)
            del there[: len(lines)]
        if there:
            raise Lost(f"after a crash the log has {there}, which was not written so")


async def found(cases: int, seed: int, folder: Path, has_dates: bool = True) -> Tally:
    """In an empty folder."""
    with small():
        world = World(folder, seed, has_dates)
        await world.run(cases)
    return world.tally
