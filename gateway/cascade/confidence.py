"""A collection's own confidence: P(the first hit of a search by meaning and words answers the question).

A bundle's evidence was fitted on its own collection, by embedding alone, and means nothing in a collection of another
field. This is fitted on questions about the very collection, from what `Knowledge.Search` returns: what was fitted is
what is served.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.cascade.calibration import Logistic
from gateway.types import SearchConfidence

FEATURES = ("cosine", "coverage", "lead", "spread")
FEATURES_VERSION = 2
"""One more whenever the features, or the search that they are of, give other numbers: what was fitted before is then
not used."""
DEPTH = 10
"""How many documents the features look at."""


def features(found: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """FEATURES of the best hits' (score, similarity), best first. Of the first: the similarity, what words add to it,
    and how far its score is above the second's and above the mean of all others'. At least one hit."""
    (score, similarity), *others = found[:DEPTH]
    rest = [one for one, _ in others] or [0.0]
    return similarity, score - similarity, score - rest[0], score - sum(rest) / len(rest)


class CollectionCalibration:
    """Applies one."""

    def __init__(self, fitted: SearchConfidence) -> None:
        self._logistic = Logistic(fitted.weights, fitted.bias, fitted.centre, fitted.scale)

    def confidence(self, found: Sequence[tuple[float, float]]) -> float:
        """For the best hits' (score, similarity), best first. 0 where nothing was found."""
        return self._logistic.of(features(found)) if found else 0.0
