"""Calibration at run time: the features and probabilities, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.cascade.calibration import (
    CERTAIN,
    EVIDENCE_FEATURES,
    MODEL_FEATURES,
    Confidence,
    EvidenceCalibration,
    Logistic,
    ModelCalibration,
    energy,
    evidence_features,
    model_features,
    softmax,
)
from gateway.types import Matrix, Pass

PLAIN = Logistic(weights=(1.0,), bias=0.0, centre=(0.0,), scale=(1.0,))


def matrix(*rows: tuple[float, ...]) -> Matrix:
    return np.array(rows, np.float32)


def features(*logits: float, temperature: float = 1.0) -> dict[str, float]:
    """The features of one question whose embedding is the first axis; label k's prototype is axis k."""
    prototypes = np.eye(len(logits), dtype=np.float32)[:, None]
    row = model_features(matrix(logits), np.eye(len(logits), dtype=np.float32)[:1], prototypes, temperature)[0]
    return dict(zip(MODEL_FEATURES, row.tolist(), strict=True))


@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
def test_softmax_is_safe_for_logits_of_any_size(shift: float) -> None:
    found = softmax(matrix((shift, shift + 1, shift + 2)))
    assert found[0].tolist() == pytest.approx([0.09003, 0.24473, 0.66524], abs=1e-4)


def test_softmax_gives_nothing_to_a_label_that_is_struck_out() -> None:
    assert softmax(matrix((1.0, -np.inf)))[0].tolist() == [1.0, 0.0]


def test_logistic_is_the_sigmoid_of_the_standardised_sum() -> None:
    logistic = Logistic(weights=(2.0, -1.0), bias=0.5, centre=(1.0, 2.0), scale=(2.0, 4.0))
    activation = 2.0 * (3.0 - 1.0) / 2.0 - 1.0 * (6.0 - 2.0) / 4.0 + 0.5
    assert float(logistic(matrix((3.0, 6.0)))[0]) == pytest.approx(1 / (1 + math.exp(-activation)))


@pytest.mark.parametrize(("value", "probability"), [(1e6, 1.0), (-1e6, 0.0)])
def test_logistic_does_not_overflow(value: float, probability: float) -> None:
    assert float(PLAIN(matrix((value,)))[0]) == pytest.approx(probability)


def test_model_features_have_one_column_for_each_name() -> None:
    found = model_features(
        np.zeros((4, 3), np.float32), np.ones((4, 5), np.float32), np.ones((3, 2, 5), np.float32), 1.0
    )
    assert found.shape == (4, len(MODEL_FEATURES))
    assert found.dtype == np.float32


def test_model_features_match_a_hand_computation() -> None:
    found = features(2.0, 0.0, 0.0)
    p = math.exp(2) / (math.exp(2) + 2)
    assert found["log_odds"] == pytest.approx(math.log(p / (1 - p)), rel=1e-5)
    assert (found["prototype"], found["prototype_gap"]) == (1.0, 1.0)


def test_temperature_divides_the_logits_and_multiplies_the_energy_back() -> None:
    p = math.e / (math.e + 2)
    assert features(2.0, 0.0, 0.0, temperature=2.0)["log_odds"] == pytest.approx(math.log(p / (1 - p)), rel=1e-5)
    assert float(energy(matrix((2.0, 0.0, 0.0)), 2.0)[0]) == pytest.approx(2 * math.log(math.e + 2), rel=1e-5)


def test_log_odds_stay_finite_for_a_certain_label() -> None:
    found = features(1e4, 0.0, 0.0)
    assert math.isfinite(found["log_odds"])
    assert found["log_odds"] > features(10.0, 0.0, 0.0)["log_odds"]


def test_the_prototype_gap_is_negative_where_another_label_lies_nearer() -> None:
    found = features(0.0, 2.0, 0.0)
    assert (found["prototype"], found["prototype_gap"]) == (0.0, -1.0)


def test_the_nearest_of_a_label_s_prototypes_counts() -> None:
    prototypes = np.array([[[1, 0], [0, 1]], [[0, -1], [0, -1]]], np.float32)
    found = model_features(matrix((1.0, 0.0)), matrix((0.0, 1.0)), prototypes, 1.0)[0]
    assert found[MODEL_FEATURES.index("prototype")] == 1.0


