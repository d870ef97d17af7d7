"""Calibration at run time: from logits, distances and similarities to probabilities of being right.

The forge fits the numbers (`gateway/forge/calibrate.py`) with the functions below, so what was fitted is what is
served.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway.types import Matrix, Pass, Vector

MODEL_FEATURES = ("log_odds", "prototype", "prototype_gap")
KNOWLEDGE_FEATURES = ("own", "lead")
"""What a search adds: how near the label's document is, and how much nearer than any that no label stands for."""
LOG_ODDS, PROTOTYPE, PROTOTYPE_GAP, OWN, LEAD = range(len(MODEL_FEATURES) + len(KNOWLEDGE_FEATURES))
RIGHT_FEATURES = (LOG_ODDS, PROTOTYPE_GAP)
"""A confidence without a search looks at the first alone. The gap tells right from wrong among known labels, but it is
as wide for intents that came later, and only a search tells those."""
SCOPE_FEATURES = (PROTOTYPE,)
LEADING_FEATURES = (PROTOTYPE, OWN, LEAD)
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
    _slopes: tuple[float, ...] = field(init=False, repr=False, compare=False)
    _offset: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Multiply the standardisation in, so that a probability is one product and one sum."""
        slopes = tuple(weight / scale for weight, scale in zip(self.weights, self.scale, strict=True))
        offset = self.bias - sum(slope * centre for slope, centre in zip(slopes, self.centre, strict=True))
        object.__setattr__(self, "_slopes", slopes)
        object.__setattr__(self, "_offset", offset)

    def __call__(self, features: Matrix) -> Matrix:
        """Probabilities [n] of features [n, features]."""
        return np.array([self.of(row) for row in features.tolist()], np.float32)

    def of(self, row: Sequence[float]) -> float:
        """Of one question's features. In plain numbers: for so few, an array costs ten times as much."""
        total = self._offset
        for slope, value in zip(self._slopes, row, strict=True):
            total += slope * value
        return 0.5 + 0.5 * math.tanh(0.5 * total)  # the sigmoid, by way of what cannot overflow


@dataclass(frozen=True, slots=True)
class Confidence:
    """P(right and in scope), as P(right, if in scope) by the logits times P(in scope) by the distance alone. `right`
    looks at as many of RIGHT_FEATURES as it was fitted on.

    Apart, because no stand-in for an unknown intent has the logits of one: logits are surer of intents that came later
    than of anything that can be fitted on, distances are not. Where a search was made, `leading` is P(no document that
    is no label's answers this better), and a factor of its own: a question far from everything lies no nearer to such a
    document than to the label's. `joint` makes the product a probability again.
    """

    right: Logistic
    scope: Logistic
    joint: Logistic
    leading: Logistic | None = None

    def __call__(self, features: Matrix) -> Matrix:
        """[n] for features [n, MODEL_FEATURES, and KNOWLEDGE_FEATURES if informed]."""
        return np.array([self.of(row)[0] for row in features.tolist()], np.float32)

    def of(self, row: Sequence[float]) -> tuple[float, float]:
        """(confidence, how much speaks for the side of the labels) of one question's features."""
        product, for_label = self.product(row)
        return self.joint.of((product,)), for_label

    def product(self, row: Sequence[float]) -> tuple[float, float]:
        """(log-odds of the product, its part that speaks for the side of the labels) of one question's features.

        That part is P(in scope), times P(leading) where a search was made. Both look at the nearest prototype, so it
        ranks and is no probability; `joint`, and `InformedCalibration.blend` for the document, are fitted on it.
        """
        for_label = self.scope.of([row[at] for at in SCOPE_FEATURES])
        if self.leading:
            for_label *= self.leading.of([row[at] for at in LEADING_FEATURES])
        looked_at = RIGHT_FEATURES[: len(self.right.weights)]
        return log_odds(self.right.of([row[at] for at in looked_at]) * for_label), for_label


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
        return self.blend.of(blend_features(mass, similarity))


