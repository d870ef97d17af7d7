"""Fitting what `cascade.calibration` applies: temperature, prototypes, and the logistic regressions.

All of it is fitted on the outputs of the very graph that is served, on questions that trained nothing. In-scope
questions say when the model is right; outliers say how it looks on other subjects; and *masked* questions stand in for
the intents that nobody has thought of yet: a question whose own label is struck from the logits and the prototypes is,
to what is left of the model, a question just out of scope.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import ClusterError, kmeans2
from scipy.optimize import minimize, minimize_scalar

from gateway.cascade.calibration import (
    LEADING_FEATURES,
    RIGHT_FEATURES,
    SCOPE_FEATURES,
    Confidence,
    Logistic,
    model_features,
    softmax,
)
from gateway.types import Matrix

PROTOTYPES = 16
"""For each label. AUROC of the distance, BANKING77-OOS's development questions in scope against training questions of
its unseen intents: .915 with 8, .919 with 16, .915 with 24, .912 with 32."""


IDENTITY = Logistic((1.0,), 0.0, (0.0,), (1.0,))


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a graph gave: `logits` [n, labels], unit `embedding` [n, dim]; `labels` [n] numbers, -1 for none."""

    logits: Matrix
    embedding: Matrix
    labels: NDArray[np.int64]

    @property
    def right(self) -> NDArray[np.bool_]:
        return np.asarray(self.logits.argmax(axis=1) == self.labels)


def prototypes(embedding: Matrix, labels: NDArray[np.int64], count: int, seed: int) -> Matrix:
    """[count, PROTOTYPES, dim] unit vectors: centres of each label's training embeddings, by k-means.

    Raises ValueError for a label without any.
    """
    found = np.empty((count, PROTOTYPES, embedding.shape[1]), np.float32)
    for label in range(count):
        own = embedding[labels == label]
        if not len(own):
            raise ValueError(f"label number {label} has no training question, so no prototypes")
        centres = own if len(own) <= PROTOTYPES else _centres(own, seed)
        centres = centres[np.arange(PROTOTYPES) % len(centres)]
        found[label] = centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-9)
    return found


def _centres(points: Matrix, seed: int) -> Matrix:
    """At most PROTOTYPES centres of `points`: as many as none of which ends up without a point of its own."""
    distinct = np.unique(points, axis=0)
    if len(distinct) <= PROTOTYPES:
        return np.asarray(distinct, np.float32)
    for count in range(PROTOTYPES, 1, -1):
        try:
            return np.asarray(kmeans2(points, count, iter=25, minit="++", missing="raise", seed=seed)[0], np.float32)
        except ClusterError:
            continue
    return np.asarray(points.mean(axis=0, keepdims=True), np.float32)


def temperature(outputs: Outputs) -> float:
    """The divisor of the logits that makes the labels of in-scope questions most likely (Guo et al. 2017)."""

    def loss(log_t: float) -> float:
        probabilities = softmax(outputs.logits / np.float32(np.exp(log_t)))
        return float(-np.log(np.maximum(probabilities[np.arange(len(outputs.labels)), outputs.labels], 1e-9)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2.5, 2.5), method="bounded").x))


def masked_features(outputs: Outputs, centres: Matrix, heat: float) -> Matrix:
    """The features of each question as they are when its own label does not exist, [n, features]."""
    rows = []
    for label in np.unique(outputs.labels):
        own = outputs.labels == label
        kept = np.arange(outputs.logits.shape[1]) != label
        rows.append(model_features(outputs.logits[own][:, kept], outputs.embedding[own], centres[kept], heat))
    return np.concatenate(rows)


def confidence(
    inside: Matrix,
    right: NDArray[np.bool_],
    masked: Matrix,
    outside: Matrix,
    oos_share: float,
    scope: Logistic | None = None,
    masked_share: float = 0.2,
) -> Confidence:
    """From features of in-scope questions and whether they were answered rightly, of masked ones, and of outliers.

    Whether the answer is right is learned in scope. Whether the question is in scope is learned from distances, against
    masked questions, the nearest that there is. The product is made a probability on all, outsiders having `oos_share`.
    With the `scope` of a confidence without a search, and features with one, it is `leading` that is learned so, and
    the gap between labels has a part in whether the answer is right: it makes unknown intents look right, unless a
    search tells them.
    """
    near = np.concatenate([inside, masked])
    is_inside = np.arange(len(near)) < len(inside)

    def against_masked(columns: tuple[int, ...]) -> Logistic:
        parts = shares((len(inside), len(masked)), (1 - masked_share, masked_share))
        return logistic(near[:, columns], is_inside, parts)

    looked_at = RIGHT_FEATURES if scope else RIGHT_FEATURES[:1]
    found = Confidence(
        right=logistic(inside[:, looked_at], right, np.ones(len(inside))),
        scope=scope or against_masked(SCOPE_FEATURES),
        joint=IDENTITY,
        leading=against_masked(LEADING_FEATURES) if scope else None,
    )
    everything = np.concatenate([near, outside])
    target = np.concatenate([right, np.zeros(len(masked) + len(outside), bool)])
    outer = oos_share / 2 if len(outside) else oos_share
    weight = shares((len(inside), len(masked), len(outside)), (1 - oos_share, outer, outer))
    products = np.array([found.product(row)[:1] for row in everything.tolist()], np.float32)
    return replace(found, joint=logistic(products, target, weight))


def logistic(features: Matrix, target: NDArray[np.bool_], weight: NDArray[np.float64], ridge: float = 1e-3) -> Logistic:
    """Weighted logistic regression on standardised features, with a small ridge on the slopes."""
    weight = weight / weight.sum()
    centre = (features * weight[:, None]).sum(axis=0)
    scale = np.sqrt(((features - centre) ** 2 * weight[:, None]).sum(axis=0)) + 1e-6
    standard = (features - centre) / scale
    sign = np.where(target, 1.0, -1.0)

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slopes, bias = parameters[:-1], parameters[-1]
        margin = sign * (standard @ slopes + bias)
        value = float((weight * np.logaddexp(0, -margin)).sum() + ridge * (slopes**2).sum())
        pull = -weight * sign / (1 + np.exp(np.clip(margin, -50, 50)))
        return value, np.append(standard.T @ pull + 2 * ridge * slopes, pull.sum())

    fitted = minimize(loss, np.zeros(features.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return Logistic(
        weights=tuple(float(one) for one in fitted[:-1]),
        bias=float(fitted[-1]),
        centre=tuple(float(one) for one in centre),
        scale=tuple(float(one) for one in scale),
    )


def shares(sizes: tuple[int, ...], parts: tuple[float, ...]) -> NDArray[np.float64]:
    """A weight for each row of groups laid end to end, such that each group has its part of the whole."""
    present = [(size, part) for size, part in zip(sizes, parts, strict=True) if size]
    return np.concatenate([np.full(size, part / size) for size, part in present])
