"""How hard to shed: a level that rises while a queue stands, and how much of whom is refused at which level.

The signal is CoDel's: a queue that gets short now and then absorbs bursts, one that never does makes everybody late. So
the level rises once the queue has been too long all through an interval, by more the longer it is, and falls slowly.
The least critical questions are refused first, at a lower level and for a shorter wait, and the most critical never.
Who would not wait is let in at any level: the session must not run dry because of a queue that is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from gateway.types import Criticality

INTERVAL = 0.1
"""Seconds through which the queue must be too long before the level rises."""
RISE = 0.05
"""Of the level, for each time that the queue is as long as is tolerated."""
FALL = 0.1
"""Of the level, each second."""
BAND = 0.25
"""Of the level, from where none of a class are refused to where all are."""
LEAST_OF = 10.0
KNOWN_SECONDS = 1.0
"""For so long after a call whose waiting is known, those of whom it is not do not count against a queue."""
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


class Least:
    """The least of what was seen in the last LEAST_OF seconds, up to twice as many."""

    __slots__ = ("_before", "_now", "_since")

    def __init__(self) -> None:
        self._before = self._now = inf
        self._since = -inf

    def of(self, value: float, now: float) -> float:
        """With `value`, which is seen now."""
        if now - self._since > LEAST_OF:
            self._before, self._now = (self._now if now - self._since < 2 * LEAST_OF else inf), inf
            self._since = now
        self._now = min(self._now, value)
        return min(self._before, self._now)


class Shedding:
    """The level of one tenant, 0 to 1. Instants are of one clock, in seconds."""

    __slots__ = ("_known_at", "_least", "_level", "_long_since", "_risen_at", "waits")

    def __init__(self, waits: Waits) -> None:
        self.waits = waits
        self._least = Least()
        self._known_at = -inf
        self._long_since: float | None = None
        self._level = 0.0
        self._risen_at = 0.0

    def level(self, now: float) -> float:
        return max(0.0, self._level - FALL * (now - self._risen_at)) if self._level else 0.0

    def waited(self, seconds: float | None, now: float) -> float | None:
        """How much longer a call was on its way than the quickest of late; None where its caller does not tell.

        What all calls lose, to a proxy that keeps some of their time or to a slow network, is no queue.
        """
        if seconds is None:
            return None
        self._known_at = now
        return max(0.0, seconds - self._least.of(seconds, now))

    def observe(self, waited: float | None, backlog: float, timeout: float, now: float) -> None:
        """Count a question that comes now: what it has waited, what waits before it, and the time that it had for both,
        in seconds. One whose waiting is not known does not say that there is no queue, if that of others is."""
        tolerated = self.waits.tolerated(timeout)
        total = backlog + (waited or 0.0)
        if total <= tolerated:
            if waited is not None or now - self._known_at > KNOWN_SECONDS:
                self._long_since = None
        elif self._long_since is None:
            self._long_since = now
        elif now - self._long_since >= INTERVAL:
            self._level = min(1.0, self.level(now) + RISE * total / tolerated)
            self._risen_at = self._long_since = now

    def share_refused(
        self, criticality: Criticality, wait: float, timeout: float, now: float, waited: float = 0.0
    ) -> float:
        """Of questions that have `waited` and are predicted to `wait`, 0 to 1.

        What was waited refuses nobody by itself, but makes a question one of those whom a level refuses.
        """
        patience = PATIENCE.get(criticality)
        if patience is None or wait + waited <= patience.tolerated * self.waits.tolerated(timeout):
            return 0.0
        if wait > patience.most * self.waits.most * timeout:
            return 1.0
        return min(1.0, max(0.0, (self.level(now) - patience.start) / BAND))
