"""What runs next and how long everyone waits: the queue, its cost and the batches made of it. No threads, no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Generic

from gateway.model.cost import WEIGHT, CostTable, Delay
from gateway.model.fairness import FairQueue, Payload, Waiting
from gateway.types import Forecast

AFTER = 0.001
"""Seconds that an answer still takes once the model's part of it has been handed back: the search, the way out."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`tokens` and `questions` bound a batch, `waiting` the queue. `is_alike`: only questions of about one length share
    a batch, as each then has a row that is as long as the longest."""

    tokens: int = 192
    questions: int = 8
    waiting: int = 2048
    is_alike: bool = False


@dataclass(frozen=True, slots=True)
class Formed(Generic[Payload]):
    """What runs now, and what was dropped because it could not be in time any more."""

    batch: list[Waiting[Payload]]
    late: list[Waiting[Payload]]


class Schedule(Generic[Payload]):
    """The queue before one session, which runs one batch at a time. Not thread-safe; instants are of one clock."""

    def __init__(
        self, costs: CostTable, limits: Limits, is_gone: Callable[[Payload], bool] = lambda payload: False
    ) -> None:
        """`is_gone` tells of a question that waits whether its caller has left."""
        self.queue: FairQueue[Payload] = FairQueue()
        self.costs = costs
        self.delay = Delay()  # from when a batch is predicted to end to when its outcomes are handed back
        self._limits = limits
        self._is_gone = is_gone
        self._saving = 1.0  # what batches take of late, of what their questions would take one by one
        self._until: float | None = None  # when the batch that runs is predicted to end

    def cost(self, tokens: int) -> float:
        """Seconds that a question adds to the queue: its share of a full batch, or where only like ones meet, those of
        its own pass less what their company saves these days."""
        alone = self.costs.predict(tokens)
        if self._limits.questions == 1:
            return alone
        if self._limits.is_alike:
            return alone * self._saving
        return min(alone, self.costs.predict(self._limits.tokens) * tokens / self._limits.tokens)

    def forecast(self, tokens: int, tenant: str, due: float, now: float) -> Forecast:
        """How a question would fare that came now."""
        running, cost = self._left(now), self.cost(tokens)
        if running or len(self.queue):  # an idle session is tried, or nothing would correct what it is said to take
            # Whatever makes the outcomes of batches late makes questions late on their way in as well: the same loop.
            running += 2 * self.delay.mean
        return Forecast(
            wait=running + self.queue.ahead(tenant, due, cost),
            backlog=running + self.queue.ahead(tenant, inf, cost),
            service=self._service(tokens),
            cost=cost,
        )

    def queued(self, now: float) -> float:
        """Seconds of work that wait or run."""
        return self._left(now) + self.queue.cost

    def form(self, now: float) -> Formed[Payload]:
        """Take the next batch from the queue; it runs from now on."""
        batch: list[Waiting[Payload]] = []
        late: list[Waiting[Payload]] = []
        while len(batch) < self._limits.questions and (one := self.queue.head()):
            if self._is_gone(one.payload):
                self.queue.remove(one)
                continue
            if self._is_late(one, now, is_lone=not batch and len(self.queue) == 1):
                self.queue.remove(one)
                late.append(one)
                continue
            if batch and not self._fits([*batch, one], now):
                break
            self.queue.take(one)
            batch.append(one)
            if self._limits.is_alike:
                self._join(batch, now)
                break
        self._begin(batch, now)
        return Formed(batch, late)

    def _join(self, batch: list[Waiting[Payload]], now: float) -> None:
        """Let questions of about the first one's length go with it."""
        for one in self.queue.alike(batch[0]):
            if len(batch) == self._limits.questions:
                return
            if self._is_gone(one.payload) or not self._pays(batch, one) or not self._fits([*batch, one], now):
                continue  # its own turn tells what becomes of it
            self.queue.take_along(one)
            batch.append(one)

    def _pays(self, batch: list[Waiting[Payload]], one: Waiting[Payload]) -> bool:
        """Whether it takes less in this company than in a pass of its own. Every pass reads all weights, which on a CPU
        is as much work as a good many tokens; so much padding is cheaper than another pass."""
        apart = self.costs.predict(self.tokens(batch)) + self.costs.predict(one.tokens)
        return self.costs.predict(self.tokens([*batch, one])) < apart

    def _begin(self, batch: list[Waiting[Payload]], now: float) -> None:
        if not batch:
            self._until = None
            return
        seconds = self.costs.predict(self.tokens(batch))
        self._until = now + seconds
        alone = sum(self.costs.predict(one.tokens) for one in batch)
        self._saving += WEIGHT * (seconds / alone - self._saving)

    def tokens(self, batch: Sequence[Waiting[Payload]]) -> int:
        """Of a batch as it is computed, padding included."""
        if self._limits.is_alike:
            return len(batch) * max(one.tokens for one in batch)
        return sum(one.tokens for one in batch)

    def change(self, costs: CostTable, limits: Limits, again: Sequence[Waiting[Payload]] = ()) -> None:
        """Another session takes over: what waits costs what it costs there, and nothing runs. `again` were taken, and
        wait once more, in the place that they had."""
        self.costs, self._limits, self.delay, self._saving = costs, limits, Delay(), 1.0
        self._until = None
        waiting = list(self.queue)
        for one in waiting:
            self.queue.remove(one)
        for one in sorted([*waiting, *again], key=lambda one: one.number):
            self.push(one)

    def push(self, one: Waiting[Payload]) -> None:
        """Let it wait, for the first time or once more."""
        one.cost = self.cost(one.tokens)
        self.queue.push(one)

    def ended(self) -> None:
        """The batch that ran has ended."""
        self._until = None

    def _is_late(self, one: Waiting[Payload], now: float, is_lone: bool) -> bool:
        """Whether computing it would be in vain. While nothing else is there to do it is tried all the same, until its
        deadline: a table that predicts too much is corrected only by passes."""
        return one.due <= now + (0.0 if is_lone else self._service(one.tokens))

    def _fits(self, batch: Sequence[Waiting[Payload]], now: float) -> bool:
        """Whether these may be a batch: not too large, and each of them in time."""
        tokens = self.tokens(batch)
        return tokens <= self._limits.tokens and now + self._service(tokens) <= min(one.due for one in batch)

    def _service(self, tokens: int) -> float:
        """Seconds from the start of a batch to its answers, hardly ever more."""
        return self.costs.predict(tokens) + self.delay.usual() + AFTER

    def _left(self, now: float) -> float:
        """Seconds until the running batch ends. One that is overdue is expected to take as long again as it is late:
        a session that hangs must not look idle."""
        until = self._until  # read once: a scrape reads without a lock
        return 0.0 if until is None else abs(until - now)
