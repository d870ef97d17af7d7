"""How good a confidence is, on questions of which it is known whether they were answered rightly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gateway.types import Matrix


def expected_calibration_error(confidence: Matrix, right: NDArray[np.bool_], bins: int = 15) -> float:
    """Mean distance of confidence and accuracy over bins of equal size."""
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(abs(confidence[part].mean() - right[part].mean()) * len(part) for part in parts) / len(order))


def auroc(inside: Matrix, outside: Matrix) -> float:
    """P(a question in scope scores higher than one outside), ties counting half."""
    both = np.concatenate([inside, outside])
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    above = ranks[: len(inside)].sum() - len(inside) * (len(inside) + 1) / 2
    return float(above / (len(inside) * len(outside)))
