"""Answers kept by the exact question: of one bundle, one state of the knowledge, one tenant with its rights.

Nothing goes out of date in here: a key holds the knowledge version and since when its documents have been the ones that
are in time, and a bundle has a cache of its own. Askers of a
question that is being answered wait for that answer; where it is not for them too, each asks for itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from gateway.deadline import Clock, Deadline
from gateway.errors import DeadlineExceeded
from gateway.types import Answer, Question


@dataclass(frozen=True, slots=True)
class Key:
    """All that an answer depends on, beside the bundle. `since`: when a document of that version last began or ceased
    to count, as `Library.since`; `serial`: how often the collection was shown anew, as one version may be when another
    process's documents are embedded later; `is_stale`: of the certificate, whose thresholds are then stricter."""

    question: Question
    knowledge_version: int
    since: float = 0.0
    serial: int = 0
    is_stale: bool = False


class AnswerCache:
    """At most `entries` answers; the one that was not asked for longest goes first. All methods on the event loop."""

    def __init__(self, entries: int, clock: Clock = time.monotonic) -> None:
        self._entries = entries
        self._clock = clock
        self._kept: OrderedDict[Key, Answer] = OrderedDict()
        self._flights: dict[Key, asyncio.Future[Answer | None]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    async def answer(self, key: Key, deadline: Deadline, compute: Callable[[], Awaitable[Answer]]) -> Answer:
        """The kept answer, or that of whoever is at it, or `compute`'s, whose errors are raised to its caller alone.

        Raises DeadlineExceeded where that passes while another's answer is waited for.
        """
        started = self._clock()
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return _again(kept, self._clock() - started)
        if not key.question.may_search:  # in a brown-out: what comes of it is no answer for the others
            return await compute()
        flight = self._flights.get(key)
        if flight is None:
            return await self._lead(key, compute)
        shared = await _waited_for(flight, deadline)
        return await compute() if shared is None else _again(shared, self._clock() - started)

    async def _lead(self, key: Key, compute: Callable[[], Awaitable[Answer]]) -> Answer:
        flight: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._flights[key] = flight
        lasting: Answer | None = None
        try:
            answer = await compute()
            if not answer.is_degraded and answer.knowledge_version == key.knowledge_version:
                lasting = answer
                self._keep(key, answer)
            return answer
        finally:
            del self._flights[key]
            flight.set_result(lasting)  # None: this caller's alone, or none at all

    def _keep(self, key: Key, answer: Answer) -> None:
        self._kept[key] = answer
        while len(self._kept) > self._entries:
            self._kept.popitem(last=False)


async def _waited_for(flight: asyncio.Future[Answer | None], deadline: Deadline) -> Answer | None:
    """Shielded: a follower that gives up must not take the others' answer with it."""
    try:
        async with asyncio.timeout(deadline.remaining()):
            return await asyncio.shield(flight)
    except TimeoutError:
        raise DeadlineExceeded("the deadline passed while the same question was being answered") from None


def _again(answer: Answer, seconds: float) -> Answer:
    """As it is given another time: no other stage was entered for it, and it shared no batch."""
    return replace(answer, timings={"cache": seconds}, batch_size=0)
