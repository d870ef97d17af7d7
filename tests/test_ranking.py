"""Measures of a ranking: each against its definition, worked out the slow way, and for many resamples at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cascade import measures
from gateway.forge import ranking
from gateway.forge.evaluate import coverage_at_risk
from gateway.types import Matrix

ROWS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1, width=32), st.booleans()),
    min_size=2,
    max_size=30,
)


def given_rows(rows: list[tuple[float, bool]]) -> tuple[Matrix, ranking.Flags, ranking.Floats]:
    """Scores, flags with at least one of each, and equal weights."""
    score = np.array([one for one, _ in rows], np.float32)
    flag = np.array([one for _, one in rows], bool)
    flag[0], flag[-1] = True, False
    return score, flag, np.full(len(score), 1 / len(score))


@given(ROWS)
def test_auroc_is_that_of_the_serving_code(rows: list[tuple[float, bool]]) -> None:
    score, outside, weight = given_rows(rows)
    wanted = measures.auroc(score[~outside], score[outside])
    assert ranking.auroc(score, outside, weight) == pytest.approx(wanted, abs=1e-6)


@given(ROWS, st.sampled_from([0.0, 0.05, 0.3, 1.0]))
def test_coverage_is_never_above_that_of_questions_one_by_one(rows: list[tuple[float, bool]], risk: float) -> None:
    """Questions of one score are accepted together here, and may be divided there."""
    score, wrong, weight = given_rows(rows)
    found = float(ranking.coverage_at_risk(score, wrong, weight, risk))
    assert found <= coverage_at_risk(score, ~wrong, risk) + 1e-9 or len(set(score.tolist())) < len(score)
    if len(set(score.tolist())) == len(score):
        assert found == pytest.approx(coverage_at_risk(score, ~wrong, risk))


@given(ROWS)
def test_augrc_is_the_mean_of_what_is_answered_and_wrong(rows: list[tuple[float, bool]]) -> None:
    _, wrong, weight = given_rows(rows)
    score = np.linspace(1, 0, len(wrong))
    joint = np.concatenate([[0.0], np.cumsum(wrong) / len(wrong)])
    wanted = np.mean((joint[1:] + joint[:-1]) / 2)  # trapezoids between whole questions
    assert ranking.augrc(score, wrong, weight) == pytest.approx(wanted)


def test_augrc_of_a_score_that_says_nothing_is_half_of_the_error() -> None:
    wrong = np.array([True, False, False, False])
    assert ranking.augrc(np.zeros(4), wrong, np.full(4, 0.25)) == pytest.approx(0.125)


def test_aupr_is_the_mean_precision_at_each_outsider() -> None:
    score, outside = np.array([0.1, 0.2, 0.3, 0.9]), np.array([True, False, True, False])
    assert ranking.aupr(score, outside, np.full(4, 0.25)) == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_fpr95_looks_where_95_percent_of_what_is_inside_is_accepted() -> None:
    inside, outside = np.linspace(0.2, 1, 100), np.array([0.1, 0.22, 0.5, 0.25])
    score, flags = np.concatenate([inside, outside]), np.arange(104) >= 100
    assert ranking.fpr95(score, flags, np.ones(104)) == pytest.approx(2 / 4)  # 95 of 100 lie at or above 0.24


@pytest.mark.parametrize("measure", [ranking.auroc, ranking.aupr, ranking.fpr95, ranking.augrc])
def test_a_weight_counts_as_so_many_questions(measure: object) -> None:
    assert callable(measure)
    chance = np.random.default_rng(0)
    score, flag, counts = chance.random(20), np.arange(20) % 2 == 0, chance.integers(1, 4, 20)
    alone = measure(np.repeat(score, counts), np.repeat(flag, counts), np.ones(counts.sum()))
    assert measure(score, flag, counts.astype(float)) == pytest.approx(alone)
    both = measure(score, flag, np.stack([counts.astype(float), np.ones(20)]))
    assert both == pytest.approx([float(alone), float(measure(score, flag, np.ones(20)))])
