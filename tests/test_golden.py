"""Golden answers: only what every precision says alike, and what the finished bundle really answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gateway.errors import InferenceFailed
from gateway.forge import golden
from gateway.model.bundle import GoldenPart
from gateway.types import Matrix
from tests import tiny

TEXTS, LABELS = ("a", "b", "c"), ("x", "y")
REFERENCE = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], np.float32)


def moved(by: float) -> Matrix:
    return np.asarray(REFERENCE + np.array([[by, -by], [0, 0], [0, 0]]), np.float32)


def test_the_surest_come_first() -> None:
    found = golden.choose(TEXTS, LABELS, REFERENCE, {"int8": REFERENCE})
    assert [(one.text, one.label, one.probability) for one in found] == [
        ("a", "x", 0.9),
        ("b", "y", 0.8),
        ("c", "y", 0.7),
    ]


@pytest.mark.parametrize(
    "other", [moved(-0.06), moved(0.06), REFERENCE[:, ::-1] * [[1], [0], [0]] + REFERENCE * [[0], [1], [1]]]
)
def test_a_text_on_which_a_precision_differs_is_left_out(other: Matrix) -> None:
    found = golden.choose(TEXTS, LABELS, REFERENCE, {"int8": REFERENCE, "fp16": other})
    assert [one.text for one in found] == ["b", "c"]


def test_half_of_the_tolerance_is_left_for_the_machine() -> None:
    assert len(golden.choose(TEXTS, LABELS, REFERENCE, {"int8": moved(0.04)})) == 3


def test_a_bundle_that_answers_as_it_was_made_to_passes(tmp_path: Path) -> None:
    golden.check(tiny.write(tmp_path / "tiny"))


def test_a_bundle_that_does_not_is_refused(tmp_path: Path) -> None:
    wrong = (GoldenPart(text="word1", label="red", probability=0.01),)
    with pytest.raises(InferenceFailed):
        golden.check(tiny.write(tmp_path / "tiny", golden=wrong))
