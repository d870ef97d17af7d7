"""What the exported graphs may differ in from the student, and what is too much."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.model.session import KEEPS_APART

Matrix = NDArray[np.float32]
MAX_DIFFERENCE = 1e-4
MIN_AGREEMENT = 0.995
MAX_DRIFT = 0.01
NEAR_TIE = 0.1
"""In logits: where the two best are nearer, one is at most 11 % likelier, and which comes first is chance."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the graphs are from the student, on questions that trained nothing.

    `reference_difference`: largest difference of logits, fp32 ONNX against what was trained. `agreement`: share of
    questions to which a precision gives the reference's label. `packed_drift`: largest change of a probability between
    a question alone and packed with 31 others; `packed_flips`: how many labels that changes. `clear_differences` and
    `clear_flips` count the labels that differ although the reference was no NEAR_TIE; those alone are judged. The 8-bit
    graph is not served packed.
    """

    questions: int
    reference_difference: float
    agreement: dict[str, float]
    clear_differences: dict[str, int]
    packed_drift: dict[str, float]
    packed_flips: dict[str, int]
    clear_flips: dict[str, int]

    def problems(self) -> list[str]:
        """What is worse than it may be."""
        found = []
        if self.reference_difference > MAX_DIFFERENCE:
            found.append(
                f"fp32 ONNX differs from what was trained by {self.reference_difference:.2g}, over {MAX_DIFFERENCE:g}"
            )
        allowed = max(1, int((1 - MIN_AGREEMENT) * self.questions))  # of few questions, one is more than the share
        found += [
            f"{precision} gives another label than the reference to {count} of {self.questions} questions, "
            f"over {allowed}, near ties left out"
            for precision, count in self.clear_differences.items()
            if count > allowed
        ]
        found += [
            f"packing moves a probability of {precision} by {drift:.3f} and flips {self.clear_flips[precision]} labels"
            for precision, drift in self.packed_drift.items()
            if precision not in KEEPS_APART and (drift > MAX_DRIFT or self.clear_flips[precision])
        ]
        return found

    def summary(self) -> dict[str, object]:
        return asdict(self)


def clear_differences(logits: Matrix, reference: Matrix) -> int:
    """How many rows have another best label than the reference's, where that is no near tie."""
    best = np.partition(reference, -2, axis=1)
    clear = best[:, -1] - best[:, -2] >= NEAR_TIE
    return int((clear & (logits.argmax(axis=1) != reference.argmax(axis=1))).sum())
