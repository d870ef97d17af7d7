"""How often answers of a route are really wrong, from those that chance has drawn and somebody has judged.

The interval is a confidence sequence: with probability 1 - delta it holds at all times at once, so that it may be
looked at every minute and acted upon at first sight. It is made by betting (Waudby-Smith and Ramdas 2023, "Estimating
means of bounded random variables by betting"; with inverse propensities, Waudby-Smith, Wu, Ramdas, Karampatziakis and
Mineiro 2024, "Anytime-valid off-policy inference for contextual bandits"). Somebody bets against the claim that the
error rate is m: of each answer that was drawn, a share f of the capital on "it is wrong" (or on "it is right"), in
proportion to 1 / propensity. If the claim is true the capital is a martingale, which ever comes to 1 / delta with a
probability of at most delta (Ville's inequality); the interval is all m for which it has not.

The bets are fixed beforehand, a grid of shares with the capital divided among them. So the capital depends on counts
alone and not on the order in which verdicts come in, which anybody could choose. Answers that were drawn and not yet
judged, or never, count as right for the lower bound and as wrong for the upper one: capital only falls by that, and the
interval holds whoever judges whatever.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DELTA = 0.05
"""The probability with which an interval may ever be wrong."""
SHARES: NDArray[np.float64] = np.geomspace(0.001, 0.95, 40)
"""Of the capital, that are bet. Small ones show small differences, after many answers."""
STEPS = 40
"""Halvings of the interval: to 1e-12."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """Answers that were `drawn` with one `propensity`: how many of them were `judged`, and were `wrong`."""

    propensity: float
    drawn: int
    judged: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Interval:
    lower: float
    upper: float


def estimate(strata: Iterable[Stratum]) -> float:
    """The error rate of those that were judged, each weighted by 1 / propensity; NaN where there are none."""
    some = list(strata)
    judged = sum(one.judged / one.propensity for one in some)
    return sum(one.wrong / one.propensity for one in some) / judged if judged else math.nan


def interval(strata: Sequence[Stratum], delta: float = DELTA) -> Interval:
    """Where the error rate is, at all times with probability 1 - `delta`, half of which is each bound's."""
    wanted = math.log(2 / delta)
    lower = _edge(lambda rate: log_capital(strata, rate) >= wanted)
    upper = 1.0 - _edge(lambda right: _log_capital_for_right(strata, right) >= wanted)
    return Interval(lower, upper)


def lower_bound(since: Mapping[int, Sequence[Stratum]], delta: float = DELTA) -> float:
    """How high the error rate has been for sure, since one of several moments: the lower bound of the greatest.

    `since` has what was drawn from the k-th moment on, by k, from 1. What has gone well for long hides what goes wrong
    now; so the capital is divided, and a part of it enters the game at each moment, 1 / (k (k + 1)) of it at the k-th.
    That is a martingale too, as long as a moment keeps its number; moments may be left out, which only lowers the
    bound.
    """
    wanted = math.log(1 / delta)
    return _edge(lambda rate: log_capital_since(since, rate) >= wanted)


def log_capital_since(since: Mapping[int, Sequence[Stratum]], rate: float) -> float:
    """Of those who bet that the error rate is more than `rate`, a part of them from each moment on."""
    parts = [log_capital(strata, rate) - math.log(k * (k + 1)) for k, strata in since.items()]
    return float(np.logaddexp.reduce(parts)) if parts else -math.inf


def log_capital(strata: Sequence[Stratum], rate: float) -> float:
    """Of those who bet that the error rate is more than `rate`."""
    return _mixed(strata, rate, [(one.drawn - one.wrong, one.wrong) for one in strata])


def _log_capital_for_right(strata: Sequence[Stratum], rate: float) -> float:
    """Of those who bet that the share of right answers is more than `rate`."""
    return _mixed(strata, rate, [(one.drawn - one.judged + one.wrong, one.judged - one.wrong) for one in strata])


def _mixed(strata: Sequence[Stratum], rate: float, counts: Sequence[tuple[int, int]]) -> float:
    """The logarithm of the mean of the capitals of all SHARES. `counts` of each stratum: bets lost, and won."""
    least = min((one.propensity for one in strata), default=1.0)
    total = np.zeros_like(SHARES)
    for one, (lost, won) in zip(strata, counts, strict=True):
        stake = SHARES * (least / one.propensity)
        total += lost * np.log1p(-stake) + (won * np.log1p(stake * (1 / rate - 1)) if won else 0.0)
    return float(np.logaddexp.reduce(total) - math.log(len(SHARES)))


def _edge(is_refuted: Callable[[float], bool]) -> float:
    """The largest rate that is refuted, with all below it; 0 if none is."""
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_refuted(middle) else (low, middle)
    return low
