"""Exact bounds of a proportion, and the thresholds that are tried in order: what a certificate is made of.

Plain Python, for whatever certifies, audits or explains: a bound takes some ten microseconds, and no library has to be
installed for it where the gateway serves.
"""

from __future__ import annotations

import hashlib
import json
import math
from functools import lru_cache
from statistics import NormalDist

GRID = tuple(round(0.995 - 0.005 * step, 3) for step in range(190))
"""Thresholds from strict to loose."""

TINY = 1e-300
"""In the place of zero, where one would be divided by."""
CONVERGED = 1e-15
CLOSE = 1e-12
"""Relative, between two steps: less is lost in rounding."""
MOST_TERMS = 10_000
MOST_STEPS = 100


def grid_sha256() -> str:
    """Of the thresholds and their order, which are to be fixed before anything is certified."""
    return hashlib.sha256(json.dumps(GRID).encode()).hexdigest()


def upper(successes: float, trials: float, level: float) -> float:
    """Clopper-Pearson upper bound of a proportion, exceeded with probability at most `level`; counts may be means."""
    return 1.0 if successes >= trials else beta_quantile(1 - level, successes + 1, trials - successes)


def lower(successes: float, trials: float, level: float) -> float:
    """Clopper-Pearson lower bound of a proportion."""
    return 0.0 if successes <= 0 else beta_quantile(level, successes, trials - successes + 1)


@lru_cache(65_536)
def beta_quantile(probability: float, a: float, b: float) -> float:
    """The x at which the Beta(a, b) distribution function has that `probability`: Newton's steps inside a bracket."""
    low, high = 0.0, 1.0
    mean = a / (a + b)
    spread = math.sqrt(mean * (1 - mean) / (a + b + 1))
    x = min(max(mean + spread * NormalDist().inv_cdf(probability), mean / 2), (1 + mean) / 2)
    for _ in range(MOST_STEPS):
        excess = beta_probability(x, a, b) - probability
        if excess > 0:
            high = x
        else:
            low = x
        density = math.exp(_log_density(x, a, b))
        following = x - excess / max(density, TINY)
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - x) <= CLOSE * x:
            return following
        x = following
    return x


def beta_probability(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction of the other side converges sooner
        return 1 - beta_probability(1 - x, b, a)
    return math.exp(_log_density(x, a, b)) * x * (1 - x) / a * _fraction(x, a, b)


def _log_density(x: float, a: float, b: float) -> float:
    constant = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return constant + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x)


def _fraction(x: float, a: float, b: float) -> float:
    """Evaluated from the front, by Lentz's method."""
    numerator = 1.0
    denominator = 1 / _apart(1 - (a + b) / (a + 1) * x)
    value = denominator
    for term in range(1, MOST_TERMS):
        even = term * (b - term) * x / ((a + 2 * term - 1) * (a + 2 * term))
        odd = -(a + term) * (a + b + term) * x / ((a + 2 * term) * (a + 2 * term + 1))
        for coefficient in (even, odd):
            denominator = 1 / _apart(1 + coefficient * denominator)
            numerator = _apart(1 + coefficient / numerator)
            value *= denominator * numerator
        if abs(denominator * numerator - 1) < CONVERGED:
            break
    return value


def _apart(value: float) -> float:
    """From zero."""
    return value if abs(value) > TINY else TINY
