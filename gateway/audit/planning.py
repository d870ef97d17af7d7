"""How many answers have to be judged: what the bounds come to, and how soon a rate that is too high is seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gateway.audit.estimate import DELTA, Interval, Stratum, interval, log_capital_since

STEP = 10
"""Judged answers between two looks."""


def bounds(judged: int, rate: float) -> Interval:
    """After so many, of which that share was wrong."""
    return interval([Stratum(1.0, judged, judged, round(rate * judged))])


def judged_until_sure(rate: float, promised: float, runs: int, most: int, seed: int) -> Sequence[int]:
    """Simulated: after how many judged answers, each wrong with probability `rate` from the first on, it is sure that
    they are wrong more often than `promised`. `most` where that is not seen by then."""
    chance, wanted = np.random.default_rng(seed), math.log(1 / DELTA)
    found = []
    for _ in range(runs):
        wrong = np.cumsum(chance.random(most) < rate)
        looks = range(STEP, most + 1, STEP)
        since = ((n, {1: [Stratum(1.0, n, n, int(wrong[n - 1]))]}) for n in looks)
        sure = (n for n, one in since if log_capital_since(one, promised) >= wanted)
        found.append(next(sure, most))
    return found
