"""The same monitors by tenant and by collection, so that what has changed can be named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gateway.telemetry.drift.monitors import Limits, RankMonitor
from gateway.telemetry.drift.reference import Reference, ScoreReference
from gateway.telemetry.drift.window import BATCH, Batch, Bins
from gateway.types import DriftMonitor


class Parts:
    """Of the questions, those of one tenant or about one collection, for at most so many of them at once; who has not
    asked for longest makes room. Which answers they get is each one's own matter, so only how sure the model is of them
    and how near they are is watched. Names are kept in memory alone.
    """

    def __init__(self, reference: Reference, limits: Limits, most: int) -> None:
        self._reference = reference
        self._limits = limits
        self._most = most
        self._parts: dict[str, _Part] = {}

    def __len__(self) -> int:
        return len(self._parts)

    def update(self, names: Sequence[str], batch: Batch) -> Iterator[tuple[str, int, DriftMonitor]]:
        """(name, how many questions of it, monitor) of those that the batch has brought to an alarm. `names` [batch]
        are whose each question is. While there is one name alone, it is the whole, and watched as that."""
        if not self._most:
            return
        confidence = self._reference.confidence.bins(batch.confidence)
        distance = self._reference.distance.bins(batch.distance)
        whose = np.array(names, object)
        for name in dict.fromkeys(names):
            part = self._parts.pop(name, None) or _Part(self._reference)
            self._parts[name] = part  # the last to be forgotten
            if len(self._parts) > self._most:
                del self._parts[next(iter(self._parts))]
            ours = np.flatnonzero(whose == name)
            part.questions += len(ours)
            if len(self._parts) > 1:
                for monitor in part.update(confidence[ours], distance[ours], self._limits.evidence):
                    yield name, part.questions, monitor

    def restart(self) -> None:
        self._parts.clear()


class _Part:
    """Few of its questions come at a time: they wait until there is a batch, which costs no more than one of them."""

    def __init__(self, reference: Reference) -> None:
        self.questions = 0
        self._confidence = _Waiting(reference.confidence, 4)
        self._distance = _Waiting(reference.distance, 5)

    def update(self, confidence: Bins, distance: Bins, limit: float) -> Iterator[DriftMonitor]:
        if self._confidence.update(confidence) >= limit:
            yield DriftMonitor.CONFIDENCE
        if self._distance.update(distance) >= limit:
            yield DriftMonitor.DISTANCE


class _Waiting:
    def __init__(self, score: ScoreReference, seed: int) -> None:
        self._monitor = RankMonitor.of_score(score, seed)
        self._bins = np.empty(0, np.int64)

    def update(self, bins: Bins) -> float:
        """The highest evidence of the batch that these have filled; 0 where there is none."""
        self._bins = np.concatenate([self._bins, bins])
        if len(self._bins) < BATCH:
            return 0.0
        found, self._bins = self._monitor.update(self._bins), self._bins[:0]
        return found
