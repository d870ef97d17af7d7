"""Whose question is next: tenants share the model in proportion to cost, and each one's most urgent goes first.

Between tenants it is fair queueing by a virtual clock (as in WF2Q+). Each tenant's questions stand in a lane of its
own, and a lane has a tag: the service, in predicted seconds, that it has had. The lane with the lowest tag is next, and
its tag grows by the cost of what leaves. A lane that was empty starts at the clock, which is where an equal share would
have got by now: so nobody saves up service by being silent, and the first question of a quiet tenant is next after the
one that runs, however many a noisy tenant has waiting.

Deadlines do not count between tenants: a tenant could take the others' share by asking for short ones. They count
within a tenant, where the earliest goes first; with one tenant, that is the whole order. Only every so many times a
lane sends its oldest question instead: else a stream of short deadlines could pass over a long one for ever.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import Generic, TypeVar

Payload = TypeVar("Payload")

ALIKE = (16, 32, 64)
"""Tokens at which another length begins. Only questions of one length are looked at as company."""
COMPANY = 16
"""Questions that are looked at: twice as many as a batch has by default, as some do not fit or have been left."""
PASSES = 8
"""Of so many questions that leave a lane one is its oldest. A question with n older ones before it in its lane leaves
among the lane's next PASSES * (n + 1)."""
SPARE_LANES = 64
"""Empty lanes that are kept for their tags before they are swept away."""


@dataclass(slots=True, eq=False)
class Waiting(Generic[Payload]):
    """A question in the queue. `due` is an instant in seconds, `cost` predicted seconds, above 0."""

    number: int
    """Unique, and higher than those of all that came before."""
    tenant: str
    due: float
    tokens: int
    cost: float
    payload: Payload


class FairQueue(Generic[Payload]):
    """The order of what waits. Not thread-safe. `cost` is the sum over all that wait, in predicted seconds."""

    def __init__(self) -> None:
        self.cost = 0.0
        self._length = 0
        self._filled = 0  # lanes that are not empty
        self._lanes: dict[str, _Lane[Payload]] = {}
        self._tags: list[_Tag[Payload]] = []  # heap with every lane in it once
        self._tie = itertools.count()
        self._clock = 0.0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Waiting[Payload]]:
        return (one for lane in self._lanes.values() for one in lane)

    def push(self, one: Waiting[Payload]) -> None:
        lane = self._lanes.get(one.tenant)
        if lane is None:
            if len(self._lanes) > 2 * self._length + SPARE_LANES:
                self._sweep()
            lane = self._lanes[one.tenant] = _Lane(one.tenant, self._clock)
            heapq.heappush(self._tags, (lane.tag, False, next(self._tie), lane))
        self._filled += not lane
        lane.add(one)
        self._length += 1
        self.cost += one.cost

    def head(self) -> Waiting[Payload] | None:
        """The next one; it stays. None if nothing waits."""
        while self._tags:
            lane = self._tags[0][-1]
            if lane.owed:
                self._charge(lane)
                continue
            if lane:
                return lane.head()
            heapq.heappop(self._tags)  # the others have caught up with it: it owes them nothing any more
            del self._lanes[lane.tenant]
        return None

    def take(self, one: Waiting[Payload]) -> None:
        """Remove `one`, which is `head()`, because it is served: its tenant is charged for it."""
        lane = self._lanes[one.tenant]
        self._clock = max(self._clock, lane.tag) + one.cost / self._filled
        lane.owed += one.cost
        self._charge(lane)
        lane.served(one)
        self._drop(lane, one)

    def alike(self, one: Waiting[Payload]) -> list[Waiting[Payload]]:
        """What may keep `one`, which was just taken, company in a batch: of about its length, COMPANY at most.

        Its own tenant's first, whose turn it is, the most urgent ones first; then what is next of other tenants, those
        first that have had least. So nobody's share depends on whose questions are alike.
        """
        length = _length(one)
        own = self._lanes.get(one.tenant)
        found = list(islice((each for each in own or () if _length(each) == length), COMPANY))
        lanes = [entry[-1] for entry in self._tags if entry[-1] and entry[-1] is not own]
        heads = [lane.head() for lane in sorted(lanes, key=lambda lane: lane.tag + lane.owed)]
        return [*found, *(each for each in heads if _length(each) == length)][:COMPANY]

    def take_along(self, one: Waiting[Payload]) -> None:
        """Remove `one` because it is served in another one's company: its tenant is charged before its next turn."""
        lane = self._lanes[one.tenant]
        self._clock += one.cost / self._filled
        lane.owed += one.cost
        lane.served(one)
        self._drop(lane, one)

    def remove(self, one: Waiting[Payload]) -> bool:
        """Remove `one`, unserved and free of charge. False if it does not wait."""
        lane = self._lanes.get(one.tenant)
        if lane is None or one not in lane:
            return False
        self._drop(lane, one)
        return True

    def ahead(self, tenant: str, due: float, cost: float) -> float:
        """Seconds of what would be served before a new question, at most.

        That is its own tenant's questions with no later deadline, and for as long as those and itself take, the same
        of every other tenant that has so much waiting.
        """
        lane = self._lanes.get(tenant)
        own = lane.cost_until(due) if lane else 0.0
        others = self._filled - bool(lane)
        return own + min(self.cost - (lane.cost if lane else 0.0), others * (own + cost))

    def _charge(self, lane: _Lane[Payload]) -> None:
        """What the lane, whose tag is the lowest, owes."""
        lane.tag += lane.owed
        lane.owed = 0.0
        heapq.heapreplace(self._tags, (lane.tag, True, next(self._tie), lane))

    def _drop(self, lane: _Lane[Payload], one: Waiting[Payload]) -> None:
        lane.remove(one)
        self._filled -= not lane
        self._length -= 1
        # Sums of floats that come and go drift; an empty queue is where they start anew.
        self.cost = self.cost - one.cost if self._length else 0.0

    def _sweep(self) -> None:
        """Forget empty lanes, and what they have had: names that nobody repeats must not fill the memory."""
        self._lanes = {name: lane for name, lane in self._lanes.items() if lane}
        self._tags = [entry for entry in self._tags if entry[-1]]
        heapq.heapify(self._tags)


