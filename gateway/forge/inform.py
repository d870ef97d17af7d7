"""Fitting what `cascade.rivals` applies: each tier's confidence in the light of what the other one found.

Nobody can ask about an intent before it exists, but it can be played: some labels are struck from the model while their
documents stay in the knowledge base, as those of intents that were launched later would. To what is left of the model
their questions are *masked* ones; the other questions have the struck labels' documents as rivals, near ones too. Each
label is struck in one of a few such worlds. Only documents that existed when the model was trained take part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from gateway.cascade import rivals
from gateway.cascade.calibration import (
    EVIDENCE_DEPTH,
    KNOWLEDGE_FEATURES,
    MODEL_FEATURES,
    Confidence,
    InformedCalibration,
    Logistic,
    blend_features,
    model_features,
    softmax,
)
from gateway.cascade.rivals import Rivalry
from gateway.forge import calibrate
from gateway.forge.calibrate import Outputs, logistic, shares
from gateway.knowledge.library import Library
from gateway.types import Matrix, Prediction, Principal

WORLDS = 3
"""In each, one in so many labels is struck: of what is asked about the knowledge base, so much is taken to be about
documents that no label stands for."""
NO_ANSWER_SHARE = 0.05
"""Of the questions about the knowledge base, so many are taken to lack just their document; in `fit.py`, where tiers
speak for themselves, so many more to be about something else."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One precision's labels, prototypes and temperature, and the documents that it finds.

    `documents` [labels] are those that labels stand for, "" for a label with a text of its own.
    """

    library: Library
    principal: Principal
    documents: tuple[str, ...]
    centres: Matrix
    heat: float

    def worlds(self, seed: int) -> list[NDArray[np.bool_]]:
        """WORLDS times [labels]: which labels are left. Labels of one document are struck together."""
        documents = sorted({one for one in self.documents if one})
        np.random.default_rng(seed).shuffle(documents)
        struck = [{*documents[world::WORLDS]} for world in range(WORLDS)]
        return [np.array([one not in some for one in self.documents]) for some in struck]


@dataclass(frozen=True, slots=True)
class Seen:
    """One question as the cascade sees it: all features, the best label's probability, and the rivalry."""

    features: tuple[float, ...]
    probability: float
    rivalry: Rivalry


def see(scene: Scene, logits: Matrix, embedding: Matrix, kept: NDArray[np.bool_] | None = None) -> Seen | None:
    """The question with `logits` [labels] and `embedding` [dim], to a model that has only the labels `kept`.

    None if its best label stands for no document: the model then speaks alone.
    """
    left = np.arange(len(logits)) if kept is None else np.flatnonzero(kept)
    best = int(left[np.argmax(logits[left])])
    ranking = scene.library.rank(
        "", Prediction.alone(logits, embedding), scene.principal, EVIDENCE_DEPTH, (scene.documents[best],)
    )
    stood_for = {scene.documents[one] for one in left.tolist()} - {""}
    rivalry = rivals.compare(ranking.documents, scene.documents[best], stood_for)
    if rivalry is None:
        return None
    own = model_features(logits[None, left], embedding[None], scene.centres[left], scene.heat)
    part = softmax(logits[left] / np.float32(scene.heat))
    same = np.array([scene.documents[one] == scene.documents[best] for one in left.tolist()])
    return Seen((*own[0].tolist(), *rivalry.features), float(part[same].sum()), rivalry)


