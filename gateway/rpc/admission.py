"""Who gets in: room for a call, then each of its questions by quota, by deadline, and by how much it matters.

A permit is room for a whole call, so that a refused call can be tried again whole. The questions in it are admitted one
by one, before any work is done for them, from a forecast of how each would fare. Everything is O(1) in what waits, but
for the forecast of a question that is more urgent than its tenant's others: that adds up their costs.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType

from gateway.config import Config
from gateway.deadline import Clock, Deadline
from gateway.errors import DeadlineUnmeetable, Draining, Overloaded, QuotaExceeded, Shed
from gateway.rpc.quota import Quota, Rate
from gateway.rpc.shedding import Shedding, Waits
from gateway.rpc.tenants import Tenant, Tenants
from gateway.types import Criticality, Forecast, Principal

Forecaster = Callable[[int, str, Deadline], Forecast]
"""How a question of so many characters, of that tenant, would fare that came now."""

OPTIONAL = frozenset({Criticality.SHEDDABLE, Criticality.SHEDDABLE_PLUS})
"""Questions that do without a search in a brown-out."""


@dataclass(frozen=True, slots=True)
class Terms:
    """`permits` bound the questions in flight; `share` of them is one tenant's while others ask. `rate` is each
    tenant's, None: as many as it likes, and `rates` are those of some tenants instead. `waits` None: nobody is shed for
    a wait that ends in time. Above the level `brownout`, questions that do not matter much are answered without a
    search."""

    permits: int
    share: float = 0.5
    rate: Rate | None = None
    waits: Waits | None = Waits()  # noqa: RUF009 - frozen
    brownout: float = 0.2
    rates: Mapping[str, Rate | None] = field(default_factory=dict)


@dataclass(slots=True)
class Caller:
    """Who makes a call, and `pending`: predicted seconds of its questions that are in hand. They are not held against
    it, as a call is bounded in itself: a batch by its size, a stream by how much of it is read. `waited`: how much of
    the call's time was gone when it was handed over, in seconds; None if its caller has not said how much it had."""

    principal: Principal
    criticality: Criticality = Criticality.CRITICAL
    timeout: float | None = None
    """Seconds that a call had when it was made, as its caller says."""
    pending: float = 0.0
    waited: float | None = None
    recheck: Callable[[], None] | None = None
    """Of a stream, before each of its questions: raises AccessDenied where its credentials hold no more."""
    traceparent: str = ""
    """As the call says; empty for none."""


