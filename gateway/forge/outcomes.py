"""What a bundle made of the questions that trained nothing: all that a certificate is made from, and no text.

They lie in the bundle, one file for each precision, so that it can be certified anew without the data: for another
risk, another assurance or another share out of scope.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.forge.certify import Flags, Sample
from gateway.types import Matrix

TYPE = np.dtype([("part", "u1"), ("label", "<i2"), ("predicted", "<i2"), ("alone", "<f4"), ("informed", "<f4")])
"""A question: its part, the numbers of its label (NO_LABEL where no label is right) and of the model's, and how sure
the model is without and with a search; not a number where it has no confidence with a search."""
NO_LABEL = -1
CONFIDENCES = ("alone", "informed")


class Part(enum.IntEnum):
    """What the questions are used for. Outliers are those of CALIBRATE and CERTIFY without a label; UNSEEN are of
    intents that the model does not know, which certify nothing."""

    DEV = 0
    CALIBRATE = 1
    CERTIFY = 2
    UNSEEN = 3


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Rows of TYPE, of one precision."""

    rows: NDArray[Any]

    @property
    def has_informed(self) -> bool:
        return not np.isnan(self.rows["informed"]).any()

    @property
    def confidences(self) -> tuple[str, ...]:
        return CONFIDENCES if self.has_informed else CONFIDENCES[:1]

    def inside(self, *parts: Part) -> NDArray[Any]:
        """The rows in scope."""
        return self._of(parts, is_inside=True)

    def outside(self, *parts: Part) -> NDArray[Any]:
        """The rows without a label."""
        return self._of(parts, is_inside=False)

    def sample(self, confidence: str, *parts: Part) -> Sample:
        """By `confidence`, which is one of CONFIDENCES."""
        inside, outside = self.inside(*parts), self.outside(*parts)
        return Sample(inside[confidence], is_right(inside), outside[confidence])

    def _of(self, parts: Sequence[Part], is_inside: bool) -> NDArray[Any]:
        found = np.isin(self.rows["part"], parts) & ((self.rows["label"] != NO_LABEL) == is_inside)
        return self.rows[found]


def is_right(rows: NDArray[Any]) -> Flags:
    """[rows]"""
    return np.asarray(rows["label"] == rows["predicted"])


def rows(part: Part, labels: NDArray[np.int64], logits: Matrix, alone: Matrix, informed: Matrix | None) -> NDArray[Any]:
    """Rows of TYPE for questions of one part: `labels` [n], `logits` [n, labels], and the two confidences [n]."""
    made = np.empty(len(labels), TYPE)
    made["part"], made["label"] = part, labels
    made["predicted"] = logits.argmax(axis=1)
    made["alone"] = alone
    made["informed"] = np.nan if informed is None else informed
    return made


def write(path: Path, outcomes: Outcomes) -> None:
    np.save(path, outcomes.rows, allow_pickle=False)


def read(path: Path) -> Outcomes:
    """ValueError, naming the file, where it holds anything else."""
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    if not isinstance(rows, np.ndarray) or rows.dtype != TYPE or rows.ndim != 1:
        raise ValueError(f"{path}: holds no outcomes of questions: make them anew, gateway certify --ask-again")
    return Outcomes(rows)