def fit(
    scene: Scene, inside: Outputs, outside: Outputs | None, alone: Confidence, oos_share: float, seed: int
) -> InformedCalibration | None:
    """From calibration questions and outliers. None where too few labels stand for documents to tell.

    What `alone`, the confidence without a search, knows of being in scope stays a part of it.
    """
    known, masked = _played(scene, inside, seed)
    strange = [(seen, "") for row in _rows(outside) if (seen := see(scene, *row))] if outside else []
    right = np.array([seen.rivalry.document_id == document for seen, document in known])
    if not known or not masked:
        return None
    confidence = calibrate.confidence(
        _stack(known), right, _stack(masked), _stack(strange), oos_share, alone.scope, 1 / WORLDS
    )
    sharpness = _sharpness(masked)
    about_us = 1 - oos_share
    answerable = about_us * (1 - NO_ANSWER_SHARE)
    blend = _blend(
        (known, masked, _without(masked), strange),
        (answerable * (1 - 1 / WORLDS), answerable / WORLDS, about_us * NO_ANSWER_SHARE, oos_share),
        confidence,
        sharpness,
    )
    return InformedCalibration(confidence, sharpness, blend)


Sighting = tuple[Seen, str]
"""A question with the document that answers it, "" if none does."""


def _played(scene: Scene, inside: Outputs, seed: int) -> tuple[list[Sighting], list[Sighting]]:
    """(questions of labels that are left, masked questions), over all worlds."""
    known: list[Sighting] = []
    masked: list[Sighting] = []
    for kept in scene.worlds(seed):
        for row, label in zip(_rows(inside), inside.labels.tolist(), strict=True):
            seen = see(scene, *row, kept) if kept.any() and scene.documents[label] else None
            if seen:
                (known if kept[label] else masked).append((seen, scene.documents[label]))
    return known, masked


def confidences(scene: Scene, fitted: InformedCalibration, outputs: Outputs, alone: Matrix) -> Matrix:
    """[n]: the informed confidence, or the model's `alone` [n] where its best label stands for no document."""
    found = [see(scene, *row) for row in _rows(outputs)]
    return np.array(
        [fitted.confidence.of(one.features)[0] if one else before for one, before in zip(found, alone, strict=True)],
        np.float32,
    )


def _rows(outputs: Outputs) -> list[tuple[Matrix, Matrix]]:
    return list(zip(outputs.logits, outputs.embedding, strict=True))


def _stack(group: Sequence[Sighting]) -> Matrix:
    width = len(MODEL_FEATURES) + len(KNOWLEDGE_FEATURES)
    return np.array([seen.features for seen, _ in group], np.float32).reshape(-1, width)


def _without(masked: Sequence[Sighting]) -> list[Sighting]:
    """The masked questions in a knowledge base that lacks their document."""
    found = []
    for seen, document in masked:
        left = tuple(one for one in seen.rivalry.rivals if one[0] != document)
        bar = left[0][1] if left else seen.rivalry.bar
        rivalry = Rivalry(seen.rivalry.document_id, seen.rivalry.own, left, bar)
        features = (*seen.features[: len(MODEL_FEATURES)], *rivalry.features)
        found.append((Seen(features, seen.probability, rivalry), ""))
    return found


def _sharpness(masked: Sequence[Sighting]) -> float:
    """The factor on similarities at which their softmax over rivals gives masked questions' documents the most."""
    cases = [
        (np.array([value for _, value in seen.rivalry.rivals]), [one for one, _ in seen.rivalry.rivals].index(document))
        for seen, document in masked
        if document in dict(seen.rivalry.rivals)
    ]

    def loss(factor: float) -> float:
        return sum(float(np.logaddexp.reduce(factor * values) - factor * values[at]) for values, at in cases)

    return float(minimize_scalar(loss, bounds=(1, 200), method="bounded").x)


def _blend(
    groups: Sequence[Sequence[Sighting]],
    parts: tuple[float, ...],
    confidence: Confidence,
    sharpness: float,
) -> Logistic:
    """P(the better candidate answers), from its mass and its similarity; each group has its part of the weight."""
    features, targets = [], []
    for group in groups:
        for seen, document in group:
            _, share = confidence.of(seen.features)
            best = rivals.candidates(seen.rivalry, share, seen.probability, sharpness)[0]
            features.append(blend_features(best.mass, best.similarity))
            targets.append(best.document_id == document)
    weight = shares(tuple(map(len, groups)), parts)
    return logistic(np.array(features, np.float32), np.array(targets, bool), weight)