class Admission:
    """All methods on the event loop; `in_flight` and `level` from any thread."""

    def __init__(
        self,
        terms: Terms,
        forecast: Forecaster,
        clock: Clock = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`draw`: from 0 up to 1. `clock` is the one of the deadlines."""
        self.in_flight = 0
        self._terms = terms
        self._forecast = forecast
        self._clock = clock
        self._draw = draw
        self._tenants = Tenants(partial(_tenant, terms), terms.rates)
        self._streams = 0
        self._closed = False
        self._streams_end = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def limit(self) -> int:
        return self._terms.permits

    def renew(self, terms: Terms) -> None:
        """By other terms, from the next question on."""
        self._terms = terms
        self._tenants.renew(partial(_tenant, terms), terms.rates)

    def permit(self, tenant: str, questions: int = 1, is_due: bool = False) -> Permit:
        """Room for that many questions, to be used in `with`. Raises Overloaded, or Draining once closed, but for one
        that `is_due`, as it was read before.

        A batch wider than the limit counts as the limit: it is admitted when nothing else is in flight, not never.
        """
        if self._closed and not is_due:
            raise Draining("the server is stopping")
        cost = min(questions, self.limit)
        now = self._clock()
        known = self._tenants.of(tenant, now)
        has_rivals = self._tenants.has_rivals(tenant, now)
        if self.in_flight + cost > self.limit:
            raise Overloaded(f"{self.in_flight} questions in flight, limit {self.limit}")
        share = max(1, int(self._terms.share * self.limit))
        if has_rivals and known.in_flight and known.in_flight + cost > share:
            raise Overloaded(f"{known.in_flight} questions of this tenant in flight, while others ask limit {share}")
        return Permit(self, known, cost)

    def admit(self, caller: Caller, characters: int, deadline: Deadline) -> Ticket:
        """Let a question of so many characters in, for as long as the `with` lasts.

        Raises QuotaExceeded, DeadlineUnmeetable, Shed.
        """
        now = self._clock()
        tenant = self._tenants.of(caller.principal.tenant, now)
        if tenant.quota and (retry_after := tenant.quota.wait(now)):
            raise QuotaExceeded(caller.principal.tenant, retry_after)
        seen, remaining = self._forecast(characters, caller.principal.tenant, deadline), deadline.at - now
        shedding = tenant.shedding
        waited = None
        if shedding:
            waited = shedding.waited(caller.waited, now)
            shedding.observe(waited, seen.backlog - caller.pending, _timeout(caller, remaining), now)
        _check_budget(seen, remaining)
        may_search = True
        if shedding:
            self._shed(shedding, caller, seen.wait, waited or 0.0, remaining, now)
            may_search = caller.criticality not in OPTIONAL or shedding.level(now) <= self._terms.brownout
        if tenant.quota:
            tenant.quota.take(now)
        return Ticket(caller, seen.cost, may_search)

    def charge(self, tenant: str, count: int) -> None:
        """Count so many documents that the tenant writes as questions. Raises QuotaExceeded, and counts none then."""
        now = self._clock()
        quota = self._tenants.of(tenant, now).quota
        if quota is None:
            return
        if retry_after := quota.wait(now, count):
            raise QuotaExceeded(tenant, retry_after)
        quota.take(now, count)

    def _shed(
        self, shedding: Shedding, caller: Caller, wait: float, waited: float, remaining: float, now: float
    ) -> None:
        wait -= caller.pending
        share = shedding.share_refused(caller.criticality, wait, _timeout(caller, remaining), now, waited)
        if share and self._draw() < share:
            level, before = shedding.level(now), f"{waited * 1000:.0f} ms on its way and " if waited else ""
            raise Shed(f"{before}predicted {wait * 1000:.0f} ms of waiting, too long at shed level {level:.1f}", level)

    def level(self) -> float:
        """The highest shed level of any tenant, 0 to 1."""
        return self._tenants.level(self._clock())

    def end_streams(self) -> None:
        """Streams end, each with what it has read; other calls are admitted as before."""
        self._streams_end.set()

    def close(self) -> None:
        """Refuse everything from now on; what holds a permit goes on."""
        self._closed = True
        self._streams_end.set()

    async def streams_end(self) -> None:
        """Wait for `end_streams` or `close`."""
        await self._streams_end.wait()

    async def idle(self) -> None:
        """Wait until nothing is in flight and no stream is open."""
        await self._idle.wait()

    @contextmanager
    def stream(self) -> Iterator[None]:
        """A stream for as long as the `with` lasts. It takes no room, but its answers are due until its end."""
        self._streams += 1
        self._see_whether_idle()
        try:
            yield
        finally:
            self._streams -= 1
            self._see_whether_idle()

    def _count(self, tenant: Tenant, questions: int) -> None:
        self.in_flight += questions
        tenant.in_flight += questions
        self._see_whether_idle()

    def _see_whether_idle(self) -> None:
        if self.in_flight or self._streams:
            self._idle.clear()
        else:
            self._idle.set()


class Permit:
    """Room for a call, taken at the start of the `with` and given back at its end."""

    __slots__ = ("_admission", "_cost", "_tenant")

    def __init__(self, admission: Admission, tenant: Tenant, cost: int) -> None:
        self._admission = admission
        self._tenant = tenant
        self._cost = cost

    def __enter__(self) -> None:
        self._admission._count(self._tenant, self._cost)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._admission._count(self._tenant, -self._cost)


class Ticket:
    """A question that was let in. `may_search` is False in a brown-out."""

    __slots__ = ("_caller", "_cost", "may_search")

    def __init__(self, caller: Caller, cost: float, may_search: bool) -> None:
        self._caller = caller
        self._cost = cost
        self.may_search = may_search

    def __enter__(self) -> Ticket:
        self._caller.pending += self._cost
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._caller.pending -= self._cost


def terms_of(config: Config) -> Terms:
    section = config.admission
    burst = section.tenant_burst or max(1.0, 2 * section.tenant_rate)
    return Terms(
        permits=config.server.max_in_flight,
        share=section.tenant_share,
        rate=Rate(section.tenant_rate, burst) if section.tenant_rate else None,
        rates={name: Rate(rate, max(1.0, 2 * rate)) if rate else None for name, rate in section.tenant_rates.items()},
        waits=Waits(section.target_wait_ms / 1000, section.max_wait_share) if section.shed else None,
        brownout=section.brownout_level,
    )


def _tenant(terms: Terms, name: str) -> Tenant:
    rate = terms.rates.get(name, terms.rate)
    return Tenant(Quota(rate) if rate else None, Shedding(terms.waits) if terms.waits else None)


def _check_budget(seen: Forecast, remaining: float) -> None:
    """Raise DeadlineUnmeetable if the answer would be late. An idle session tries whatever is predicted, as only that
    corrects a prediction."""
    if seen.wait and seen.wait + seen.service > remaining:
        wait, service, left = (f"{seconds * 1000:.1f}" for seconds in (seen.wait, seen.service, remaining))
        raise DeadlineUnmeetable(f"predicted {wait} ms of waiting and {service} ms of work, and {left} ms are left")


def _timeout(caller: Caller, remaining: float) -> float:
    """Seconds that a question had from the start. `remaining` may have been cut to what a server allows at most."""
    return remaining if caller.waited is None or caller.timeout is None else max(caller.timeout, remaining)
