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
from gateway.types import Matrix, Pass, Prediction, Principal

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


def see(scene: Scene, outputs: Outputs, kept: NDArray[np.bool_] | None = None) -> list[Seen | None]:
    """Each of the questions, to a model that has only the labels `kept` [labels].

    None for one whose best label stands for no document: the model then speaks alone.
    """
    left = np.arange(outputs.logits.shape[1]) if kept is None else np.flatnonzero(kept)
    logits = outputs.logits[:, left]
    features = model_features(logits, outputs.embedding, scene.centres[left], scene.heat).tolist()
    parts = softmax(logits / np.float32(scene.heat))
    documents = np.array([scene.documents[one] for one in left.tolist()])
    stood_for = {*documents.tolist()} - {""}
    forward = Pass(outputs.logits, outputs.embedding)
    found: list[Seen | None] = []
    for row, best in enumerate(logits.argmax(axis=1).tolist()):
        document = str(documents[best])
        asked = Prediction(forward, row, 0, {})
        ranking = scene.library.rank("", asked, scene.principal, EVIDENCE_DEPTH, (document,))
        rivalry = rivals.compare(ranking.documents, document, stood_for)
        same = documents == document
        found.append(
            Seen((*features[row], *rivalry.features), float(parts[row, same].sum()), rivalry) if rivalry else None
        )
    return found


def fit(
    scene: Scene, inside: Outputs, outside: Outputs | None, alone: Confidence, oos_share: float, seed: int
) -> InformedCalibration | None:
    """From calibration questions and outliers. None where too few labels stand for documents to tell.

    What `alone`, the confidence without a search, knows of being in scope stays a part of it.
    """
    played = play(scene, inside, outside, oos_share, seed)
    if played is None:
        return None
    known, masked, _, strange = played.groups
    right = np.array([seen.rivalry.document_id == document for seen, document in known])
    confidence = calibrate.confidence(
        _stack(known), right, _stack(masked), _stack(strange), oos_share, alone.scope, 1 / WORLDS
    )
    sharpness = _sharpness(masked)
    return InformedCalibration(confidence, sharpness, _blend(played, confidence, sharpness))


Sighting = tuple[Seen, str]
"""A question with the document that answers it, "" if none does."""


@dataclass(frozen=True, slots=True)
class Played:
    """What the cascade sees over all worlds, in `groups`: questions of labels that are left, masked ones, the same in a
    knowledge base that lacks their document, and outliers. `weight` is of the groups laid end to end."""

    groups: tuple[list[Sighting], list[Sighting], list[Sighting], list[Sighting]]
    weight: NDArray[np.float64]

    @property
    def sightings(self) -> list[Sighting]:
        return [one for group in self.groups for one in group]


def play(scene: Scene, inside: Outputs, outside: Outputs | None, oos_share: float, seed: int) -> Played | None:
    """From calibration questions and outliers. None where too few labels stand for documents to tell."""
    known, masked = _played(scene, inside, seed)
    if not known or not masked:
        return None
    strange = [(seen, "") for seen in see(scene, outside) if seen] if outside else []
    groups = (known, masked, _without(masked), strange)
    about_us = 1 - oos_share
    answerable = about_us * (1 - NO_ANSWER_SHARE)
    parts = (answerable * (1 - 1 / WORLDS), answerable / WORLDS, about_us * NO_ANSWER_SHARE, oos_share)
    return Played(groups, shares(tuple(map(len, groups)), parts))


def _played(scene: Scene, inside: Outputs, seed: int) -> tuple[list[Sighting], list[Sighting]]:
    """(questions of labels that are left, masked questions), over all worlds."""
    known: list[Sighting] = []
    masked: list[Sighting] = []
    for kept in filter(np.any, scene.worlds(seed)):
        for seen, label in zip(see(scene, inside, kept), inside.labels.tolist(), strict=True):
            if seen and scene.documents[label]:
                (known if kept[label] else masked).append((seen, scene.documents[label]))
    return known, masked


def confidences(scene: Scene, fitted: InformedCalibration, outputs: Outputs, alone: Matrix) -> Matrix:
    """[n]: the informed confidence, or the model's `alone` [n] where its best label stands for no document."""
    pairs = zip(see(scene, outputs), alone, strict=True)
    return np.array([fitted.confidence.of(seen.features)[0] if seen else before for seen, before in pairs], np.float32)


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


def _blend(played: Played, confidence: Confidence, sharpness: float) -> Logistic:
    """P(the better candidate answers), from its mass and its similarity."""
    features, targets = [], []
    for seen, document in played.sightings:
        _, share = confidence.of(seen.features)
        best = rivals.candidates(seen.rivalry, share, seen.probability, sharpness)[0]
        features.append(blend_features(best.mass, best.similarity))
        targets.append(best.document_id == document)
    return logistic(np.array(features, np.float32), np.array(targets, bool), played.weight)
