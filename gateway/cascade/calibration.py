"""Calibration at run time: from logits, distances and similarities to probabilities of being right.

The forge fits the numbers (`gateway/forge/calibrate.py`) with the functions below, so what was fitted is what is
served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

MODEL_FEATURES = ("log_odds", "energy", "margin", "prototype", "prototype_gap")
KNOWLEDGE_FEATURES = ("own", "lead")
"""What a search adds: how near the label's document is, and how much nearer than any that no label stands for."""
RIGHT_FEATURES = (0, 4)  # log_odds, prototype_gap
SCOPE_ALONE = (3,)  # prototype
SCOPE_INFORMED = (3, 5, 6)  # prototype, own, lead
EVIDENCE_FEATURES = ("similarity", "gap", "spread")
BLEND_FEATURES = ("log_odds", "similarity")
CERTAIN = 16.118
"""Log-odds of 1 - 1e-7, the surest that is told from certainty."""
EVIDENCE_DEPTH = 5
"""How many documents the evidence's features look at."""


@dataclass(frozen=True, slots=True)
class Logistic:
    """A logistic regression on standardised features: `weights` and `centre`, `scale` are [features]."""

    weights: tuple[float, ...]
    bias: float
    centre: tuple[float, ...]
    scale: tuple[float, ...]

    def __call__(self, features: Matrix) -> Matrix:
        """Probabilities [n] of features [n, features]."""
        slopes, offset = _folded(self)
        # The sigmoid by way of tanh, which cannot overflow and is one operation.
        return np.asarray(0.5 + 0.5 * np.tanh(0.5 * (features @ slopes + offset)), np.float32)


@lru_cache(maxsize=64)
def _folded(logistic: Logistic) -> tuple[Matrix, np.float32]:
    """(slopes, offset) with the standardisation multiplied in, so that a call is one product and one sum."""
    slopes = np.asarray(logistic.weights) / np.asarray(logistic.scale)
    return slopes.astype(np.float32), np.float32(logistic.bias - slopes @ np.asarray(logistic.centre))


@dataclass(frozen=True, slots=True)
class Confidence:
    """P(right and in scope), as P(right, if in scope) by the logits times P(in scope) by the distance alone.

    Apart, because no stand-in for an unknown intent has the logits of one: logits are surer of intents that came later
    than of anything that can be fitted on, distances are not. `joint` makes the product a probability again.
    `scope_features` are the columns that `scope` looks at: SCOPE_ALONE, or SCOPE_INFORMED where a search was made.
    """

    right: Logistic
    scope: Logistic
    joint: Logistic
    scope_features: tuple[int, ...] = SCOPE_ALONE

    def __call__(self, features: Matrix) -> Matrix:
        """[n] for features [n, MODEL_FEATURES, and KNOWLEDGE_FEATURES if informed]."""
        return self.joint(self.product(features))

    def in_scope(self, features: Matrix) -> Matrix:
        """P(in scope), [n]."""
        return self.scope(features[:, self.scope_features])

    def product(self, features: Matrix) -> Matrix:
        """The log-odds of the product, [n, 1]."""
        both = self.right(features[:, RIGHT_FEATURES]) * self.in_scope(features)
        return log_odds(both)[:, None]


@dataclass(frozen=True, slots=True)
class InformedCalibration:
    """What a search tells about the model's answer, and the model's answer about what was found.

    `confidence` is the model's, looking at KNOWLEDGE_FEATURES too: an intent that was launched after training has no
    label, but it has a document, and questions about it lie nearer to that than to the document of any label. `blend`
    is P(the better of the two candidates answers); see `rivals.candidates`.
    """

    confidence: Confidence
    sharpness: float
    blend: Logistic

    def blended(self, mass: float, similarity: float) -> float:
        """P(right) of a candidate with this mass and similarity."""
        return float(self.blend(blend_features([(mass, similarity)]))[0])