def test_a_single_label_leads_by_a_constant() -> None:
    found = model_features(
        matrix((3.0,), (-50.0,)), matrix((0.6, 0.8), (1.0, 0.0)), np.array([[[1, 0]]], np.float32), 2.0
    )
    named = dict(zip(MODEL_FEATURES, found.T.tolist(), strict=True))
    assert named["log_odds"] == pytest.approx([CERTAIN] * 2, rel=1e-3)
    assert named["prototype_gap"] == pytest.approx([1.6, 2.0])


def test_scope_is_judged_by_the_nearest_prototype_with_equality_inside() -> None:
    calibration = ModelCalibration(1.0, 0.5, np.ones((2, 1, 2), np.float32), Confidence(PLAIN, PLAIN, PLAIN))
    assert [calibration.in_scope((0.0, near, 0.0)) for near in (0.49, 0.5, 0.51)] == [False, True, True]


def test_evidence_features_lead_over_the_second_and_over_the_mean() -> None:
    found = evidence_features([0.9, 0.7, 0.5])
    assert len(found) == len(EVIDENCE_FEATURES)
    assert found == pytest.approx((0.9, 0.2, 0.3))


def test_a_single_hit_leads_over_nothing() -> None:
    assert evidence_features([0.4]) == pytest.approx((0.4, 0.4, 0.4))


def test_evidence_beyond_the_depth_changes_nothing() -> None:
    first = [0.9, 0.7, 0.5, 0.4, 0.3]
    assert evidence_features([*first, 0.2]) == evidence_features(first)


def test_no_evidence_has_features_of_zero() -> None:
    assert evidence_features([]) == (0.0, 0.0, 0.0)


def test_no_evidence_is_no_confidence() -> None:
    sure = EvidenceCalibration(Logistic((0.0,) * 3, 20.0, (0.0,) * 3, (1.0,) * 3))
    assert sure.confidence([]) == 0.0
    assert sure.confidence([0.1]) == pytest.approx(1.0)


def test_confidence_is_the_product_of_being_right_and_being_in_scope() -> None:
    even = Logistic(weights=(1.0, 0.0), bias=0.0, centre=(0.0, 0.0), scale=(1.0, 1.0))
    confidence = Confidence(right=even, scope=PLAIN, joint=PLAIN)
    features = np.zeros((2, len(MODEL_FEATURES)), np.float32)
    features[:, MODEL_FEATURES.index("log_odds")] = (math.log(9), math.log(9))
    features[:, MODEL_FEATURES.index("prototype")] = (0.0, math.log(4))
    assert confidence(features).tolist() == pytest.approx([0.9 * 0.5, 0.9 * 0.8], abs=1e-5)


def test_confidence_stays_finite_where_it_is_certain() -> None:
    certain = Logistic(weights=(0.0, 0.0), bias=40.0, centre=(0.0, 0.0), scale=(1.0, 1.0))
    sure = Logistic(weights=(0.0,), bias=40.0, centre=(0.0,), scale=(1.0,))
    found = Confidence(certain, sure, PLAIN)(np.zeros((1, len(MODEL_FEATURES)), np.float32))
    assert 0.99 < float(found[0]) <= 1


def test_a_pass_is_read_once_and_as_question_by_question() -> None:
    chance = np.random.default_rng(3)
    prototypes = chance.normal(size=(4, 3, 8)).astype(np.float32)
    calibration = ModelCalibration(1.7, 0.5, prototypes, Confidence(PLAIN, PLAIN, PLAIN))
    logits, embeddings = (chance.normal(size=(5, width)).astype(np.float32) for width in (4, 8))
    forward = Pass(logits, embeddings)
    reading = calibration.read(forward)
    assert calibration.read(forward) is reading
    assert reading.best == logits.argmax(axis=1).tolist()
    assert np.array(reading.features) == pytest.approx(calibration.features(logits, embeddings), abs=1e-6)
    assert reading.probabilities == pytest.approx(calibration.probabilities(logits), abs=1e-6)
    for row in range(5):
        alone = calibration.read(Pass(logits[row : row + 1], embeddings[row : row + 1]))
        assert alone.features[0] == pytest.approx(reading.features[row], abs=1e-5)
