"""What runs next and how long everyone waits: the queue, its cost and the batches made of it. No threads, no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Generic

from gateway.model.cost import CostTable, Delay
from gateway.model.fairness import FairQueue, Payload, Waiting
from gateway.types import Forecast

AFTER = 0.001
"""Seconds that an answer still takes once the model's part of it has been handed back: the search, the way out."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`tokens` and `questions` bound a batch, `waiting` the queue."""

    tokens: int = 192
    questions: int = 8
    waiting: int = 2048


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
        self._until: float | None = None  # when the batch that runs is predicted to end

    def cost(self, tokens: int) -> float:
        """Seconds that a question adds to the queue: those of its own pass, or its share of a full batch."""
        alone = self.costs.predict(tokens)
        if self._limits.questions == 1:
            return alone
        return min(alone, self.costs.predict(self._limits.tokens) * tokens / self._limits.tokens)

    def forecast(self, tokens: int, tenant: str, due: float, now: float) -> Forecast:
        """How a question would fare that came now."""
        running, cost = self._left(now), self.cost(tokens)
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
        tokens, soonest = 0, inf
        while len(batch) < self._limits.questions and (one := self.queue.head()):
            if self._is_gone(one.payload):
                self.queue.remove(one)
                continue
            if self._is_late(one, now, is_lone=not batch and len(self.queue) == 1):
                self.queue.remove(one)
                late.append(one)
                continue
            soonest = min(soonest, one.due)
            if batch and not self._fits(tokens + one.tokens, soonest - now):
                break
            self.queue.take(one)
            batch.append(one)
            tokens += one.tokens
        self._until = now + self.costs.predict(tokens) if batch else None
        return Formed(batch, late)

    def change(self, costs: CostTable, limits: Limits) -> None:
        """Another session takes over: what waits costs what it costs there, and nothing runs."""
        self.costs, self._limits, self.delay = costs, limits, Delay()
        self._until = None
        waiting = list(self.queue)
        for one in waiting:
            self.queue.remove(one)
        for one in waiting:
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

    def _fits(self, tokens: int, seconds: float) -> bool:
        """Whether a batch of so many tokens may be, of which one is due in so many seconds."""
        return tokens <= self._limits.tokens and self._service(tokens) <= seconds

    def _service(self, tokens: int) -> float:
        """Seconds from the start of a batch to its answers, hardly ever more."""
        return self.costs.predict(tokens) + self.delay.usual() + AFTER

    def _left(self, now: float) -> float:
        """Seconds until the running batch ends. One that is overdue is expected to take as long again as it is late:
        a session that hangs must not look idle."""
        until = self._until  # read once: a scrape reads without a lock
        return 0.0 if until is None else abs(until - now)