@dataclass(frozen=True, slots=True)
class ModelCalibration:
    """What makes probabilities of one precision's logits and embeddings.

    `prototypes` [labels, each, dim] are unit vectors, several for each label: centres of its training questions'
    embeddings. How near a question lies to one, and how much nearer than to another label's, tells what logits cannot:
    a classifier has to spread all of its mass over what it knows. A question farther from every prototype than
    `scope_floor` is called out of scope rather than doubtful.
    """

    temperature: float
    scope_floor: float
    prototypes: Matrix
    confidence: Confidence

    def probabilities(self, logits: Matrix) -> Matrix:
        """Temperature-scaled softmax, [n, labels]."""
        return softmax(logits / np.float32(self.temperature))

    def features(self, logits: Matrix, embedding: Matrix) -> Matrix:
        """See `model_features`."""
        return model_features(logits, embedding, self.prototypes, self.temperature)

    def in_scope(self, features: Matrix) -> NDArray[np.bool_]:
        """[n]: whether the nearest prototype is near enough to speak of doubt, not of another subject."""
        return np.asarray(features[:, MODEL_FEATURES.index("prototype")] >= self.scope_floor)


@dataclass(frozen=True, slots=True)
class EvidenceCalibration:
    """Confidence = P(the first document answers the question), from the similarities of the best documents."""

    logistic: Logistic

    def confidence(self, similarities: Sequence[float]) -> float:
        """For the best documents' similarities, best first. 0 where nothing was found."""
        if not similarities:
            return 0.0
        return float(self.logistic(evidence_features([similarities]))[0])


def log_odds(probability: Matrix) -> Matrix:
    """Of probabilities, which are kept from 0 and 1."""
    inside = np.clip(probability, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(inside / (1 - inside)), np.float32)


def softmax(logits: Matrix) -> Matrix:
    """Along the last axis, safe for large values."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)


def model_features(logits: Matrix, embedding: Matrix, prototypes: Matrix, temperature: float) -> Matrix:
    """[n, len(MODEL_FEATURES)]: log-odds of the best label, energy, margin, and the same two by distance.

    Energy is T * logsumexp(logits / T) (Liu et al. 2020). Distances are cosines to the nearest prototype of the best
    label, and of that minus the nearest of any other label. A single label has nothing to lead over: its log-odds
    and margin are CERTAIN, and the other label's cosine is taken to be -1.
    """
    scaled = logits / np.float32(temperature)
    top = scaled.max(axis=1)
    energy = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
    second = np.partition(scaled, -2, axis=1)[:, -2] if scaled.shape[1] > 1 else top - np.float32(CERTAIN)
    log_p = top - energy
    log_odds = log_p - np.log(np.maximum(-np.expm1(log_p), 1e-7))
    labels, each, dim = prototypes.shape
    near = (embedding @ prototypes.reshape(-1, dim).T).reshape(-1, labels, each).max(axis=2)
    rows, best = np.arange(len(logits)), scaled.argmax(axis=1)
    own = near[rows, best]
    near[rows, best] = -1
    return np.stack([log_odds, energy * temperature, top - second, own, own - near.max(axis=1)], axis=1).astype(
        np.float32
    )


def evidence_features(similarities: Sequence[Sequence[float]]) -> Matrix:
    """[n, len(EVIDENCE_FEATURES)]: the best similarity, its lead over the second, and over the mean of the next.

    Zeros where nothing was found.
    """
    rows: list[tuple[float, ...]] = []
    for found in similarities:
        if not found:
            rows.append((0.0,) * len(EVIDENCE_FEATURES))
            continue
        best, rest = found[0], list(found[1:EVIDENCE_DEPTH]) or [0.0]
        rows.append((best, best - rest[0], best - sum(rest) / len(rest)))
    return np.asarray(rows, np.float32).reshape(-1, len(EVIDENCE_FEATURES))


def blend_features(candidates: Sequence[tuple[float, float]]) -> Matrix:
    """[n, len(BLEND_FEATURES)] of (mass, similarity)."""
    rows = np.asarray(candidates, np.float32).reshape(-1, 2)
    return np.stack([log_odds(rows[:, 0]), rows[:, 1]], axis=1)
