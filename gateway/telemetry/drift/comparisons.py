"""How far a window of questions is from the reference: each statistic with its p-value where nothing drifts.

They are for people: how far, and in what. A single p-value means little among the thousands of a day; what raises an
alarm has to hold for all of them together, see `betting`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gateway.telemetry.drift.tails import chi_square_tail, kolmogorov_tail
from gateway.types import DriftReading

Counts = NDArray[np.int64]
Values = NDArray[np.float64]

HALF = 0.5
"""Added to each count of the population stability index, which has no value where a bin is empty."""


NOTHING = DriftReading(0.0, 1.0)


def stability(reference: Counts, window: Counts) -> DriftReading:
    """The population stability index of counts [bins]: sum (p - q) ln(p / q), the symmetric divergence of Jeffreys.

    Where nothing drifts, PSI / (1/m + 1/n) is a chi-square with bins - 1 degrees of freedom (Yurdakul and Naranjo
    2020). The usual bounds of 0.1 and 0.25 know no sizes: with ten bins and 100 questions on each side, 0.18 is the
    mean of nothing at all.
    """
    bins, m, n = len(reference), int(reference.sum()), int(window.sum())
    if not m or not n:
        return NOTHING
    p = (reference + HALF) / (m + HALF * bins)
    q = (window + HALF) / (n + HALF * bins)
    index = float(((p - q) * np.log(p / q)).sum())
    return DriftReading(index, chi_square_tail(index / (1 / m + 1 / n), bins - 1))


def largest_difference(reference: Values, window: Values) -> DriftReading:
    """Kolmogorov and Smirnov's: of the two empirical distribution functions. `reference` is sorted.

    P-value by the limit (Smirnov 1939), which is too large rather than too small where values are tied.
    """
    m, n = len(reference), len(window)
    if not m or not n:
        return NOTHING
    ordered = np.sort(window)
    both = np.concatenate([reference, ordered])
    ours = np.searchsorted(reference, both, side="right") / m
    theirs = np.searchsorted(ordered, both, side="right") / n
    difference = float(np.abs(ours - theirs).max())
    return DriftReading(difference, kolmogorov_tail(difference * math.sqrt(m * n / (m + n))))


def shares(reference: Counts, window: Counts) -> DriftReading:
    """The G-test of two rows of counts [kinds]: 2 sum O ln(O / E), with the correction for small counts (Williams 1976;
    Sokal and Rohlf, Biometry, 17.4). Kinds that neither side has count for nothing."""
    seen = (reference + window) > 0
    rows = np.stack([reference[seen], window[seen]]).astype(np.float64)
    sides, kinds, total = rows.sum(axis=1), rows.sum(axis=0), rows.sum()
    degrees = len(kinds) - 1
    if degrees < 1 or not sides.all():
        return NOTHING
    expected = sides[:, None] * kinds / total
    parts = np.where(rows > 0, rows * np.log(np.maximum(rows, HALF) / expected), 0.0)
    correction = 1 + (total * (1 / sides).sum() - 1) * (total * (1 / kinds).sum() - 1) / (6 * total * degrees)
    statistic = max(0.0, 2 * float(parts.sum()) / correction)
    return DriftReading(statistic, chi_square_tail(statistic, degrees))