@dataclass(frozen=True, slots=True)
class Reading:
    """A pass as one calibration reads it: for each question the number of its best label, its MODEL_FEATURES, and the
    labels' probabilities [questions, labels]."""

    best: list[int]
    features: list[list[float]]
    probabilities: Matrix


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
    _columns: Matrix = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_columns", columns(self.prototypes))

    def probabilities(self, logits: Matrix) -> Matrix:
        """Temperature-scaled softmax, [n, labels]."""
        return softmax(logits / np.float32(self.temperature))

    def features(self, logits: Matrix, embedding: Matrix) -> Matrix:
        """See `model_features`."""
        near = nearest_prototypes(embedding, self._columns, len(self.prototypes))
        return _features(logits.argmax(axis=1), _powers(logits / np.float32(self.temperature)).sum(axis=1), near)

    def read(self, forward: Pass) -> Reading:
        """What the pass says of each of its questions; worked out once."""
        return forward.shared(self, self._read)

    def _read(self, forward: Pass) -> Reading:
        best = forward.logits.argmax(axis=1)
        powers = _powers(forward.logits / np.float32(self.temperature))
        total = powers.sum(axis=1)
        near = nearest_prototypes(forward.embeddings, self._columns, len(self.prototypes))
        return Reading(best.tolist(), _features(best, total, near).tolist(), powers / total[:, None])

    def in_scope(self, row: Sequence[float]) -> bool:
        """Whether the nearest prototype is near enough to speak of doubt, not of another subject."""
        return row[PROTOTYPE] >= self.scope_floor


@dataclass(frozen=True, slots=True)
class EvidenceCalibration:
    """Confidence = P(the first document answers the question), from the similarities of the best documents."""

    logistic: Logistic

    def confidence(self, similarities: Sequence[float]) -> float:
        """For the best documents' similarities, best first. 0 where nothing was found."""
        if not similarities:
            return 0.0
        return self.logistic.of(evidence_features(similarities))


def log_odds(probability: float) -> float:
    """Of a probability, which is kept from 0 and 1."""
    inside = min(max(probability, 1e-7), 1 - 1e-7)
    return math.log(inside / (1 - inside))


def softmax(logits: Matrix) -> Matrix:
    """Along the last axis, safe for large values."""
    powers = _powers(logits)
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)


def _powers(logits: Matrix) -> Matrix:
    """Of e, along the last axis; the largest is 1."""
    return np.asarray(np.exp(logits - logits.max(axis=-1, keepdims=True)), np.float32)


def energy(logits: Matrix, temperature: float) -> Matrix:
    """[n]: T * logsumexp(logits / T) (Liu et al. 2020). Nothing decides by it; evaluations compare with it."""
    scaled = logits / np.float32(temperature)
    top = scaled.max(axis=1)
    return np.asarray(temperature * (top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))), np.float32)


def model_features(logits: Matrix, embedding: Matrix, prototypes: Matrix, temperature: float) -> Matrix:
    """[n, len(MODEL_FEATURES)]: log-odds of the best label, and the same by distance.

    Distances are cosines: to the nearest prototype of the best label, and that minus the nearest of any other label. A
    single label has nothing to lead over: its log-odds are CERTAIN, and the other label's cosine is taken to be -1.
    """
    near = nearest_prototypes(embedding, columns(prototypes), len(prototypes))
    return _features(logits.argmax(axis=1), _powers(logits / np.float32(temperature)).sum(axis=1), near)


def columns(prototypes: Matrix) -> Matrix:
    """[dim, labels * each] of prototypes [labels, each, dim], laid out so. A few questions times this take a half to a
    quarter of the time that they take times the transpose of what lies the other way (OpenBLAS)."""
    return np.ascontiguousarray(prototypes.reshape(-1, prototypes.shape[-1]).T)


def nearest_prototypes(embedding: Matrix, laid_out: Matrix, labels: int) -> Matrix:
    """[n, labels]: cosines to each label's nearest prototype, of those `laid_out` as `columns` does."""
    return np.asarray((embedding @ laid_out).reshape(len(embedding), labels, -1).max(axis=2), np.float32)


def _features(best: NDArray[np.int64], total: Vector, near: Matrix) -> Matrix:
    """See `model_features`; `total` is 1 over the best label's probability. Writes into `near`."""
    rows = np.arange(len(best))
    log_p = -np.log(total)
    found = np.empty((len(best), len(MODEL_FEATURES)), np.float32)
    found[:, LOG_ODDS] = log_p - np.log(np.maximum(-np.expm1(log_p), 1e-7))
    found[:, PROTOTYPE] = near[rows, best]
    near[rows, best] = -1
    found[:, PROTOTYPE_GAP] = found[:, PROTOTYPE] - near.max(axis=1)
    return found


def evidence_features(similarities: Sequence[float]) -> tuple[float, float, float]:
    """EVIDENCE_FEATURES: the best similarity, its lead over the second, and over the mean of the next.

    Zeros where nothing was found.
    """
    if not similarities:
        return 0.0, 0.0, 0.0
    best, rest = similarities[0], similarities[1:EVIDENCE_DEPTH] or [0.0]
    return best, best - rest[0], best - sum(rest) / len(rest)


def blend_features(mass: float, similarity: float) -> tuple[float, float]:
    """BLEND_FEATURES of a candidate."""
    return log_odds(mass), similarity
