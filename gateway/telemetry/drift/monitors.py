"""What is watched of a stream of questions, and from what evidence on it raises an alarm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.telemetry.drift.betting import Detector, HistogramDetector, PowerDetector
from gateway.telemetry.drift.comparisons import Counts
from gateway.telemetry.drift.conformal import Bag
from gateway.telemetry.drift.embedding import MeanWindow
from gateway.telemetry.drift.reference import Reference, ScoreReference
from gateway.telemetry.drift.window import BATCH, BLOCKS, Batch, Bins
from gateway.types import DriftMonitor, DriftReading

HORIZON = 100_000
"""Questions, within which so many false alarms may be expected."""
SHARES = 8
"""That they are divided into: four monitors of all questions, and two by tenant and two by collection. How many tenants
there are does not count: a question is of one, and what may be won is bounded by the question."""
HALF = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """`evidence` that raises an alarm, and the p-value of a full window that does."""

    evidence: float
    p_value: float

    @classmethod
    def of(cls, false_alarms: float) -> Limits:
        """For at most so many within HORIZON questions, whatever they are like as long as they stay so."""
        share = false_alarms / SHARES
        return cls(HORIZON / share, share * BATCH / HORIZON)


class RankMonitor:
    """Of something that has a conformal p-value. `evidence` is the last."""

    def __init__(self, counts: Counts, detector: Detector, seed: int) -> None:
        self._bag = Bag(counts, seed)
        self._detector = detector
        self.evidence = 0.0

    @classmethod
    def of_score(cls, score: ScoreReference, seed: int) -> RankMonitor:
        return cls(score.counts(), PowerDetector(), seed)

    @classmethod
    def of_labels(cls, labels: Counts, seed: int) -> RankMonitor:
        """Labels are ranked by their numbers: each has a range of p-values to itself, as wide as its share."""
        widths = labels + HALF
        return cls(labels, HistogramDetector(widths / widths.sum()), seed)

    def update(self, bins: Bins) -> float:
        """Of the next questions, in their order; the highest evidence on the way."""
        if not len(bins):
            return self.evidence
        found = self._detector.update(self._bag.p_values(bins))
        self.evidence = float(found[-1])
        return float(found.max())

    def restart(self) -> None:
        self._bag.restart()
        self._detector.restart()
        self.evidence = 0.0


class EmbeddingMonitor:
    """Of where questions lie: the mean of the last window's features against the reference's.

    Each window has the p-value that all windows of HORIZON questions together can afford (Bonferroni). That rests on a
    limit theorem, where the others' bounds are exact.
    """

    def __init__(self, reference: Reference, p_value: float) -> None:
        self._reference = reference.embedding
        self._limit = self._reference.bound(p_value)
        self.window = MeanWindow(self._reference, BLOCKS)

    def update(self, embeddings: NDArray[np.float32]) -> bool:
        """Whether the window that ends with these is too far off; not until it is full."""
        if not len(embeddings):
            return False
        self.window.add(embeddings)
        return self.window.is_full and self.window.scaled() >= self._limit

    def restart(self) -> None:
        self.window = MeanWindow(self._reference, BLOCKS)


class Whole:
    """All monitors, of all questions."""

    def __init__(self, reference: Reference, limits: Limits) -> None:
        self._limits = limits
        self._reference = reference
        self._ranks = {
            DriftMonitor.CONFIDENCE: RankMonitor.of_score(reference.confidence, 1),
            DriftMonitor.DISTANCE: RankMonitor.of_score(reference.distance, 2),
            DriftMonitor.LABELS: RankMonitor.of_labels(reference.labels, 3),
        }
        self._embedding = EmbeddingMonitor(reference, limits.p_value)

    def update(self, batch: Batch) -> list[DriftMonitor]:
        """Those that the batch has brought to an alarm."""
        bins = {
            DriftMonitor.CONFIDENCE: self._reference.confidence.bins(batch.confidence),
            DriftMonitor.DISTANCE: self._reference.distance.bins(batch.distance),
            DriftMonitor.LABELS: batch.labels,
        }
        found = [one for one, ranks in self._ranks.items() if ranks.update(bins[one]) >= self._limits.evidence]
        if self._embedding.update(batch.embeddings):
            found.append(DriftMonitor.EMBEDDING)
        return found

    def evidence(self) -> dict[DriftMonitor, float]:
        """In decimal orders of magnitude, of those that bet; 0 is an alarm."""
        return {one: log_ratio(ranks.evidence, self._limits.evidence) for one, ranks in self._ranks.items()}

    def discrepancy(self) -> DriftReading:
        """How far the last window of embeddings is off."""
        return self._embedding.window.compare()

    def restart(self) -> None:
        for one in self._ranks.values():
            one.restart()
        self._embedding.restart()


def log_ratio(value: float, limit: float) -> float:
    """Decimal; values of 0 count as the least that there is."""
    return round(math.log10(max(value, 1e-300)) - math.log10(max(limit, 1e-300)), 2)