def _length(one: Waiting[Payload]) -> int:
    return bisect_left(ALIKE, one.tokens)


_Tag = tuple[float, bool, int, "_Lane[Payload]"]
"""A lane's tag; whether it has been served since it was made, as those that have not go first; a number; the lane."""


class _Lane(Generic[Payload]):
    """One tenant's questions by deadline, then by arrival."""

    def __init__(self, tenant: str, tag: float) -> None:
        self.tenant = tenant
        self.tag = tag
        self.owed = 0.0  # of the service that it has had, what its tag does not say yet
        self.cost = 0.0
        # Three lists in one order: comparing and adding up happen in C. For 1,000 questions that is 6 us at most.
        self._keys: list[tuple[float, float]] = []
        self._costs: list[float] = []
        self._ordered: list[Waiting[Payload]] = []
        self._arrived: OrderedDict[int, Waiting[Payload]] = OrderedDict()
        self._passed = 0  # how many have been served since the oldest one was

    def __len__(self) -> int:
        return len(self._ordered)

    def __iter__(self) -> Iterator[Waiting[Payload]]:
        return iter(self._ordered)

    def __contains__(self, one: Waiting[Payload]) -> bool:
        return one.number in self._arrived

    def add(self, one: Waiting[Payload]) -> None:
        key = (one.due, one.number)
        at = bisect_left(self._keys, key)
        self._keys.insert(at, key)
        self._costs.insert(at, one.cost)
        self._ordered.insert(at, one)
        self._arrived[one.number] = one
        self.cost += one.cost

    def remove(self, one: Waiting[Payload]) -> None:
        at = bisect_left(self._keys, (one.due, one.number))
        del self._keys[at], self._costs[at], self._ordered[at], self._arrived[one.number]
        self.cost = self.cost - one.cost if self._ordered else 0.0

    def head(self) -> Waiting[Payload]:
        return self._oldest() if self._passed >= PASSES - 1 else self._ordered[0]

    def served(self, one: Waiting[Payload]) -> None:
        self._passed = 0 if one is self._oldest() else self._passed + 1

    def cost_until(self, due: float) -> float:
        """Of the questions whose deadline is no later."""
        if not self._keys or self._keys[-1][0] <= due:
            return self.cost
        return sum(self._costs[: bisect_left(self._keys, (due, inf))])

    def _oldest(self) -> Waiting[Payload]:
        return next(iter(self._arrived.values()))
