"""Tail probabilities of the distributions that statistics have where nothing drifts. Serving has no SciPy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

STEPS = 10_000
EXACT = 1e-15
TINY = 1e-300
BISECTIONS = 100
NEAR = 1e-3


def chi_square_tail(x: float, degrees: float) -> float:
    """P(X > x) of a chi-square with so many `degrees` of freedom, which need not be whole; 1 for none of them.

    The regularised incomplete gamma function: its series below the mean, its continued fraction above (DLMF 8.11.4 and
    8.9.2, https://dlmf.nist.gov/8).
    """
    if x <= 0 or degrees <= 0:
        return 1.0
    a, half = degrees / 2, x / 2
    scale = math.exp(a * math.log(half) - half - math.lgamma(a))
    return 1 - scale * _series(a, half) if half < a + 1 else scale * _fraction(a, half)


def _series(a: float, x: float) -> float:
    term = total = 1 / a
    for step in range(1, STEPS):
        term *= x / (a + step)
        total += term
        if term < total * EXACT:
            break
    return total


def _fraction(a: float, x: float) -> float:
    """By Lentz's method, from the front."""
    b = x + 1 - a
    c, d = 1 / TINY, 1 / b
    value = d
    for step in range(1, STEPS):
        numerator = -step * (step - a)
        b += 2
        d = 1 / (numerator * d + b or TINY)
        c = b + numerator / c or TINY
        value *= c * d
        if abs(c * d - 1) < EXACT:
            break
    return value


def chi_square_sum_tail(x: float, weights: Values) -> float:
    """P(sum of weight * chi-square(1) > x) for weights of 0 and more, by the saddle point (Kuonen 1999, "Saddlepoint
    approximations for distributions of quadratic forms in normal variables"): within a few percent of itself however
    far out, where approximations by moments are off by factors.
    """
    weights = weights[weights > 0]
    mean = float(weights.sum())
    if not len(weights) or x <= 0:
        return 1.0
    if abs(x - mean) < NEAR * math.sqrt(2 * float((weights**2).sum())):
        near = (1 - 2 * NEAR, 1 + 2 * NEAR)  # the formula is 0 / 0 at the mean
        return sum(chi_square_sum_tail(mean * at, weights) for at in near) / 2
    at = _saddle_point(x, weights)
    shrunk = 1 - 2 * at * weights
    bent = math.sqrt(2 * float((weights**2 / shrunk**2).sum()))
    height = at * x + float(np.log(shrunk).sum()) / 2
    w, v = math.copysign(math.sqrt(2 * height), at), at * bent
    return math.erfc((w + math.log(v / w) / w) / math.sqrt(2)) / 2


def _saddle_point(x: float, weights: Values) -> float:
    """Where the slope of the cumulant generating function is x; by bisection, since it grows up to its pole."""
    high = 1 / (2 * float(weights.max()))
    low = -len(weights) / (2 * x)  # no slope is less than x here
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if float((weights / (1 - 2 * middle * weights)).sum()) < x:
            low = middle
        else:
            high = middle
    return low


def kolmogorov_tail(x: float) -> float:
    """P(sup |bridge| > x): of the largest difference of two distribution functions, scaled (Smirnov 1939)."""
    if x < 0.2:  # the series below alternates for ever, and 1 - 1e-12 is 1
        return 1.0
    terms = ((1.0 if k % 2 else -1.0) * math.exp(-2 * k * k * x * x) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * math.fsum(terms)))
