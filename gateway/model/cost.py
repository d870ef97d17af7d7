"""What a forward pass costs, measured at warm-up and kept current since, and how late after that an answer is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

WEIGHT = 0.05
"""Of one pass in the running mean: about 14 passes count for half of it."""
CLIP = 3.0
"""No pass counts as more than this many times slower or faster than it was predicted. So a stall of a second moves a
prediction by 10 %, and a machine that became ten times slower is believed after 60 passes."""


class CostTable:
    """Predicts the seconds of a pass. `observe` on one thread, `predict` on any."""

    def __init__(self, measured: Mapping[int, float]) -> None:
        """`measured`: seconds of a pass, above 0, by its tokens; at least one."""
        self._tokens = sorted(measured)
        self._seconds = [measured[tokens] for tokens in self._tokens]

    def predict(self, tokens: int) -> float:
        """Seconds: a straight line between the two sizes beside it; the smallest below, in proportion beyond."""
        at = bisect_left(self._tokens, tokens)
        if at == 0:
            return self._seconds[0]
        if at == len(self._tokens):
            return self._seconds[-1] * tokens / self._tokens[-1]
        low, high = self._tokens[at - 1], self._tokens[at]
        below, above = self._seconds[at - 1], self._seconds[at]
        return below + (above - below) * (tokens - low) / (high - low)

    def observe(self, tokens: int, seconds: float) -> None:
        """Count a pass that really took `seconds`, at the size nearest to its own."""
        ratio = min(max(seconds / self.predict(tokens), 1 / CLIP), CLIP)
        at = bisect_left(self._tokens, tokens)
        if at == len(self._tokens) or (at and tokens - self._tokens[at - 1] < self._tokens[at] - tokens):
            at -= 1
        self._seconds[at] *= 1 + WEIGHT * (ratio - 1)


STALL = 0.05
"""Seconds. No delay counts for more."""
DEVIATIONS = 4.0
"""Mean deviations above the mean that still count as usual, as where TCP decides that a packet is lost."""


class Delay:
    """How much longer than predicted something takes, from a running mean and a running mean deviation.

    `observe` on one thread, `usual` on any.
    """

    def __init__(self) -> None:
        self._mean = 0.0
        self._deviation = 0.0

    @property
    def mean(self) -> float:
        """Seconds, 0 or more."""
        return max(0.0, self._mean)

    def usual(self) -> float:
        """Seconds, 0 or more: what is hardly ever exceeded."""
        return max(0.0, self._mean + DEVIATIONS * self._deviation)

    def observe(self, seconds: float) -> None:
        """Count one delay; below 0 if it was quicker than predicted."""
        error = min(max(seconds, -STALL), STALL) - self._mean
        self._mean += WEIGHT * error
        self._deviation += WEIGHT * (abs(error) - self._deviation)
