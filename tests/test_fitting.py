"""Fitting a collection's own confidence: what it learns, how it is measured, where its threshold lies, and when not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cascade.confidence import CollectionCalibration, features
from gateway.cascade.fitting import LEAST_ANSWERS, TooLittle, Tried, fit, held_out, logistic, lowest
from gateway.cascade.policy import NEVER


def tried(count: int = 200, seed: int = 0, signal: float = 1.0) -> list[Tried]:
    """The better the first hit's score, the more often it is right; of those that are not, half have no answer."""
    chance = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        cosine, word = chance.uniform(0.2, 0.8), chance.uniform(0, 0.8)
        is_right = bool(chance.uniform() < 1 / (1 + np.exp(-signal * (12 * (cosine - 0.5) + 6 * (word - 0.4)))))
        rest = [(float(cosine + word - 0.1 - at / 50), 0.2) for at in range(9)]
        made.append(Tried(((float(cosine + word), float(cosine)), *rest), is_right, is_right or chance.uniform() < 0.5))
    return made


def test_features_are_of_the_first_hit_and_of_its_lead() -> None:
    assert features([(1.2, 0.7), (1.0, 0.9), (0.4, 0.1)]) == pytest.approx((0.7, 0.5, 0.2, 0.5))
    assert features([(1.2, 0.7)]) == pytest.approx((0.7, 0.5, 1.2, 1.2))
    many = [(1.2, 0.7), *[(0.2, 0.1)] * 9, (9.0, 9.0)]
    assert features(many) == features(many[:10])


def test_a_regression_is_where_its_slope_is_nought() -> None:
    chance = np.random.default_rng(3)
    rows = chance.normal(size=(300, 4)) * [1, 5, 0.1, 1] + [0, 3, 0, -2]
    target = chance.uniform(size=300) < 1 / (1 + np.exp(-rows[:, 0] - 0.2 * rows[:, 1]))
    found = logistic(rows, target)
    probability = np.array([found.of(row) for row in rows.tolist()])
    standard = (rows - found.centre) / found.scale
    assert probability.sum() == pytest.approx(target.sum())  # the bias is not held back
    assert standard.T @ (target - probability) == pytest.approx(found.weights, abs=1e-6)


@pytest.mark.parametrize("gap", [0.01, 100.0])
def test_what_a_line_divides_is_not_believed_for_certain(gap: float) -> None:
    rows = np.array([[-gap], [gap]] * 20)
    found = logistic(rows, rows[:, 0] > 0)
    assert 0.9 < found.of([gap]) < 0.999


def test_a_feature_that_is_always_the_same_does_no_harm() -> None:
    rows = np.column_stack([np.linspace(0, 1, 40), np.full(40, 0.3)])
    assert np.isfinite(logistic(rows, rows[:, 0] + np.tile([0.3, -0.3], 20) > 0.5).weights).all()


def test_a_confidence_is_fitted_and_measured_on_others() -> None:
    confidence, report = fit(tried(), 0.8, "mini")
    assert (confidence.questions, confidence.precision, confidence.scored_by) == (200, 0.8, "mini")
    assert report.auroc > 0.8
    assert report.ece < 0.15
    assert 0 < confidence.threshold < 1
    assert report.reached >= 0.8
    assert report.coverage * 200 >= LEAST_ANSWERS
    sure = CollectionCalibration(confidence)
    others = tried(2000, seed=1)
    answered = [one for one in others if sure.confidence(one.found) >= confidence.threshold]
    assert np.mean([one.is_right for one in answered]) > 0.74
    assert [one.questions for one in report.bins] == [40] * 5
    assert [one.low for one in report.bins] == sorted(one.low for one in report.bins)


def test_what_tells_nothing_is_not_sure_on_folds_that_it_has_not_seen() -> None:
    confidence, report = fit(tried(100, signal=0.0), 0.9, "mini")
    assert abs(report.auroc - 0.5) < 0.2
    assert (confidence.threshold, report.coverage, report.reached, report.strays) == (NEVER, 0, 0, 0)


def test_the_same_questions_come_to_the_same() -> None:
    assert fit(tried(), 0.8, "mini") == fit(tried(), 0.8, "mini")


def test_a_question_has_no_part_in_its_own_confidence() -> None:
    rows = np.linspace(0, 1, 50)[:, None]
    right = np.array([at % 3 > 0 for at in range(50)])
    before = held_out(rows, right)
    moved = rows.copy()
    moved[7] = 0.5
    after = held_out(moved, right)
    own_fold = np.flatnonzero(np.isclose(before, after, rtol=0, atol=0))
    assert len(own_fold) == 9  # the others of its fold are judged by the same as before
    assert 7 not in own_fold


def test_of_what_nothing_is_found_for_nothing_is_answered() -> None:
    nothing = [Tried((), False, True)] * 40
    confidence, report = fit([*tried(), *nothing], 0.8, "mini")
    alone, _ = fit(tried(), 0.8, "mini")
    assert (confidence.weights, confidence.threshold) == (alone.weights, alone.threshold)
    assert report.questions == 240
    assert CollectionCalibration(confidence).confidence([]) == 0.0


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9]), st.booleans()), min_size=1, max_size=60),
    st.sampled_from([0.5, 0.8, 1.0]),
)
def test_the_threshold_is_the_lowest_that_reaches_the_precision(rows: list[tuple[float, bool]], wanted: float) -> None:
    sure, right = np.array([one for one, _ in rows]), np.array([one for _, one in rows])

    def reaches(threshold: float) -> bool:
        answered = sure >= threshold
        return int(answered.sum()) >= LEAST_ANSWERS and right[answered].mean() >= wanted

    expected = [one for one in sorted(set(sure.tolist())) if one > 0 and reaches(one)]
    assert lowest(sure, right, wanted) == (expected[0] if expected else NEVER)


@pytest.mark.parametrize(
    ("some", "said"),
    [
        (tried(29), "29 questions are too few: it takes 30"),
        ([replace(one, is_right=True) for one in tried(40)], "wrong for none of 40 questions"),
        ([replace(one, is_right=False) for one in tried(40)], "right for none of 40 questions"),
        ([replace(one, is_right=at < 4) for at, one in enumerate(tried(40))], "right for 4 of 40 questions"),
    ],
)
def test_what_does_not_tell_enough_is_refused(some: list[Tried], said: str) -> None:
    with pytest.raises(TooLittle, match=said):
        fit(some, 0.8, "mini")
