"""Paired bootstrap: whatever is compared is measured on the same resamples of the same questions.

Questions are drawn anew within their group, and each group keeps its share of the whole, whatever its size: how many
questions of a kind there are to measure on is no statement about how often they are asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 1000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure with its interval at LEVEL."""

    value: float
    low: float
    high: float


def weights(groups: NDArray[np.str_], shares: Mapping[str, float], draws: int = DRAWS, seed: int = 0) -> Floats:
    """[draws + 1, n]: what each question weighs. The first row is all of them, the others are resamples.

    A group that `shares` does not name weighs nothing.
    """
    chance = np.random.default_rng(seed)
    found = np.zeros((draws + 1, len(groups)))
    for group, share in shares.items():
        rows = np.flatnonzero(groups == group)
        if not len(rows):
            continue
        each = np.full(len(rows), 1 / len(rows))
        counts = np.vstack([np.ones((1, len(rows)), np.int64), chance.multinomial(len(rows), each, size=draws)])
        found[:, rows] = counts * (share / len(rows))
    return found


def estimate(values: Floats) -> Estimate:
    """Of a measure [draws + 1] on `weights`, or of a difference of two: the value, and percentiles of the resamples."""
    low, high = np.quantile(values[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(values[0]), float(low), float(high))
