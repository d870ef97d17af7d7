"""The scores of being in scope that the literature offers, from logits and embeddings: higher is surer.

A classifier's own word (largest probability, margin, energy) and distances to what it was trained on (nearest
neighbours, Mahalanobis, adaptive boundaries, and the prototypes that the gateway serves by). Each can be asked as if
some labels did not exist, for the questions that stand in for unknown intents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.cascade.calibration import PROTOTYPE, PROTOTYPE_GAP, energy, log_odds, model_features, softmax
from gateway.forge.calibrate import Outputs, prototypes
from gateway.types import Matrix

NEIGHBOURS = 10
SHRINKAGE = 0.1
"""Of the covariance towards a multiple of the identity: 384 dimensions and a few thousand questions."""

WORDS = ("largest probability", "margin", "energy")
DISTANCES = ("nearest neighbours", "Mahalanobis", "adaptive boundary", "nearest prototype", "prototype gap")


@dataclass(frozen=True, slots=True)
class Trained:
    """The training questions of `labels` [n] as the graph embeds them, `embedding` [n, dim], and what is made of them.

    `means` [labels, dim]; `whitening` [dim, dim] makes the shared covariance within labels the identity; `radii`
    [labels] are the adaptive boundaries; `centres` [labels, each, dim] the prototypes.
    """

    embedding: Matrix
    labels: NDArray[np.int64]
    means: Matrix
    whitening: Matrix
    radii: Matrix
    centres: Matrix

    @staticmethod
    def of(embedding: Matrix, labels: NDArray[np.int64], count: int, seed: int) -> Trained:
        """Raises ValueError for a label without a question."""
        centres = prototypes(embedding, labels, count, seed)
        means = np.stack([embedding[labels == one].mean(axis=0) for one in range(count)])
        own = np.linalg.norm(embedding - means[labels], axis=1)
        return Trained(
            embedding,
            labels,
            means,
            _whitening(embedding - means[labels]),
            np.array([_radius(own[labels == one]) for one in range(count)], np.float32),
            centres,
        )

    def without(self, label: int) -> Trained:
        """As if that label did not exist. The covariance stays: it is shared, and one label of many moves it little."""
        rows, kept = self.labels != label, np.arange(len(self.means)) != label
        return Trained(
            self.embedding[rows],
            self.labels[rows],
            self.means[kept],
            self.whitening,
            self.radii[kept],
            self.centres[kept],
        )


def words(logits: Matrix, heat: float) -> Matrix:
    """[n, WORDS]: what a classifier says of itself, by `logits` [n, labels] divided by `heat`. A label whose logit is
    minus infinity does not exist. The largest probability is given as log-odds, which ranks as it does."""
    probabilities = np.sort(softmax(logits / np.float32(heat)), axis=1)
    sure = np.array([log_odds(one) for one in probabilities[:, -1].tolist()])
    return _columns(sure, probabilities[:, -1] - probabilities[:, -2], energy(logits, heat))


def distances(trained: Trained, logits: Matrix, embedding: Matrix) -> Matrix:
    """[n, DISTANCES]: how near questions with `embedding` [n, dim] lie to what was trained on, the nearest
    prototype being the best label's by `logits` [n, labels]."""
    features = model_features(logits, embedding, trained.centres, 1.0)
    return _columns(
        nearest_neighbours(trained, embedding),
        mahalanobis(trained, embedding),
        adaptive_boundary(trained, embedding),
        features[:, PROTOTYPE],
        features[:, PROTOTYPE_GAP],
    )


def struck(outputs: Outputs) -> Matrix:
    """[n, labels]: the logits, that of each question's own label minus infinity."""
    logits = outputs.logits.copy()
    logits[np.arange(len(logits)), outputs.labels] = -np.inf
    return logits


def masked_distances(trained: Trained, outputs: Outputs) -> Matrix:
    """The distances of each question as they are when its own label does not exist, in the order of `outputs`."""
    found = np.empty((len(outputs.labels), len(DISTANCES)), np.float32)
    for label in np.unique(outputs.labels).tolist():
        own = outputs.labels == label
        kept = np.arange(outputs.logits.shape[1]) != label
        found[own] = distances(trained.without(label), outputs.logits[own][:, kept], outputs.embedding[own])
    return found


def _columns(*columns: NDArray[np.floating]) -> Matrix:
    return np.stack([np.asarray(column, np.float32) for column in columns], axis=1)


def nearest_neighbours(trained: Trained, embedding: Matrix) -> Matrix:
    """[n]: cosine to the NEIGHBOURS-th nearest training question (Sun et al. 2022)."""
    near = min(NEIGHBOURS, len(trained.embedding))
    return np.asarray(np.partition(embedding @ trained.embedding.T, -near, axis=1)[:, -near], np.float32)


def mahalanobis(trained: Trained, embedding: Matrix) -> Matrix:
    """[n]: minus the squared distance to the nearest label's mean, by the shared covariance (Lee et al. 2018)."""
    return -_squared(embedding @ trained.whitening, trained.means @ trained.whitening).min(axis=1)


def adaptive_boundary(trained: Trained, embedding: Matrix) -> Matrix:
    """[n]: how far inside the nearest label's boundary (Zhang et al. 2021); below 0 is out of scope.

    That paper's loss is the mean of |distance - radius| over the label's questions. The median is what minimises it, so
    there is nothing to descend.
    """
    distance = np.sqrt(_squared(embedding, trained.means))
    nearest = distance.argmin(axis=1)
    return np.asarray(trained.radii[nearest] - distance[np.arange(len(nearest)), nearest], np.float32)


def _radius(distances: Matrix) -> float:
    return float(np.median(distances))


def _whitening(within: Matrix) -> Matrix:
    """[dim, dim] W with W W' the inverse of the shrunk covariance of `within` [n, dim], which has mean 0."""
    dim = within.shape[1]
    covariance = within.T.astype(np.float64) @ within / len(within)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * (np.trace(covariance) / dim + 1e-12) * np.eye(dim)
    values, vectors = np.linalg.eigh(shrunk)
    return np.asarray(vectors / np.sqrt(values), np.float32)


def _squared(points: Matrix, centres: Matrix) -> Matrix:
    """[points, centres]: squared Euclidean distances."""
    apart = (points**2).sum(axis=1)[:, None] - 2 * points @ centres.T + (centres**2).sum(axis=1)
    return np.asarray(np.maximum(apart, 0), np.float32)
