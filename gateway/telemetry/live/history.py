"""The last minutes of a server, as readings of its counts: what came of one after the other, and of a span of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gateway.telemetry.live.counts import Counts, increase
from gateway.telemetry.live.view import point

KEPT = 300.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Levels:
    """What stands at some value now: questions in flight, the most of them, those that wait for the model, predicted
    seconds of its work, and the highest shed level."""

    in_flight: int = 0
    max_in_flight: int = 0
    waiting: int = 0
    queued_seconds: float = 0.0
    shed_level: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a server says `at` some second of a clock that never jumps."""

    at: float
    counts: Counts
    levels: Levels


class History:
    """Of the last KEPT seconds; readings are added in the order of their times."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque()
        self._points: deque[dict[str, Any]] = deque()
        self._number = 0

    @property
    def last(self) -> Reading | None:
        return self._readings[-1] if self._readings else None

    def add(self, now: Reading) -> None:
        if (before := self.last) is not None:
            self._number += 1
            counted = point(increase(before.counts, now.counts), now.at - before.at)
            self._points.append({"number": self._number, "at": round(now.at, 3), **counted, **asdict(now.levels)})
        self._readings.append(now)
        # One reading from before the span stays, as the span begins at it.
        while len(self._readings) > 1 and self._readings[1].at <= now.at - KEPT:
            self._readings.popleft()
        while self._points and self._points[0]["at"] <= now.at - KEPT:
            self._points.popleft()

    def points(self, after: int = 0) -> Sequence[dict[str, Any]]:
        """One for each reading but the first, of those with a greater number."""
        return [one for one in self._points if one["number"] > after]

    def span(self, seconds: float) -> tuple[Counts, float]:
        """What was counted in the last so many seconds, and how many they were: as near as there are readings."""
        if self.last is None:
            return {}, 0.0
        since = self.last.at - seconds
        first = min(self._readings, key=lambda one: abs(one.at - since))
        return increase(first.counts, self.last.counts), self.last.at - first.at
