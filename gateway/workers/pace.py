"""When a worker is given up and when it is started again. Durations in seconds; no process is touched here."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass

from gateway.config import ServerSection
from gateway.deadline import Clock

MARGIN = 10.0
"""What a worker needs to end besides its drain."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a supervisor is."""

    start: float = 120.0
    """For a worker to become ready."""
    restarts: int = 5
    """At most so many of one worker within `window`."""
    window: float = 900.0
    first_delay: float = 0.5
    """Before the first restart; each further one waits twice as long."""
    longest_delay: float = 30.0
    steady: float = 60.0
    """A worker that was ready for so long begins with the first delay again."""
    poll: float = 0.05
    """Between two looks at whether a worker is ready."""
    watch: float = 5.0
    """Between two looks at whether a ready one still lives."""
    silence: float = 60.0
    """A ready worker that does not answer /livez for so long hangs, and is killed."""
    drain: float = 35.0
    """For a worker to finish what it has begun; then it is killed."""
    end: float = 3.0
    """As `drain`, but where nothing is to be finished any more."""

    @classmethod
    def of(cls, server: ServerSection) -> Pace:
        """As the settings say."""
        return cls(
            start=server.worker_start_seconds,
            restarts=server.worker_restarts,
            window=server.worker_restart_window_seconds,
            drain=server.drain_delay_seconds + server.drain_seconds + MARGIN,
        )


class Restarts:
    """The history of one worker's ends, and what follows from it."""

    def __init__(self, pace: Pace, clock: Clock = time.monotonic) -> None:
        self._pace = pace
        self._clock = clock
        self._ends: deque[float] = deque()
        self._in_a_row = 0

    def delay(self, ready_seconds: float) -> float | None:
        """It has ended, after it was ready for so long: the pause before it is started again, or None to give up."""
        now = self._clock()
        if ready_seconds >= self._pace.steady:
            self._in_a_row = 0
        self._ends.append(now)
        while self._ends[0] <= now - self._pace.window:
            self._ends.popleft()
        if len(self._ends) > self._pace.restarts:
            return None
        delay = math.ldexp(self._pace.first_delay, min(self._in_a_row, 60))
        self._in_a_row += 1
        return min(delay, self._pace.longest_delay)
