"""Fitting the confidence: known truths are recovered from data that was drawn by them."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.cascade.calibration import MODEL_FEATURES, model_features, softmax
from gateway.forge.calibrate import (
    PROTOTYPES,
    Outputs,
    logistic,
    masked_features,
    prototypes,
    shares,
    temperature,
)
from gateway.types import Matrix

LABELS = 4


def unit(rows: Matrix) -> Matrix:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def drawn(count: int, scale: float, seed: int = 0) -> Outputs:
    """Questions whose labels are drawn by the softmax of their logits, which are then multiplied by `scale`."""
    chance = np.random.default_rng(seed)
    logits = chance.normal(scale=2, size=(count, LABELS)).astype(np.float32)
    shuffled = logits + chance.gumbel(size=logits.shape)  # its argmax is a draw from the softmax
    embedding = unit(chance.normal(size=(count, 8)).astype(np.float32))
    return Outputs(np.float32(scale) * logits, embedding, shuffled.argmax(axis=1).astype(np.int64))


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_temperature_recovers_a_known_scale(scale: float) -> None:
    assert temperature(drawn(4000, scale)) == pytest.approx(scale, rel=0.1)


def test_right_is_where_the_best_label_is_the_true_one() -> None:
    outputs = Outputs(np.eye(3, dtype=np.float32), np.ones((3, 2), np.float32), np.array([0, 2, -1]))
    assert outputs.right.tolist() == [True, False, False]


def test_logistic_recovers_the_slopes_that_drew_the_data() -> None:
    chance = np.random.default_rng(1)
    features = chance.normal(loc=(5, -3), scale=(2, 0.5), size=(6000, 2)).astype(np.float32)
    truth = 1 / (1 + np.exp(-(2 * (features[:, 0] - 5) / 2 - (features[:, 1] + 3) / 0.5 + 0.5)))
    fitted = logistic(features, chance.random(6000) < truth, np.ones(6000))
    assert fitted.centre == pytest.approx((5, -3), abs=0.1)
    assert fitted.scale == pytest.approx((2, 0.5), rel=0.05)
    assert np.abs(fitted(features) - truth).mean() < 0.03


def test_logistic_stays_finite_where_one_direction_separates() -> None:
    features = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
    fitted = logistic(features, features[:, 0] > 0, np.ones(40))
    found = fitted(features)
    assert np.isfinite(fitted.weights).all()
    assert (np.diff(found) > 0).all()
    assert found[0] < 0.05 < 0.95 < found[-1]


def test_a_question_without_weight_decides_nothing() -> None:
    features = np.array([[-1.0], [1.0], [-1.0], [1.0]], np.float32)
    target = np.array([False, True, True, False])
    fitted = logistic(features, target, np.array([1.0, 1.0, 0.0, 0.0]))
    assert fitted(features[:2]).tolist() == pytest.approx(
        logistic(features[:2], target[:2], np.ones(2))(features[:2]).tolist(), abs=1e-3
    )


def test_a_feature_that_never_varies_does_no_harm() -> None:
    features = np.array([[-1, 7], [1, 7], [-2, 7], [2, 7]], np.float32)
    fitted = logistic(features, np.array([False, True, False, True]), np.ones(4))
    assert np.isfinite(fitted(features)).all()


def test_masked_features_are_those_of_a_model_without_the_label() -> None:
    outputs = drawn(12, 1.0, seed=3)
    centres = unit(np.random.default_rng(4).normal(size=(LABELS, 2, 8)).astype(np.float32))
    found = masked_features(outputs, centres, 2.0)
    order = np.argsort(outputs.labels, kind="stable")
    for row, question in zip(found, order, strict=True):
        kept = [label for label in range(LABELS) if label != outputs.labels[question]]
        expected = model_features(
            outputs.logits[question : question + 1, kept],
            outputs.embedding[question : question + 1],
            centres[kept],
            2.0,
        )
        assert row.tolist() == pytest.approx(expected[0].tolist(), rel=1e-4, abs=1e-5)


def test_a_masked_question_is_far_from_the_prototypes_that_are_left() -> None:
    centres = np.eye(LABELS, dtype=np.float32)[:, None]
    outputs = Outputs(10 * np.eye(LABELS, dtype=np.float32), np.eye(LABELS, dtype=np.float32), np.arange(LABELS))
    at = MODEL_FEATURES.index("prototype")
    assert model_features(outputs.logits, outputs.embedding, centres, 1.0)[:, at].tolist() == [1.0] * LABELS
    assert masked_features(outputs, centres, 1.0)[:, at].tolist() == [0.0] * LABELS


def test_prototypes_are_unit_vectors_for_each_label() -> None:
    chance = np.random.default_rng(5)
    labels = np.repeat(np.arange(3), (40, 8, 2))
    embedding = unit(chance.normal(size=(50, 6)).astype(np.float32))
    found = prototypes(embedding, labels, 3, seed=0)
    assert found.shape == (3, PROTOTYPES, 6)
    assert np.linalg.norm(found, axis=2).ravel().tolist() == pytest.approx([1.0] * 3 * PROTOTYPES, abs=1e-5)


def test_few_questions_are_their_own_prototypes() -> None:
    embedding = np.eye(3, dtype=np.float32)
    found = prototypes(embedding, np.array([0, 0, 1]), 2, seed=0)
    assert {tuple(one) for one in found[0].tolist()} == {(1, 0, 0), (0, 1, 0)}
    assert {tuple(one) for one in found[1].tolist()} == {(0, 0, 1)}


def test_prototypes_are_the_centres_of_what_lies_together() -> None:
    chance = np.random.default_rng(6)
    axes = np.repeat(np.eye(PROTOTYPES, dtype=np.float32), 20, axis=0)
    embedding = unit(axes + chance.normal(scale=0.02, size=axes.shape).astype(np.float32))
    found = prototypes(embedding, np.zeros(len(axes), np.int64), 1, seed=2)[0]
    nearest = (axes[::20] @ found.T).max(axis=1)
    assert np.median(nearest) > 0.99


def test_prototypes_are_the_same_for_a_seed() -> None:
    embedding = unit(np.random.default_rng(7).normal(size=(60, 5)).astype(np.float32))
    labels = np.arange(60) % 2
    assert np.array_equal(prototypes(embedding, labels, 2, seed=3), prototypes(embedding, labels, 2, seed=3))


def test_points_that_are_the_same_are_one_prototype() -> None:
    embedding = np.repeat(np.eye(3, dtype=np.float32), 20, axis=0)
    found = prototypes(embedding, np.zeros(60, np.int64), 1, seed=0)[0]
    assert found.shape == (PROTOTYPES, 3)
    assert {tuple(one) for one in found.round(3).tolist()} <= {(1, 0, 0), (0, 1, 0), (0, 0, 1)}


def test_a_label_without_questions_has_no_prototypes() -> None:
    with pytest.raises(ValueError, match="label number 1 has no training question"):
        prototypes(np.eye(3, dtype=np.float32), np.array([0, 0, 2]), 3, seed=0)


def test_two_labels_can_be_masked() -> None:
    outputs = Outputs(2 * np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), np.arange(2))
    assert np.isfinite(masked_features(outputs, np.eye(2, dtype=np.float32)[:, None], 1.0)).all()


def test_each_group_has_its_share_whatever_its_size() -> None:
    found = shares((2, 4), (0.9, 0.1))
    assert found.tolist() == pytest.approx([0.45, 0.45, 0.025, 0.025, 0.025, 0.025])


def test_an_empty_group_has_no_rows() -> None:
    assert len(shares((2, 0, 1), (0.5, 0.3, 0.2))) == 3


def test_softmax_at_the_fitted_temperature_is_as_sure_as_it_is_right() -> None:
    outputs = drawn(4000, 3.0, seed=8)
    sure = softmax(outputs.logits / np.float32(temperature(outputs))).max(axis=1)
    assert float(sure.mean()) == pytest.approx(float(outputs.right.mean()), abs=0.03)
