"""The certificate: the loosest threshold that bounds the risk among the answered, on questions used for nothing else.

For a threshold, let a be the share of in-scope questions that are accepted and wrong, c the share accepted, b the share
of out-of-scope questions accepted. At an out-of-scope share s the risk is R = ((1-s)a + sb) / ((1-s)c + sb), which
grows with a and b and falls with c. Clopper-Pearson bounds on the three, each at a third of the error probability,
bound R. Thresholds are tried from strict to loose in an order fixed beforehand, each at the full level, and the first
failure ends it (fixed-sequence Learn-then-Test, Angelopoulos et al. 2021): the last that passed holds without a further
correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

Confidence = NDArray[np.float32]

GRID = tuple(round(0.995 - 0.005 * step, 3) for step in range(190))
"""Thresholds from strict to loose."""

MIN_ACCEPTED = 60
"""The sequence starts where so many in-scope questions are accepted: fewer cannot certify 5 % even without an error."""


@dataclass(frozen=True, slots=True)
class Certified:
    """A threshold with its evidence. `threshold` is 2, so that nothing is accepted, if none could be certified."""

    threshold: float
    accepted: int
    wrong: int
    upper_bound: float

    @property
    def holds(self) -> bool:
        return self.threshold <= 1


def upper(successes: int, trials: int, level: float) -> float:
    """Clopper-Pearson upper bound of a proportion, exceeded with probability at most `level`."""
    return 1.0 if successes >= trials else float(beta.ppf(1 - level, successes + 1, trials - successes))


def lower(successes: int, trials: int, level: float) -> float:
    """Clopper-Pearson lower bound of a proportion."""
    return 0.0 if successes <= 0 else float(beta.ppf(level, successes, trials - successes + 1))


def risk_bound(
    threshold: float,
    confidence: Confidence,
    right: NDArray[np.bool_],
    outside: Confidence,
    oos_share: float,
    level: float,
) -> float:
    """The upper bound of the risk among the answered at out-of-scope share `oos_share`."""
    accepted = confidence >= threshold
    wrong = int((accepted & ~right).sum())
    if oos_share == 0 or len(outside) == 0:
        return upper(wrong, int(accepted.sum()), level)
    third = level / 3
    a = upper(wrong, len(confidence), third)
    c = lower(int(accepted.sum()), len(confidence), third)
    b = upper(int((outside >= threshold).sum()), len(outside), third)
    inside, out = (1 - oos_share) * a, oos_share * b
    # a wrong answer is an accepted one: c cannot be less than a
    return (inside + out) / ((1 - oos_share) * max(c, a) + out)


def certify(
    confidence: Confidence,
    right: NDArray[np.bool_],
    outside: Confidence,
    risk: float,
    assurance: float,
    oos_share: float,
    grid: Sequence[float] = GRID,
) -> Certified:
    """The loosest threshold of `grid` (strict to loose) whose bound is within `risk`, as far as the sequence holds."""
    best = Certified(2.0, 0, 0, 1.0)
    for threshold in grid:
        accepted = confidence >= threshold
        if accepted.sum() < MIN_ACCEPTED:
            continue
        bound = risk_bound(threshold, confidence, right, outside, oos_share, 1 - assurance)
        if bound > risk:
            break
        best = Certified(threshold, int(accepted.sum()), int((accepted & ~right).sum()), bound)
    return best
