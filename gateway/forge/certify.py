"""The certificate: the loosest threshold that bounds the risk among the answered, on questions used for nothing else.

For a threshold, let a be the share of in-scope questions that are accepted and wrong, c the share accepted, b the share
of out-of-scope questions accepted. At an out-of-scope share s the risk is R = ((1-s)a + sb) / ((1-s)c + sb), which
grows with a and b and falls with c. Clopper-Pearson bounds on the three, each at a third of the error probability,
bound R. Thresholds are tried from strict to loose in an order fixed beforehand, each at the full level, and the first
failure ends it (fixed-sequence Learn-then-Test, Angelopoulos et al. 2021): the last that passed holds without a further
correction. Where the order begins is chosen beforehand too, on the calibration questions: the strictest thresholds
accept too few to show anything, and failing there would end it.
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
NOTHING = 2.0
"""The threshold that no confidence reaches."""
MOST_TIMES = 50


@dataclass(frozen=True, slots=True)
class Certified:
    """A threshold with its evidence; it is NOTHING if none could be certified.

    `oos_share` is the share out of scope that it holds for: 0 where there were no outliers to measure.
    """

    threshold: float
    accepted: int
    wrong: int
    upper_bound: float
    oos_share: float

    @property
    def holds(self) -> bool:
        return self.threshold <= 1


def upper(successes: float, trials: float, level: float) -> float:
    """Clopper-Pearson upper bound of a proportion, exceeded with probability at most `level`; counts may be means."""
    return 1.0 if successes >= trials else float(beta.ppf(1 - level, successes + 1, trials - successes))


def lower(successes: float, trials: float, level: float) -> float:
    """Clopper-Pearson lower bound of a proportion."""
    return 0.0 if successes <= 0 else float(beta.ppf(level, successes, trials - successes + 1))


def bound(
    wrong: float, accepted: float, inside: int, outside_accepted: float, outside: int, oos_share: float, level: float
) -> float:
    """The upper bound of the risk at out-of-scope share `oos_share`, from counts among questions and outliers."""
    if oos_share == 0 or outside == 0:
        return upper(wrong, accepted, level)
    third = level / 3
    a = upper(wrong, inside, third)
    c = lower(accepted, inside, third)
    b = upper(outside_accepted, outside, third)
    within, out = (1 - oos_share) * a, oos_share * b
    # a wrong answer is an accepted one: c cannot be less than a
    return (within + out) / ((1 - oos_share) * max(c, a) + out)


def risk_bound(
    threshold: float,
    confidence: Confidence,
    right: NDArray[np.bool_],
    outside: Confidence,
    oos_share: float,
    level: float,
) -> float:
    """The upper bound of the risk among those whose confidence reaches `threshold`."""
    accepted = confidence >= threshold
    wrong, out = int((accepted & ~right).sum()), int((outside >= threshold).sum())
    return bound(wrong, int(accepted.sum()), len(confidence), out, len(outside), oos_share, level)


def starting_point(
    confidence: Confidence,
    right: NDArray[np.bool_],
    outside: Confidence,
    sizes: tuple[int, int],
    assurance: float,
    oos_share: float,
    grid: Sequence[float] = GRID,
) -> float:
    """Where the sequence should begin: the threshold of `grid` that is likeliest to pass, the strictest of equals.

    `confidence`, `right` and `outside` are of the *calibration* questions and outliers, `sizes` how many of each there
    are to certify; the same shares of accepted and wrong are expected there. Beginning where a threshold just passes if
    no answer is wrong, half of simulated sequences (575 questions) failed at once; beginning here, 1 in 10.
    """
    inside_size, outside_size = sizes

    def expected(threshold: float) -> float:
        accepted = confidence >= threshold
        wrong = float((accepted & ~right).mean() * inside_size)
        out = float((outside >= threshold).mean() * outside_size) if len(outside) else 0.0
        count = float(accepted.mean() * inside_size)
        return bound(wrong, count, inside_size, out, outside_size, oos_share, 1 - assurance)

    return min(grid, key=lambda threshold: (expected(threshold), -threshold))


def certify(
    confidence: Confidence,
    right: NDArray[np.bool_],
    outside: Confidence,
    risk: float,
    assurance: float,
    oos_share: float,
    start: float,
    grid: Sequence[float] = GRID,
) -> Certified:
    """The loosest threshold of `grid` (strict to loose) whose bound is within `risk`, as far as the sequence holds.

    `start` is where the sequence begins. It must not have been chosen by the questions that are given here.
    """
    share = oos_share if len(outside) else 0.0
    best = Certified(NOTHING, 0, 0, 1.0, share)
    for threshold in (one for one in grid if one <= start):
        accepted = confidence >= threshold
        found = risk_bound(threshold, confidence, right, outside, share, 1 - assurance)
        if found > risk:
            break
        best = Certified(threshold, int(accepted.sum()), int((accepted & ~right).sum()), found, share)
    return best


def needed(
    confidence: Confidence,
    right: NDArray[np.bool_],
    outside: Confidence,
    risk: float,
    assurance: float,
    oos_share: float,
    grid: Sequence[float] = GRID,
) -> int:
    """About how many certification questions would do, with outliers in proportion, if all shares stayed as they are.

    0 if the risk is too high at every threshold, however many there are. For whoever plans the data, not for a promise.
    """
    share = oos_share if len(outside) else 0.0
    for times in np.geomspace(1, MOST_TIMES, 40):
        for threshold in grid:
            accepted = confidence >= threshold
            wrong, count = float((accepted & ~right).sum() * times), float(accepted.sum() * times)
            inside_size, outside_size = round(len(right) * times), round(len(outside) * times)
            out = float((outside >= threshold).sum() * times)
            if bound(wrong, count, inside_size, out, outside_size, share, 1 - assurance) <= risk:
                return int(np.ceil(len(right) * times / 10) * 10)
    return 0
