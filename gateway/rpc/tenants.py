"""What is remembered of each tenant between its calls: how much it has in flight, its quota, its shed level."""

from __future__ import annotations

from collections.abc import Callable, Collection

from gateway.rpc.quota import Quota
from gateway.rpc.shedding import Shedding

MOST = 1024
"""Tenants that are remembered. With more of them active at once, those that come later share one memory: names cost
nothing, and must not fill ours."""
SWEEP_SECONDS = 1.0
"""Between two searches for tenants that can be forgotten."""
RIVAL_SECONDS = 1.0
"""For so long after it has asked, a tenant counts as a rival of the others."""


class Tenant:
    """`quota` is None without a limit, `shedding` where nobody is shed."""

    __slots__ = ("in_flight", "quota", "shedding")

    def __init__(self, quota: Quota | None, shedding: Shedding | None) -> None:
        self.in_flight = 0
        self.quota = quota
        self.shedding = shedding

    def level(self, now: float) -> float:
        return self.shedding.level(now) if self.shedding else 0.0

    def renew(self, fresh: Tenant) -> None:
        """By other terms. What it has used of a quota, and its level, stay where those terms are the same."""
        if (self.quota and self.quota.rate) != (fresh.quota and fresh.quota.rate):
            self.quota = fresh.quota
        if (self.shedding and self.shedding.waits) != (fresh.shedding and fresh.shedding.waits):
            self.shedding = fresh.shedding

    def is_forgettable(self, now: float) -> bool:
        """Whether it is as if it had never asked."""
        return not self.in_flight and not self.level(now) and (self.quota is None or self.quota.is_full(now))


class Tenants:
    """By name, made when they first ask. Those that are `named` share their memory with nobody. `level` may be called
    from any thread."""

    def __init__(self, make: Callable[[str], Tenant], named: Collection[str] = ()) -> None:
        self._make = make
        self._named = frozenset(named)
        self._known: dict[str, Tenant] = {}
        self._rest = make("")
        self._swept_at = float("-inf")
        self._latest, self._latest_at = "", float("-inf")
        self._other_at = float("-inf")  # when a tenant other than the latest asked last

    def of(self, name: str, now: float) -> Tenant:
        return self._known.get(name) or self._met(name, now)

    def has_rivals(self, name: str, now: float) -> bool:
        """Note that this tenant asks now. Whether another one did so lately."""
        if name != self._latest:
            self._latest, self._other_at = name, self._latest_at
        self._latest_at = now
        return now - self._other_at < RIVAL_SECONDS

    def level(self, now: float) -> float:
        """The highest of all."""
        return max(one.level(now) for one in (self._rest, *self._known.copy().values()))

    def renew(self, make: Callable[[str], Tenant], named: Collection[str]) -> None:
        """As they will be made from now on, those that are known are, too."""
        self._make, self._named = make, frozenset(named)
        for name, one in {"": self._rest, **self._known}.items():
            one.renew(make(name))

    def _met(self, name: str, now: float) -> Tenant:
        if len(self._known) >= MOST and now - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = now
            self._known = {known: one for known, one in self._known.items() if not one.is_forgettable(now)}
        if len(self._known) >= MOST and name not in self._named:
            return self._rest
        return self._known.setdefault(name, self._make(name))
