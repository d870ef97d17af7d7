"""An overload on a clock that only the simulation moves: seeded arrivals, the real admission, the real schedule.

One session runs one batch at a time, as the dispatcher thread does; callers leave at their deadlines.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from gateway.deadline import Deadline
from gateway.errors import DeadlineUnmeetable, Overloaded, QuotaExceeded, Shed
from gateway.model.cost import CostTable
from gateway.model.fairness import Waiting
from gateway.model.schedule import Limits, Schedule
from gateway.rpc.admission import Admission, Caller, Terms
from gateway.types import Criticality, Forecast, Principal

TABLE = {4: 0.0006, 8: 0.0007, 16: 0.001, 32: 0.0018, 64: 0.0034, 128: 0.007}
"""Seconds by tokens, as a small model takes them on one core."""
CHARACTERS = 4
"""Of a token."""


@dataclass(frozen=True)
class Load:
    """Open loop: a Poisson stream of questions of one kind. `rate` is in multiples of the session's capacity."""

    name: str
    rate: float
    timeout: float = 0.2
    tenant: str = "default"
    criticality: Criticality = Criticality.CRITICAL
    start: float = 0.0
    stop: float = 20.0
    tokens: tuple[int, int] = (6, 24)


@dataclass(eq=False)
class Asked:
    """One question and what became of it; `latency` counts from its arrival."""

    load: Load
    at: float
    tokens: int
    outcome: str = "?"
    latency: float = 0.0
    may_search: bool = True
    seat: ExitStack = field(default_factory=ExitStack)


class Simulation:
    """`noise`: sigma of the lognormal factor between measured and real times; `factor`: its mean.

    `stalls`: (instant, so many seconds that the batch of then takes longer).
    """

    def __init__(
        self,
        loads: Sequence[Load],
        terms: Terms,
        seed: int = 1,
        limits: Limits = Limits(questions=1),  # noqa: B008 - frozen
        noise: float = 0.2,
        stalls: Sequence[tuple[float, float]] = (),
        factor: float = 1.0,
    ) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.real = CostTable(TABLE)
        self.schedule: Schedule[Asked] = Schedule(CostTable(TABLE), limits)
        self.admission = Admission(terms, self._forecast, lambda: self.now, self.random.random)
        self.asked: list[Asked] = []
        self.tokens = self.wasted = 0
        self.highest_cost = 0.0
        self._noise = noise
        self._factor = factor
        self._stalls = list(stalls)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._running: list[Waiting[Asked]] = []
        for load in loads:
            self._plan(load)

    def run(self) -> Simulation:
        """Until the last event."""
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()
        assert self.admission.in_flight == 0
        assert self.schedule.queue.cost == 0
        return self

    def _plan(self, load: Load) -> None:
        cost = sum(self.real.predict(tokens) for tokens in range(*load.tokens)) / (load.tokens[1] - load.tokens[0])
        at = load.start
        while (at := at + self.random.expovariate(load.rate / cost)) < load.stop:
            self._at(at, partial(self._arrive, Asked(load, at, self.random.randrange(*load.tokens))))

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), event))

    def _forecast(self, characters: int, tenant: str, deadline: Deadline) -> Forecast:
        return self.schedule.forecast(characters // CHARACTERS, tenant, deadline.at, self.now)

    def _arrive(self, asked: Asked) -> None:
        load = asked.load
        self.asked.append(asked)
        caller = Caller(Principal(load.tenant), load.criticality)
        deadline = Deadline(asked.at + load.timeout, lambda: self.now)
        try:
            with ExitStack() as seat:
                seat.enter_context(self.admission.permit(load.tenant))
                ticket = seat.enter_context(self.admission.admit(caller, asked.tokens * CHARACTERS, deadline))
                asked.seat = seat.pop_all()
        except QuotaExceeded:
            asked.outcome = "quota"
        except DeadlineUnmeetable:
            asked.outcome = "budget"
        except Shed:
            asked.outcome = "shed"
        except Overloaded:
            asked.outcome = "full"
        else:
            asked.may_search = ticket.may_search
            self._queue(asked, deadline)

    def _queue(self, asked: Asked, deadline: Deadline) -> None:
        cost = self.schedule.cost(asked.tokens)
        one = Waiting(next(self._numbers), asked.load.tenant, deadline.at, asked.tokens, cost, asked)
        self.schedule.queue.push(one)
        self.highest_cost = max(self.highest_cost, self.schedule.queue.cost)
        self._at(deadline.at, lambda: self._expire(one))
        if not self._running:
            self._start()

    def _expire(self, one: Waiting[Asked]) -> None:
        if one.payload.outcome == "?":
            self.schedule.queue.remove(one)
            self._end(one.payload, "expired")

    def _start(self) -> None:
        formed = self.schedule.form(self.now)
        for one in formed.late:
            self._end(one.payload, "dropped")
        self._running = formed.batch
        if formed.batch:
            assert all(one.due > self.now for one in formed.batch), "an expired question is computed"
            tokens = sum(one.tokens for one in formed.batch)
            seconds = self.real.predict(tokens) * self._factor * self.random.lognormvariate(0.0, self._noise)
            if self._stalls and self._stalls[0][0] <= self.now:
                seconds += self._stalls.pop(0)[1]
            due = self.now + self.schedule.costs.predict(tokens)
            self._at(self.now + seconds, partial(self._finish, tokens, self.now, due))

    def _finish(self, tokens: int, started: float, due: float) -> None:
        self.schedule.ended()
        self.schedule.costs.observe(tokens, self.now - started)
        self.schedule.delay.observe(self.now - due)
        self.tokens += tokens
        for one in self._running:
            if one.payload.outcome == "?":
                self._end(one.payload, "good")
            else:
                self.wasted += one.tokens
        self._start()

    def _end(self, asked: Asked, outcome: str) -> None:
        asked.outcome = outcome
        asked.latency = self.now - asked.at
        asked.seat.close()

    # -- what came of it ----------------------------------------------------------------------------------------------

    def of(self, name: str = "", start: float = 0.0, stop: float = 1e9) -> list[Asked]:
        """The questions of a load, or of all, that came in that time."""
        return [one for one in self.asked if start <= one.at < stop and name in ("", one.load.name)]

    def goodput(self, name: str = "", start: float = 0.0, stop: float = 20.0) -> float:
        """Of the capacity: seconds of service of good answers, for each second."""
        good = [one for one in self.of(name, start, stop) if one.outcome == "good"]
        return sum(self.real.predict(one.tokens) for one in good) / (stop - start)

    def share_good(self, name: str = "", start: float = 0.0, stop: float = 1e9) -> float:
        found = self.of(name, start, stop)
        return sum(one.outcome == "good" for one in found) / len(found)

    def percentile(self, share: float, name: str = "", start: float = 0.0, stop: float = 1e9) -> float:
        """Latency of accepted questions, in seconds."""
        found = sorted(one.latency for one in self.of(name, start, stop) if one.outcome == "good")
        return found[min(len(found) - 1, int(share * len(found)))]

    def outcomes(self, name: str = "") -> dict[str, int]:
        counts: dict[str, int] = {}
        for one in self.of(name):
            counts[one.outcome] = counts.get(one.outcome, 0) + 1
        return counts
