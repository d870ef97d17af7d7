"""Where questions lie, in few numbers: random Fourier features, of which only means are kept.

The mean of the features stands for a whole distribution of embeddings: the distance of two means is the maximum mean
discrepancy for a Gaussian kernel (Gretton et al. 2012, "A kernel two-sample test"; features by Rahimi and Recht 2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.telemetry.drift.comparisons import NOTHING
from gateway.telemetry.drift.tails import chi_square_sum_tail
from gateway.types import DriftReading

Matrix = NDArray[np.float32]
Values = NDArray[np.float64]

FREQUENCIES = 64
BISECTIONS = 30
PAIRS = 4000
"""Of reference questions, whose median distance is the kernel's width."""


@dataclass(frozen=True, slots=True)
class EmbeddingReference:
    """`frequencies` [dim, FREQUENCIES]; of the reference's features [2 * FREQUENCIES] their `mean`, and the eigenvalues
    of their covariance, the `spectrum`. `questions` it is made from."""

    frequencies: NDArray[np.float16]
    mean: Values
    spectrum: Values
    questions: int

    @classmethod
    def of(cls, embeddings: Matrix, seed: int) -> EmbeddingReference:
        """Of embeddings [questions, dim], at least two. The width is the median distance of two of them (Gretton et al.
        2012, section 8)."""
        chance = np.random.default_rng(seed)
        count, dim = embeddings.shape
        one, other = chance.integers(0, count, (2, PAIRS))
        distances = np.linalg.norm(embeddings[one] - embeddings[other], axis=1)[one != other]
        width = float(np.median(distances[distances > 0])) if (distances > 0).any() else 1.0
        frequencies = (chance.standard_normal((dim, FREQUENCIES)) / width).astype(np.float16)
        found = features(embeddings, frequencies)
        spectrum = np.clip(np.linalg.eigvalsh(np.cov(found, rowvar=False)), 0, None)
        return cls(frequencies, found.mean(axis=0), spectrum, count)

    def compare(self, mean: Values, questions: int) -> DriftReading:
        """The squared maximum mean discrepancy to a window's features' `mean`.

        Where nothing drifts it is (1/m + 1/n) times a sum of chi-squares weighted by the spectrum (Gretton et al. 2012,
        theorem 12, for finitely many features).
        """
        if not questions:
            return NOTHING
        distance = self.scaled(mean, questions)
        return DriftReading(
            distance * (1 / self.questions + 1 / questions), chi_square_sum_tail(distance, self.spectrum)
        )

    def scaled(self, mean: Values, questions: int) -> float:
        """The discrepancy over (1/m + 1/n): a number that chance bounds whatever the sizes are."""
        return float(((mean - self.mean) ** 2).sum()) / (1 / self.questions + 1 / questions)

    def bound(self, p_value: float) -> float:
        """What `scaled` exceeds with that probability where nothing drifts; by bisection."""
        low, high = 0.0, 1.0
        while chi_square_sum_tail(high, self.spectrum) > p_value:
            low, high = high, 2 * high
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if chi_square_sum_tail(middle, self.spectrum) > p_value else (low, middle)
        return high


def features(embeddings: Matrix, frequencies: NDArray[np.floating[Any]]) -> Values:
    """[n, 2 * FREQUENCIES]: cosines and sines, such that two questions' product is about their Gaussian kernel."""
    angles = embeddings @ frequencies.astype(np.float32, copy=False)
    found = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    return np.asarray(found / np.sqrt(frequencies.shape[1]), np.float64)


class MeanWindow:
    """The mean of the features over the last `blocks` batches; no question is kept."""

    def __init__(self, reference: EmbeddingReference, blocks: int) -> None:
        self._reference = reference
        self._frequencies = reference.frequencies.astype(np.float32)
        self._sums = np.zeros((blocks, len(reference.mean)))
        self._counts = np.zeros(blocks, np.int64)
        self._added = 0

    @property
    def questions(self) -> int:
        return int(self._counts.sum())

    @property
    def is_full(self) -> bool:
        return self._added >= len(self._counts)

    def add(self, embeddings: Matrix) -> None:
        """A batch, in the place of the oldest one."""
        at = self._added % len(self._counts)
        self._sums[at] = features(embeddings, self._frequencies).sum(axis=0)
        self._counts[at] = len(embeddings)
        self._added += 1

    @property
    def mean(self) -> Values:
        return np.asarray(self._sums.sum(axis=0) / max(1, self.questions))

    def compare(self) -> DriftReading:
        return self._reference.compare(self.mean, self.questions)

    def scaled(self) -> float:
        """See `EmbeddingReference.scaled`; not for an empty window."""
        return self._reference.scaled(self.mean, self.questions)
