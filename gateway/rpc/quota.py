"""A tenant's quota: so many questions a second, and a burst of them at once (the generic cell rate algorithm)."""

from __future__ import annotations

from dataclasses import dataclass

ROUNDING = 1e-6
"""Seconds that sums of instants may be off: nobody is sent away for less."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Questions a `second`, above 0, of which `burst`, at least 1, may come at once."""

    second: float
    burst: float


class Quota:
    """One tenant's. Instants are of one clock, in seconds."""

    __slots__ = ("_free_at", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._free_at = float("-inf")  # when all that was asked would have come at an even pace

    def wait(self, now: float, count: int = 1) -> float:
        """Seconds until so many more questions may come at once; 0 if they may now. More than a burst come when
        all of it is free, not never."""
        wait = self._free_at - now - (self.rate.burst - min(count, self.rate.burst)) / self.rate.second
        return wait if wait > ROUNDING else 0.0

    def take(self, now: float, count: int = 1) -> None:
        """Count so many questions, which came: all of them, so that many at once are paid for afterwards."""
        self._free_at = max(self._free_at, now) + count / self.rate.second

    def is_full(self, now: float) -> bool:
        """Whether it is as if no question had ever come."""
        return self._free_at <= now
