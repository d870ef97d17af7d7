"""Deadline: an instant on the monotonic clock by which the caller wants an answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import DeadlineExceeded

Clock = Callable[[], float]
"""Seconds on a clock that never goes back."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """`at` is an instant of `clock`, in seconds. Wall-clock time never enters."""

    at: float
    clock: Clock = time.monotonic

    @staticmethod
    def after(seconds: float, clock: Clock = time.monotonic) -> Deadline:
        return Deadline(clock() + seconds, clock)

    def remaining(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at - self.clock()

    def is_past(self) -> bool:
        return self.remaining() <= 0

    def check(self, stage: str) -> None:
        """Raise DeadlineExceeded, naming the stage that was not started, if no time is left."""
        if self.is_past():
            raise DeadlineExceeded(f"the deadline passed before {stage}")
