"""The paired bootstrap: groups keep their shares, the first row is everything, and intervals are as wide as theory."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.forge.resampling import estimate, weights

GROUPS = np.array(["in"] * 30 + ["near"] * 10 + ["other"] * 5)


def test_each_group_has_its_share_in_every_resample() -> None:
    found = weights(GROUPS, {"in": 0.65, "near": 0.35}, draws=50)
    assert found.shape == (51, 45)
    assert found[:, GROUPS == "in"].sum(axis=1) == pytest.approx(0.65)
    assert found[:, GROUPS == "near"].sum(axis=1) == pytest.approx(0.35)
    assert not found[:, GROUPS == "other"].any()


def test_the_first_row_is_all_questions_once() -> None:
    found = weights(GROUPS, {"in": 1.0}, draws=3)
    assert found[0, GROUPS == "in"] == pytest.approx(1 / 30)
    assert len(np.unique(found[1])) > 2


def test_a_group_without_questions_is_no_error() -> None:
    assert weights(GROUPS, {"absent": 0.5, "in": 0.5}, draws=2).sum(axis=1) == pytest.approx(0.5)


def test_the_interval_of_a_mean_is_as_wide_as_its_error() -> None:
    values = np.random.default_rng(0).normal(size=400)
    found = estimate(weights(np.full(400, "in"), {"in": 1.0}, draws=2000) @ values)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
