"""What a search promises before it is made: how good the best answer with it is expected to be.

A confidence is what is expected of an answer's quality. Once a search has been heard it will be another one, and how
far it will have moved is known beforehand: a search resolves about the same share of whatever doubt there is. So the
best of two answers is expected to be better than either is expected to be, the more so the less is known of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.cascade.calibration import Logistic

CLOSE = 1e-9
"""Two qualities that move together to within this are one."""


@dataclass(frozen=True, slots=True)
class Quality:
    """P(right) as it is expected now, and the standard deviation of what it will be once the search is heard."""

    mean: float
    deviation: float = 0.0


@dataclass(frozen=True, slots=True)
class Prospect:
    """Of one question: the model's answer, and the best answer with a search, for which `price` is to be paid."""

    model: Quality
    search: Quality
    correlation: float
    price: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """`right` is P(the best answer with a search is right) by the model's features alone; the doubts are the shares of
    q (1 - q), the variance of right and wrong, that a search resolves."""

    right: Logistic
    model_doubt: float
    search_doubt: float
    correlation: float

    def of(self, features: Sequence[float], confidence: float, price: float) -> Prospect:
        """For a question with these MODEL_FEATURES, of which the model alone is so sure."""
        return Prospect(
            model=_moving(confidence, self.model_doubt),
            search=_moving(self.right.of(features), self.search_doubt),
            correlation=self.correlation,
            price=price,
        )


def expected_best(one: Quality, other: Quality, correlation: float) -> float:
    """E[max] of two normal variables (Clark 1961)."""
    together = 2 * correlation * one.deviation * other.deviation
    apart = math.sqrt(max(one.deviation**2 + other.deviation**2 - together, 0.0))
    if apart < CLOSE:
        return max(one.mean, other.mean)
    lead = (one.mean - other.mean) / apart
    density = math.exp(-0.5 * lead * lead) / math.sqrt(2 * math.pi)
    return one.mean * _below(lead) + other.mean * _below(-lead) + apart * density


def _below(value: float) -> float:
    """The standard normal distribution function."""
    return 0.5 * math.erfc(-value / math.sqrt(2))


def _moving(mean: float, doubt: float) -> Quality:
    return Quality(mean, math.sqrt(doubt * mean * (1 - mean)))
