"""Parity: what differs is judged where the reference was sure, and one of few questions may."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gateway.forge.parity import NEAR_TIE, Parity, clear_differences

GOOD: dict[str, Any] = {
    "questions": 1000,
    "reference_difference": 1e-6,
    "agreement": {"int8": 1.0, "fp16": 1.0},
    "clear_differences": {"int8": 0, "fp16": 0},
    "packed_drift": {"int8": 0.02, "fp16": 0.001},
    "packed_flips": {"int8": 3, "fp16": 1},
    "clear_flips": {"int8": 3, "fp16": 0},
}


def problems(**over: Any) -> list[str]:
    return Parity(**(GOOD | over)).problems()


def test_near_ties_are_no_differences() -> None:
    reference = np.array([[1, 1 + NEAR_TIE / 2], [0, 1], [2, 0]], np.float32)
    assert clear_differences(reference[:, ::-1], reference) == 2
    assert clear_differences(reference, reference) == 0


def test_small_differences_are_no_problem() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("questions", "count", "fine"), [(20, 1, True), (20, 2, False), (1000, 5, True), (1000, 6, False)]
)
def test_so_many_labels_may_differ(questions: int, count: int, fine: bool) -> None:
    assert (problems(questions=questions, clear_differences={"int8": count}) == []) is fine


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"reference_difference": 1e-3}, "differs from what was trained"),
        ({"clear_flips": {"int8": 0, "fp16": 1}}, "flips 1 labels"),
        ({"packed_drift": {"int8": 0.0, "fp16": 0.02}}, "moves a probability of fp16"),
    ],
)
def test_what_is_wrong_is_said(over: dict[str, Any], said: str) -> None:
    assert said in problems(**over)[0]
