"""A circuit breaker: a tier that fails again and again is left alone for a while, and then tried with one question."""

from __future__ import annotations

import logging
import time

from gateway.deadline import Clock
from gateway.types import BreakerFigures, BreakerState, Tier

log = logging.getLogger(__name__)

FAILURES = 5
"""In a row, after which nothing is asked of the tier. A tier that fails now and then answers most questions, and is
left to fail the others."""
FIRST_PAUSE, LAST_PAUSE = 0.5, 4.0
"""Seconds until it is tried again; twice as long after each try that fails, up to the last: a tier that was mended is
found out within that."""
PROBE_SECONDS = 1.0
"""A try of which nothing is heard for so long, as its caller left, is no reason to wait for it."""


class Breaker:
    """Of one tier. Not safe from several threads: it belongs to the event loop. `clock`: seconds that never go back."""

    def __init__(self, tier: Tier, clock: Clock = time.monotonic) -> None:
        self._tier, self._clock = tier, clock
        self._state = BreakerState.CLOSED
        self._in_a_row = self._failures = self._opened = 0
        self._pause = FIRST_PAUSE
        self._until = 0.0

    @property
    def figures(self) -> BreakerFigures:
        return BreakerFigures(self._tier, self._state, self._failures, self._opened)

    def allows(self) -> bool:
        """Whether the tier may be asked now: one that was left alone, by one caller at a time, from whom it must then
        be heard how that went."""
        if self._state is BreakerState.CLOSED:
            return True
        if self._clock() < self._until:
            return False
        self._state, self._until = BreakerState.HALF_OPEN, self._clock() + PROBE_SECONDS
        return True

    def untold(self) -> None:
        """The tier had nothing to do, which says nothing of it: the next caller may try."""
        if self._state is BreakerState.HALF_OPEN:
            self._until = self._clock()

    def succeeded(self) -> None:
        if self._state is BreakerState.OPEN:
            return  # it was asked before it failed
        self._in_a_row = 0
        if self._state is BreakerState.HALF_OPEN:
            log.warning("the %s tier answers again", self._tier)
            self._state, self._pause = BreakerState.CLOSED, FIRST_PAUSE

    def failed(self) -> None:
        self._failures += 1
        self._in_a_row += 1
        if self._state is BreakerState.HALF_OPEN:
            self._open(min(2 * self._pause, LAST_PAUSE))
        elif self._state is BreakerState.CLOSED and self._in_a_row >= FAILURES:
            self._opened += 1
            log.error(
                "the %s tier failed %d times in a row: it is left alone, and tried now and then", self._tier, FAILURES
            )
            self._open(FIRST_PAUSE)

    def _open(self, pause: float) -> None:
        self._state, self._pause, self._until = BreakerState.OPEN, pause, self._clock() + pause
