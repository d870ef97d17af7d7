"""The last questions, in arrays made beforehand, and how far they are from the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.telemetry.drift import comparisons
from gateway.telemetry.drift.reference import Reference
from gateway.types import DriftReading

Bins = NDArray[np.int64]

BATCH = 32
"""Questions that are looked at together: of a thread's turns, about one in a thousand questions' time."""
BLOCKS = 8
"""Batches of a window."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Of the next questions [n]: how sure the model is, how near they are, the number of the label it gives, where they
    lie [n, dim], and the route's number, -1 where another policy than the reference's has answered."""

    confidence: NDArray[np.float64]
    distance: NDArray[np.float64]
    labels: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    routes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, chosen: NDArray[np.bool_] | Bins) -> Batch:
        """Those that a mask or their numbers choose."""
        return Batch(
            self.confidence[chosen],
            self.distance[chosen],
            self.labels[chosen],
            self.embeddings[chosen],
            self.routes[chosen],
        )


class Window:
    """The scores of the last BLOCKS * BATCH questions, without their embeddings."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self.restart()

    def restart(self) -> None:
        size = BLOCKS * BATCH
        self._confidence, self._distance = np.zeros(size), np.zeros(size)
        self._labels, self._routes = np.zeros(size, np.int64), np.full(size, -1)
        self._seen = 0

    @property
    def is_full(self) -> bool:
        return self._seen >= len(self._labels)

    def add(self, batch: Batch) -> None:
        at = (self._seen + np.arange(len(batch))) % len(self._labels)
        self._confidence[at], self._distance[at] = batch.confidence, batch.distance
        self._labels[at], self._routes[at] = batch.labels, batch.routes
        self._seen += len(batch)

    def readings(self) -> dict[str, DriftReading]:
        """By test; empty until the window is full."""
        if not self.is_full:
            return {}
        reference, labels = self._reference, self._reference.labels
        seen = np.bincount(self._labels, minlength=len(labels))
        routes = np.bincount(self._routes[self._routes >= 0], minlength=len(reference.routes))
        found = {
            "label_shares": comparisons.shares(labels, seen),
            "route_shares": comparisons.shares(reference.routes, routes),
        }
        for name, score, values in (
            ("confidence", reference.confidence, self._confidence),
            ("distance", reference.distance, self._distance),
        ):
            counts = score.by_decile(score.values), score.by_decile(values)
            found[f"{name}_stability"] = comparisons.stability(*counts)
            found[f"{name}_difference"] = comparisons.largest_difference(score.values, values)
        return found
