"""The callers beside a fault, who should not notice it: questions at a steady rate, each timed from when it was due."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from gateway.client import AsyncClient, CallFailed, Tls
from gateway.types import Answer
from loadtest import questions
from loadtest.chaos.verdicts import Terms, Verdict

RATE, SHORT_RATE = 40.0, 10.0
"""Questions a second: far below what one core can do, also one that others use."""
PATIENCE = 10.0
"""Seconds of each question, the most that a gateway allows: on a slow machine a fault may take some of them."""
TEXTS = questions.read(()).texts
NOTICED = 1.10
"""Times the quiet p99, above which neighbours have noticed something."""
ENOUGH = 300
"""Questions in each of two windows, below which their p99 are not compared."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: when it was due, the seconds from then to its end, and gRPC's code with the gateway's reason."""

    due: float
    seconds: float
    code: str
    answer: Answer | None = None

    @property
    def is_ok(self) -> bool:
        return self.answer is not None


@dataclass(slots=True)
class Neighbours:
    """What has come of all that was asked. A window is the questions that were due from one moment to another."""

    asked: list[Asked] = field(default_factory=list)

    @property
    def codes(self) -> Counter[str]:
        return Counter(one.code for one in self.asked)

    @property
    def failed(self) -> int:
        return sum(not one.is_ok for one in self.asked)

    def within(self, since: float, until: float) -> list[Asked]:
        return [one for one in self.asked if since <= one.due < until]

    def said(self) -> str:
        """In words."""
        p99 = 1e3 * percentile(self.asked, 99)
        others = "".join(f", {count} {code}" for code, count in self.codes.items() if code != "OK")
        return f"neighbours: {self.codes['OK']} OK{others}, p99 {p99:.0f} ms"


def percentile(asked: Sequence[Asked], percent: float) -> float:
    """In seconds, of what was answered; not a number where nothing was."""
    seconds = [one.seconds for one in asked if one.is_ok]
    return float(np.percentile(seconds, percent)) if seconds else float("nan")


@asynccontextmanager
async def neighbours(
    terms: Terms, target: str, rate: float = 0.0, *, clients: int = 2, tls: Tls | None = None
) -> AsyncIterator[Neighbours]:
    """So many a second, or as many as this form of a test asks, until the end of this context; none is in flight after
    it."""
    found = Neighbours()
    connected = [AsyncClient(target, timeout=PATIENCE, tls=tls) for _ in range(clients)]
    chance = random.Random(terms.seed)  # noqa: S311 - a sample, no secret
    asking = asyncio.create_task(_ask(found, connected, rate or terms.of(SHORT_RATE, RATE), chance))
    try:
        yield found
    finally:
        asking.cancel()
        await asyncio.wait({asking})
        for client in connected:
            await client.close()


async def _ask(found: Neighbours, clients: Sequence[AsyncClient], rate: float, chance: random.Random) -> None:
    began = time.perf_counter()
    running: set[asyncio.Task[None]] = set()
    try:
        for number in itertools.count():
            due = began + number / rate
            # One that is late already is asked at once: a stall of ours, too, is in what it took.
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            running.add(task := asyncio.create_task(one(found, clients[number % len(clients)], due, chance)))
            task.add_done_callback(running.discard)
    finally:
        if running:
            await asyncio.wait(running)


async def one(found: Neighbours, client: AsyncClient, due: float, chance: random.Random) -> None:
    answer, code = None, "OK"
    try:
        answer = await client.answer(chance.choice(TEXTS))
    except CallFailed as error:
        code = f"{error.code} {error.reason}".strip()
    found.asked.append(Asked(due, time.perf_counter() - due, code, answer))


def nobody_noticed(terms: Terms, verdict: Verdict, found: Neighbours, since: float, until: float) -> None:
    """All were answered; and their p99 while the fault lasted is at most NOTICED times that before, where times are
    judged."""
    verdict.saw(found.said())
    verdict.check(found.failed == 0, f"neighbours were refused: {dict(found.codes)}")
    before, meanwhile = found.within(0.0, since), found.within(since, until)
    if min(len(before), len(meanwhile)) < ENOUGH:
        verdict.unjudged.append(f"neighbours' p99: fewer than {ENOUGH} questions in one of the windows")
        return
    quiet, loud = percentile(before, 99), percentile(meanwhile, 99)
    verdict.saw(f"their p99 {1e3 * quiet:.1f} ms before, {1e3 * loud:.1f} ms meanwhile")
    verdict.check_time(terms, loud <= NOTICED * quiet, f"neighbours' p99 is {loud / quiet:.2f} times that before")
