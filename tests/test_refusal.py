"""Refusing as out of scope: the threshold that does best on questions to develop by, and what it gives on others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.forge import refusal
from gateway.forge.certify import Sample

SURE = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1, width=32)


def sample(inside: list[tuple[float, bool]], outside: list[float]) -> Sample:
    return Sample(
        np.array([sure for sure, _ in inside], np.float32),
        np.array([right for _, right in inside], bool),
        np.array(outside, np.float32),
    )


def gain(developed: Sample, at: float, oos_share: float) -> float:
    """The share that is right at a threshold, by its definition."""
    inside = float((developed.right & (developed.confidence >= at)).mean())
    outside = float((developed.outside < at).mean()) if len(developed.outside) else 0.0
    return (1 - oos_share) * inside + oos_share * outside


@given(
    st.lists(st.tuples(SURE, st.booleans()), min_size=1, max_size=20),
    st.lists(SURE, max_size=20),
    st.sampled_from([0.0, 0.1, 0.5, 0.9]),
)
def test_no_threshold_among_the_confidences_does_better(
    inside: list[tuple[float, bool]], outside: list[float], oos_share: float
) -> None:
    developed = sample(inside, outside)
    found = refusal.threshold(developed, oos_share)
    tried = [*developed.confidence.tolist(), *developed.outside.tolist()]
    assert found in tried
    assert gain(developed, found, oos_share) == pytest.approx(max(gain(developed, at, oos_share) for at in tried))


def test_the_more_is_out_of_scope_the_stricter() -> None:
    developed = sample([(0.9, True), (0.5, True), (0.2, False)], [0.1, 0.6, 0.7])
    assert refusal.threshold(developed, 0.1) == pytest.approx(0.5)
    assert refusal.threshold(developed, 0.5) == pytest.approx(0.9)


def test_who_is_refused_in_scope_is_not_answered_rightly() -> None:
    confidence = np.array([0.9, 0.8, 0.4, 0.3], np.float32)
    right = np.array([True, False, True, True])
    outside = {"near": np.array([0.4, 0.39], np.float32), "far": np.array([0.1], np.float32)}
    found = refusal.measure(0.4, confidence, right, outside)
    assert found == {"threshold": 0.4, "accuracy": 0.5, "recall": {"near": 0.5, "far": 1.0}}
