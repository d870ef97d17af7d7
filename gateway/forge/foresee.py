"""Fitting what `cascade.outlook` applies: what a search promises, by what the model says before it is made.

On the same questions in the same played worlds as the informed confidence; see `forge.inform`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gateway.cascade import rivals
from gateway.cascade.calibration import MODEL_FEATURES, Confidence, InformedCalibration
from gateway.cascade.outlook import Outlook
from gateway.forge.calibrate import logistic
from gateway.forge.inform import Played

Floats = NDArray[np.float64]


def fit(played: Played, alone: Confidence, informed: InformedCalibration) -> Outlook:
    """How right the best answer with a search is, and how far both confidences move when the search is heard."""
    features, rows = [], []
    for seen, document in played.sightings:
        own = seen.features[: len(MODEL_FEATURES)]
        heard, for_label = informed.confidence.of(seen.features)
        best = rivals.candidates(seen.rivalry, for_label, seen.probability, informed.sharpness)[0]
        features.append(own)
        sure = informed.blended(best.mass, best.similarity)
        rows.append((alone.of(own)[0], heard, sure, best.document_id == document))
    before, heard_all, found, right = np.array(rows, np.float64).T
    foreseen = logistic(np.array(features, np.float32), right.astype(bool), played.weight)
    expected = foreseen(np.array(features, np.float32)).astype(np.float64)
    moved = np.stack([heard_all - before, found - expected])
    spread = (played.weight * moved) @ moved.T
    return Outlook(
        right=foreseen,
        model_doubt=_resolved(spread[0, 0], before, played.weight),
        search_doubt=_resolved(spread[1, 1], expected, played.weight),
        correlation=float(spread[0, 1] / max(np.sqrt(spread[0, 0] * spread[1, 1]), 1e-12)),
    )


def _resolved(spread: float, quality: Floats, weight: Floats) -> float:
    """The share of the variance of right and wrong that is `spread`."""
    return float(np.clip(spread / max((weight * quality * (1 - quality)).sum(), 1e-12), 0, 1))
