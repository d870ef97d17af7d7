"""Conformal p-values of questions as they come: where a score stands among the reference's and all that came before.

If all of them come from one distribution, whichever that is, and in any order, these p-values are independent and
uniform (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, proposition 2.8). That needs the questions
before as much as the reference: against the reference alone, the same questions' luck would be in every p-value, and a
hundred thousand of them would find it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Bins = NDArray[np.int64]

BINS = 256
"""That scores are counted in: whatever has been seen, so much memory holds it. A score is then its bin, and ties are
broken by lot, which keeps the p-values exact."""

EARLIER = np.tri(64, k=-1, dtype=bool)
"""Made once: batches are no longer."""


def edges_of(scores: Values) -> Values:
    """Inner edges of at most BINS bins with about as many of the reference's `scores` each."""
    return np.unique(np.quantile(scores, np.linspace(0, 1, BINS + 1)[1:-1]))


def earlier(n: int) -> NDArray[np.bool_]:
    """[n, n]: whether the second question comes before the first."""
    return EARLIER[:n, :n] if n <= len(EARLIER) else np.tri(n, k=-1, dtype=bool)


class Bag:
    """All scores so far, the reference's among them, by their bins. `reference` are counts [bins], `seed` is of the
    lots."""

    def __init__(self, reference: Bins, seed: int) -> None:
        self._reference = reference.astype(np.int64)
        self._chance = np.random.default_rng(seed)
        self._counts = self._reference.copy()

    def restart(self) -> None:
        """Forget everything but the reference."""
        self._counts = self._reference.copy()

    def p_values(self, bins: Bins) -> Values:
        """[n] for the bins of the next questions, in their order: (how many before are lower + lot * (how many are
        equal, itself included)) / (how many there are with itself). Small where the score is low."""
        n = len(bins)
        up_to = self._counts.cumsum()
        own = self._counts[bins]
        is_before = earlier(n)
        lower = up_to[bins] - own + (is_before & (bins < bins[:, None])).sum(axis=1)
        equal = own + 1 + (is_before & (bins == bins[:, None])).sum(axis=1)
        total = up_to[-1] + 1 + np.arange(n)
        self._counts += np.bincount(bins, minlength=len(up_to))
        return np.asarray((lower + self._chance.random(n) * equal) / total)
