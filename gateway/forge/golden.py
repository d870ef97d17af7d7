"""Golden answers: texts that every machine and every precision must answer alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gateway.model import bundle as bundles
from gateway.model.bundle import GoldenPart, Precision
from gateway.model.packing import Tokenization
from gateway.model.session import GOLDEN_TOLERANCE, Session, verify
from gateway.types import Matrix

TEXTS = 8
ROOM = GOLDEN_TOLERANCE / 2
"""How far a precision may be from the reference here, so that as much is left for the machine that it is served on."""
ON_CPU: tuple[Precision, ...] = ("int8", "fp32")


def choose(
    texts: Sequence[str], labels: Sequence[str], reference: Matrix, served: Mapping[Precision, Matrix]
) -> tuple[GoldenPart, ...]:
    """The texts of which the reference is surest, among those that all that is `served` answers as it does.

    `reference` and each of `served` are probabilities [texts, labels].
    """
    best, sure = reference.argmax(axis=1), reference.max(axis=1)
    same = np.ones(len(texts), bool)
    for probabilities in served.values():
        same &= (probabilities.argmax(axis=1) == best) & (np.abs(probabilities.max(axis=1) - sure) <= ROOM)
    surest = [row for row in np.argsort(-sure, kind="stable") if same[row]][:TEXTS]
    return tuple(
        GoldenPart(text=texts[row], label=labels[int(best[row])], probability=round(float(sure[row]), 4))
        for row in surest
    )


def check(folder: Path) -> None:
    """Load the bundle as a server would, and ask it. Raises BundleInvalid, DeviceUnavailable or InferenceFailed."""
    made = bundles.load(folder)
    tokenization = Tokenization(made.path(bundles.TOKENIZER), made.manifest.max_tokens)
    for precision in ON_CPU:
        verify(Session(made, precision, "cpu", 1), made, tokenization)
