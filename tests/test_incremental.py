"""Fitting a last layer for more labels: the slope is the loss's, new labels are learned, and old ones are kept."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.forge import incremental
from gateway.forge.head import Head
from gateway.forge.incremental import Lessons
from gateway.forge.recipes import ExtendSection
from gateway.types import Matrix

WIDTH, OLD, NEW = 24, 4, 3
PLACES = np.array([0, 2, 3, 6])
"""Of the old labels among all seven."""
CENTRES = np.asarray(3 * np.random.default_rng(0).normal(size=(OLD + NEW, WIDTH)), np.float32)


def drawn(labels: list[int], each: int, seed: int) -> tuple[Matrix, np.ndarray]:
    chance = np.random.default_rng(seed)
    numbers = np.repeat(labels, each)
    return np.asarray(CENTRES[numbers] + 2 * chance.normal(size=(len(numbers), WIDTH)), np.float32), numbers


@pytest.fixture
def lessons() -> Lessons:
    before, numbers = drawn(PLACES.tolist(), 60, seed=1)
    head = Head.fit(before / np.float32(20), np.searchsorted(PLACES, numbers), OLD)
    head = Head(head.weight / np.float32(20), head.bias)
    inside, labels = drawn(list(range(OLD + NEW)), 40, seed=2)
    outliers = np.asarray(5 * np.random.default_rng(3).normal(size=(50, WIDTH)), np.float32)
    return Lessons(inside, labels, outliers, head, PLACES, OLD + NEW)


def accuracy(head: Head, labels: list[int]) -> float:
    texts, wanted = drawn(labels, 200, seed=4)
    return float((head(texts).argmax(axis=1) == wanted).mean())


def test_the_slope_is_that_of_the_loss(lessons: Lessons) -> None:
    chance = np.random.default_rng(5)
    start = np.zeros((WIDTH + 1, OLD + NEW), np.float32)
    loss = incremental._Loss.of(lessons, ExtendSection(ridge=0.01), start)
    at, way = chance.normal(scale=0.1, size=start.size), chance.normal(size=start.size)
    step = 1e-2 * way
    measured = (loss(at + step)[0] - loss(at - step)[0]) / 2
    assert measured == pytest.approx(float(loss(at)[1] @ step), rel=0.02)


def test_new_labels_are_learned_and_old_ones_kept(lessons: Lessons) -> None:
    head = incremental.fit(lessons, ExtendSection())
    old = PLACES.tolist()
    assert head.weight.shape == (WIDTH, OLD + NEW)
    assert accuracy(head, [1, 4, 5]) > 0.9
    texts, wanted = drawn(old, 200, seed=4)
    before = float((PLACES[lessons.before(texts).argmax(axis=1)] == wanted).mean())
    assert accuracy(head, old) > before - 0.05


def test_memory_keeps_what_the_parent_says_of_its_labels(lessons: Lessons) -> None:
    """Among the old labels alone, the more so the more it weighs."""
    texts, _ = drawn(PLACES.tolist(), 200, seed=6)

    def away(memory: float) -> float:
        said = incremental.fit(lessons, ExtendSection(memory=memory))(texts)[:, PLACES]
        shown = [np.exp(one - np.logaddexp.reduce(one, axis=1, keepdims=True)) for one in (said, lessons.before(texts))]
        return float(np.abs(shown[0] - shown[1]).mean())

    assert away(30.0) < 0.7 * away(0.0)


def test_an_outlier_is_like_no_label(lessons: Lessons) -> None:
    def surest(weight: float) -> float:
        said = incremental.fit(lessons, ExtendSection(outlier_weight=weight))(lessons.outliers)
        return float(np.exp(said.max(axis=1) - np.logaddexp.reduce(said, axis=1)).mean())

    assert surest(2.0) < 0.8 * surest(0.0)


def test_a_fit_is_the_same_each_time(lessons: Lessons) -> None:
    one, other = (incremental.fit(lessons, ExtendSection()) for _ in range(2))
    assert np.array_equal(one.weight, other.weight)


def test_labels_find_their_places() -> None:
    assert incremental.places(["b", "d"], ["a", "b", "c", "d"]).tolist() == [1, 3]
    with pytest.raises(ValueError, match="no question of d"):
        incremental.places(["b", "d"], ["a", "b"])
