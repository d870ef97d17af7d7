"""Test martingales, which bet that p-values are not uniform, and what they have won since any question: the evidence.

A bet begins with a stake of 1 at each question, and is multiplied by a density of the p-value, whose mean under
uniformity is 1: no bet can be expected to win. What all bets have now, together, is the evidence. Its mean is then at
most the number of questions, and by Doob's inequality the chance that it reaches n / a within n questions is at most a,
however often one looks (Ville 1939 for one bet; for a bet begun at every question Shiryaev 1963 and Roberts 1966, and
without any model of what is normal Shin, Ramdas and Rinaldo 2024, "E-detectors"). Bets on conformal p-values: Vovk et
al. 2021, "Retrain or not retrain". New bets all the time find what begins late as fast as what was there from the
start, and a bet that has lost is out of the way.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.telemetry.drift.conformal import earlier

Values = NDArray[np.float64]

POWERS = (0.1, 0.2, 0.4, 0.7)
"""Exponents of the power martingale (Vovk et al. 2003): the first for few p-values near the end, the last for many that
lean to it. Each is played at both ends, with an equal share of the stake."""
LEAST = 1e-5
"""A p-value is taken to be no nearer to an end: that only takes from what a bet wins, and keeps numbers finite."""
MOST = 1e100
"""Of evidence: more is not counted."""
ACTIVE = 32
"""Bets that learn, and are under way at once: the oldest one's winnings are given away."""
PRIOR = 4.0
"""Of each bin, as if so many p-values had been seen in an average one. With less a bet believes its first p-values too
much, with more it learns too late."""


class Detector(Protocol):
    """Hears of p-values in their order."""

    def update(self, p_values: Values) -> Values:
        """[n]: the evidence after each of them."""
        ...

    def restart(self) -> None:
        """Begin anew, with nothing staked."""
        ...


class PowerDetector:
    """Bets at fixed odds that p-values lie near 0, or near 1: the density of p is e * p ** (e - 1), or that of 1 - p.

    A bet begun at every question needs no memory of them: their sum S becomes (S + 1) times the density.
    """

    def __init__(self) -> None:
        self._slopes, self._offsets = np.array(POWERS) - 1, np.log(POWERS)
        self._sums = np.zeros(2 * len(POWERS))

    def restart(self) -> None:
        self._sums = np.zeros(2 * len(POWERS))

    def update(self, p_values: Values) -> Values:
        inside = np.maximum(np.stack([p_values, 1 - p_values], axis=1), LEAST)  # [n, ends]
        logs = (np.log(inside)[:, :, None] * self._slopes + self._offsets).reshape(len(inside), -1)
        grown = logs.cumsum(axis=0)
        # S after t questions: exp(grown[t]) * (S before + the sum of exp(-grown) up to t, without t's own).
        begun = np.exp(logs - grown).cumsum(axis=0)
        sums = np.minimum(np.exp(grown) * (self._sums + begun), MOST)
        self._sums = sums[-1]
        return np.asarray(sums.mean(axis=1))


class HistogramDetector:
    """Bets that learn in which of some bins p-values fall: the density is a histogram of those that the bet has seen,
    with PRIOR (Laplace; as betting on conformal p-values Eliades and Papadopoulos 2021). `widths` [bins] add up to 1.

    A bet is begun with each batch that `update` is given, with a stake of 1 for each question of it.
    """

    def __init__(self, widths: Values) -> None:
        self._widths = widths
        self._edges = np.cumsum(widths)[:-1]
        self.restart()

    def restart(self) -> None:
        self._seen = np.zeros((0, len(self._widths)))  # [bets, bins]
        self._logs = np.zeros(0)  # [bets]

    def update(self, p_values: Values) -> Values:
        n, bins = len(p_values), np.searchsorted(self._edges, p_values, side="right")
        keep = max(0, len(self._logs) - ACTIVE + 1)
        seen = np.concatenate([self._seen[keep:], np.zeros((1, len(self._widths)))])
        logs = np.append(self._logs[keep:], np.log(n))
        before = (earlier(n) & (bins == bins[:, None])).sum(axis=1)
        prior = PRIOR * len(self._widths)
        share = seen[:, bins] + before + prior * self._widths[bins]
        total = seen.sum(axis=1)[:, None] + np.arange(n) + prior
        grown = logs[:, None] + np.cumsum(np.log(share / (total * self._widths[bins])), axis=1)
        grown = np.minimum(grown, np.log(MOST))
        self._seen, self._logs = seen, grown[:, -1]
        self._seen += np.bincount(bins, minlength=len(self._widths))
        return np.asarray(np.exp(grown).sum(axis=0))
