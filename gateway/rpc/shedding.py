"""How hard to shed: a level that rises while a queue stands, and how much of whom is refused at which level.

The signal is CoDel's: a queue that gets short now and then absorbs bursts, one that never does makes everybody late. So
the level rises once the queue has been too long all through an interval, by more the longer it is, and falls slowly.
The least critical questions are refused first, at a lower level and for a shorter wait, and the most critical never.
Who would not wait is let in at any level: the session must not run dry because of a queue that is gone.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.types import Criticality

INTERVAL = 0.1
"""Seconds through which the queue must be too long before the level rises."""
RISE = 0.05
"""Of the level, for each time that the queue is as long as is tolerated."""
FALL = 0.1
"""Of the level, each second."""
BAND = 0.25
"""Of the level, from where none of a class are refused to where all are."""
TOLERANCE = 0.1
"""Of the time that a question has left, what it may wait at any level."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Of a class: the level at which its questions begin to be refused, and, as shares of what a critical one may, how
    long they may wait at any level and how long at all. What a sheddable one may wait at all is more than what raises
    the level, and below the first `start` is room for the brown-out: it comes before the refusals."""

    start: float
    tolerated: float
    most: float


PATIENCE = {
    Criticality.SHEDDABLE: Patience(start=0.25, tolerated=0.25, most=0.5),
    Criticality.SHEDDABLE_PLUS: Patience(start=0.5, tolerated=0.5, most=0.75),
    Criticality.CRITICAL: Patience(start=0.75, tolerated=1.0, most=1.0),
}


@dataclass(frozen=True, slots=True)
class Waits:
    """What a critical question may be predicted to wait: `target` seconds, or TOLERANCE of its time if that is more, at
    any level, and `most` of its time at all."""

    target: float = 0.01
    most: float = 0.25

    def tolerated(self, remaining: float) -> float:
        return max(self.target, TOLERANCE * remaining)


class Shedding:
    """The level of one tenant, 0 to 1. Instants are of one clock, in seconds."""

    __slots__ = ("_level", "_long_since", "_risen_at", "_waits")

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._long_since: float | None = None
        self._level = 0.0
        self._risen_at = 0.0

    def level(self, now: float) -> float:
        return max(0.0, self._level - FALL * (now - self._risen_at)) if self._level else 0.0

    def observe(self, backlog: float, remaining: float, now: float) -> None:
        """Count a question that comes now: what waits before it, and the time that it has, in seconds."""
        tolerated = self._waits.tolerated(remaining)
        if backlog <= tolerated:
            self._long_since = None
        elif self._long_since is None:
            self._long_since = now
        elif now - self._long_since >= INTERVAL:
            self._level = min(1.0, self.level(now) + RISE * backlog / tolerated)
            self._risen_at = self._long_since = now

    def share_refused(self, criticality: Criticality, wait: float, remaining: float, now: float) -> float:
        """Of such questions, 0 to 1."""
        patience = PATIENCE.get(criticality)
        if patience is None or wait <= patience.tolerated * self._waits.tolerated(remaining):
            return 0.0
        if wait > patience.most * self._waits.most * remaining:
            return 1.0
        return min(1.0, max(0.0, (self.level(now) - patience.start) / BAND))
