"""Scores of being in scope: each on points where its value is plain to see, and for labels that do not exist."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.forge import scores
from gateway.forge.calibrate import Outputs
from gateway.forge.head import Head
from gateway.forge.scores import Trained
from gateway.types import Matrix

DIM, LABELS, EACH = 8, 3, 40


def around(axis: int, count: int, seed: int, spread: float = 0.1) -> Matrix:
    points = np.random.default_rng(seed).normal(scale=spread, size=(count, DIM))
    points[:, axis] += 1
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def trained() -> Trained:
    embedding = np.concatenate([around(label, EACH, label) for label in range(LABELS)])
    return Trained.of(embedding, np.repeat(np.arange(LABELS), EACH), LABELS, seed=0)


def logits(embedding: Matrix) -> Matrix:
    return np.asarray(8 * embedding[:, :LABELS], np.float32)


@pytest.mark.parametrize("column", range(len(scores.DISTANCES)))
def test_every_distance_tells_what_is_near_from_what_is_far(trained: Trained, column: int) -> None:
    near, far = around(1, 20, 9), around(6, 20, 9)
    inside = scores.distances(trained, logits(near), near)[:, column]
    outside = scores.distances(trained, logits(far), far)[:, column]
    assert np.median(inside) > outside.max()


def test_the_words_are_those_of_the_softmax() -> None:
    (found,) = scores.words(np.log(np.array([[0.7, 0.2, 0.1]], np.float32)), 1.0).tolist()
    assert found == pytest.approx([np.log(0.7 / 0.3), 0.5, 0.0], abs=1e-6)


def test_a_radius_minimises_the_loss_of_adaptive_boundaries(trained: Trained) -> None:
    own = np.linalg.norm(trained.embedding[:EACH] - trained.means[0], axis=1)
    radii = np.append(np.linspace(own.min(), own.max(), 200), trained.radii[0])
    losses = np.abs(own[:, None] - radii).mean(axis=0)
    assert losses[-1] == pytest.approx(losses.min(), abs=1e-5)


def test_half_of_a_labels_questions_lie_inside_its_boundary(trained: Trained) -> None:
    assert (scores.adaptive_boundary(trained, trained.embedding) >= 0).mean() == pytest.approx(0.5, abs=0.1)


def test_whitening_makes_the_shrunk_covariance_the_identity(trained: Trained) -> None:
    within = trained.embedding - trained.means[trained.labels]
    covariance = within.T @ within / len(within)
    shrunk = (1 - scores.SHRINKAGE) * covariance + scores.SHRINKAGE * np.trace(covariance) / DIM * np.eye(DIM)
    assert trained.whitening.T @ shrunk @ trained.whitening == pytest.approx(np.eye(DIM), abs=1e-3)


def test_without_its_label_a_question_is_far_and_the_word_on_it_weaker(trained: Trained) -> None:
    own = around(1, 20, 9)
    asked = Outputs(logits(own), own, np.full(20, 1))
    plain, masked = scores.distances(trained, asked.logits, own), scores.masked_distances(trained, asked)
    assert (np.delete(masked, -1, axis=1) < np.delete(plain, -1, axis=1)).all()
    assert (scores.words(scores.struck(asked), 1.0)[:, 0] < scores.words(asked.logits, 1.0)[:, 0]).all()
    assert np.isfinite(scores.words(scores.struck(asked), 1.0)).all()


def test_a_label_without_questions_is_refused() -> None:
    with pytest.raises(ValueError, match="no training question"):
        Trained.of(around(0, 5, 0), np.zeros(5, np.int64), 2, seed=0)


def test_a_head_learns_labels_that_are_apart() -> None:
    labels = np.repeat(np.arange(LABELS), EACH)
    head = Head.fit(np.concatenate([around(label, EACH, label) for label in range(LABELS)]), labels, LABELS)
    fresh = np.concatenate([around(label, 20, 10 + label) for label in range(LABELS)])
    assert (head(fresh).argmax(axis=1) == np.repeat(np.arange(LABELS), 20)).mean() > 0.95
    assert head(fresh).shape == (60, LABELS)
