"""Fitting the last layer of an answer head for more labels than it had: class-incremental learning on a fixed encoder.

A multinomial logistic regression on the head's hidden layer, which begins at the parent's weights and is convex, so
there is one solution and no learning rate. Three terms: the labelled questions (cross-entropy, smoothed); what the
parent says of the questions of its own labels, among those alone (Li and Hoiem 2016, "Learning without forgetting");
and outliers, for which no label is to be likelier than another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import erf, log_softmax

from gateway.forge.graph import Weights
from gateway.forge.head import Head
from gateway.forge.recipes import ExtendSection
from gateway.types import Matrix

Flat = NDArray[np.float64]
SQRT_HALF = np.float32(np.sqrt(0.5))


def hidden(weights: Weights, pooled: Matrix) -> Matrix:
    """The answer head's hidden layer [n, width], of what it reads [n, 2 * hidden]."""
    wide = pooled @ weights["widen.weight"].T + weights["widen.bias"]
    return np.asarray(0.5 * wide * (1 + erf(wide * SQRT_HALF)), np.float32)


@dataclass(frozen=True, slots=True)
class Lessons:
    """`inside` [n, width] with their `labels` [n], and `outliers` [m, width], as the head's hidden layer has them.

    `before` is the parent's last layer, whose label i is number `places[i]` among `count` now.
    """

    inside: Matrix
    labels: NDArray[np.int64]
    outliers: Matrix
    before: Head
    places: NDArray[np.int64]
    count: int


def fit(lessons: Lessons, section: ExtendSection) -> Head:
    """The last layer for all labels, by L-BFGS from the parent's; a new label's begins at zero, with a usual bias."""
    width, old = lessons.before.weight.shape[0], lessons.places
    start = np.zeros((width + 1, lessons.count), np.float32)
    start[-1] = lessons.before.bias.mean()
    start[:-1, old], start[-1, old] = lessons.before.weight, lessons.before.bias
    loss = _Loss.of(lessons, section, start)
    found = minimize(
        loss, start.astype(np.float64).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": section.steps}
    )
    layer = found.x.reshape(start.shape).astype(np.float32)
    return Head(layer[:-1], layer[-1])


@dataclass(frozen=True, slots=True)
class _Loss:
    """Over `inputs` [n + m, width]: `wanted` [n + m, labels] with the `weight` [n + m] of each row; `remembered`
    [kept, parent's labels] at the rows `kept`, in columns `places`."""

    inputs: Matrix
    wanted: Matrix
    weight: Matrix
    kept: NDArray[np.int64]
    remembered: Matrix
    places: NDArray[np.int64]
    start: Matrix
    section: ExtendSection

    @staticmethod
    def of(lessons: Lessons, section: ExtendSection, start: Matrix) -> _Loss:
        inside, outside, count = len(lessons.labels), len(lessons.outliers), lessons.count
        wanted = np.full((inside + outside, count), 1 / count, np.float32)
        wanted[:inside] *= section.label_smoothing
        wanted[np.arange(inside), lessons.labels] += 1 - section.label_smoothing
        weight = np.full(inside + outside, 1 / inside, np.float32)
        weight[inside:] = section.outlier_weight / max(outside, 1)
        kept = np.flatnonzero(np.isin(lessons.labels, lessons.places))
        said = lessons.before(lessons.inside[kept]) / np.float32(section.temperature)
        return _Loss(
            np.concatenate([lessons.inside, lessons.outliers]),
            wanted,
            weight,
            kept,
            np.asarray(log_softmax(said, axis=1), np.float32),
            lessons.places,
            start,
            section,
        )

    def __call__(self, flat: Flat) -> tuple[float, Flat]:
        """(the loss, its gradient)."""
        layer = flat.reshape(self.start.shape).astype(np.float32)
        logits = self.inputs @ layer[:-1] + layer[-1]
        said = log_softmax(logits, axis=1)
        value = -float((self.weight[:, None] * self.wanted * said).sum())
        pull = self.weight[:, None] * (np.exp(said) - self.wanted)
        forgotten, back = self._forgotten(logits)
        value += forgotten
        pull[np.ix_(self.kept, self.places)] += back
        slope = np.concatenate([self.inputs.T @ pull, pull.sum(axis=0)[None]])
        away = layer - self.start
        value += self.section.ridge * float((away**2).sum())
        return value, (slope + 2 * self.section.ridge * away).astype(np.float64).ravel()

    def _forgotten(self, logits: Matrix) -> tuple[float, Matrix]:
        """Kullback-Leibler divergence from the parent's word, times the squared temperature, and its gradient."""
        heat, share = self.section.temperature, self.section.memory * self.weight[0]
        said = log_softmax(logits[np.ix_(self.kept, self.places)] / np.float32(heat), axis=1)
        told = np.exp(self.remembered)
        value = heat**2 * share * float((told * (self.remembered - said)).sum())
        return value, np.asarray(heat * share * (np.exp(said) - told), np.float32)


def places(before: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    """[parent's labels]: the number of each among `labels`. ValueError for one that is not there."""
    numbers = {label: number for number, label in enumerate(labels)}
    if lost := [label for label in before if label not in numbers]:
        raise ValueError(f"the data has no question of {', '.join(lost[:5])}, which the parent has a label for")
    return np.array([numbers[label] for label in before], np.int64)
