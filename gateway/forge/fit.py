"""From a graph's outputs to everything the cascade needs of one precision: calibration, certificate, thresholds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gateway.cascade.calibration import (
    EVIDENCE_DEPTH,
    MODEL_FEATURES,
    PROTOTYPE,
    Confidence,
    EvidenceCalibration,
    InformedCalibration,
    Logistic,
    evidence_features,
    model_features,
    softmax,
)
from gateway.cascade.policy import ModelSays, RetrievalSays, Thresholds, ensemble
from gateway.forge import calibrate, inform
from gateway.forge import certify as certifying
from gateway.forge.calibrate import Outputs, logistic, masked_features, shares
from gateway.forge.certify import Certified
from gateway.forge.data import Data
from gateway.forge.inform import NO_ANSWER_SHARE, Scene
from gateway.forge.recipes import ConfidenceSection
from gateway.forge.texts import Labelled
from gateway.knowledge.generation import Generation
from gateway.knowledge.library import Library
from gateway.types import Document, Matrix, Pass, Prediction, Principal, Standing

Run = Callable[[Sequence[str]], tuple[Matrix, Matrix]]
"""(logits, embeddings) of texts, by the graph that is served."""

WRONG_COSTS = 1.0
"""A wrong answer costs what a right one gains; so retrieval answers from probability cost / (1 + cost) on."""
LEAST_SHARE = 0.05
"""Outsiders have at least this weight when the confidence is fitted, whatever share the certificate is for."""
SCOPE_QUANTILE = 0.02
WEIGHTS = tuple(round(0.1 * step, 1) for step in range(1, 10))


@dataclass(frozen=True, slots=True)
class Fitted:
    """Everything that is fitted for one precision.

    `informed` with its certificate `informed_certified` is None where no label stands for a document. `accuracy` and
    `coverage` are on the `questions` and `outliers` of certification; `needed` is about how many questions a
    certificate takes, 0 where none would do.
    """

    prototypes: Matrix
    temperature: float
    scope_floor: float
    confidence: Confidence
    informed: InformedCalibration | None
    evidence: Logistic
    certified: Certified
    informed_certified: Certified | None
    evidence_threshold: float
    ensemble_threshold: float
    ensemble_weight: float
    accuracy: float
    coverage: float
    informed_coverage: float
    questions: int
    outliers: int
    needed: int
    informed_needed: int


def fit(
    run: Run,
    data: Data,
    documents: Sequence[Document],
    document_of: dict[str, str],
    section: ConfidenceSection,
    seed: int,
) -> Fitted:
    """Fit on `train` (prototypes), `calibrate` (probabilities) and `certify` (thresholds), each for that alone.

    `documents` are those that existed when the model was trained: what it was not to know has no part in its numbers.
    They are searched as somebody who may read all of them.
    """
    numbers = {label: number for number, label in enumerate(data.labels)}

    def outputs(rows: Sequence[Labelled]) -> Outputs:
        return Outputs(*run([row.text for row in rows]), np.array([numbers[row.category] for row in rows], np.int64))

    def strangers(texts: Sequence[str]) -> Outputs | None:
        return Outputs(*run(texts), np.full(len(texts), -1, np.int64)) if texts else None

    train, inside, outside = outputs(data.train), outputs(data.calibrate), strangers(data.outliers_calibrate)
    centres = calibrate.prototypes(train.embedding, train.labels, len(data.labels), seed)
    heat = calibrate.temperature(inside)

    def features(some: Outputs | None) -> Matrix:
        if some is None:
            return np.empty((0, len(MODEL_FEATURES)), np.float32)
        return model_features(some.logits, some.embedding, centres, heat)

    masked = masked_features(inside, centres, heat)
    oos_share = max(section.oos_share, LEAST_SHARE)
    confidence = calibrate.confidence(features(inside), inside.right, masked, features(outside), oos_share)

    evidence = Logistic((0.0,) * 3, -30.0, (0.0,) * 3, (1.0,) * 3)  # without documents nothing is ever found
    ensemble_weight, ensemble_threshold = 0.5, 1.0
    scene, informed = None, None
    if documents:
        library = Library({"": Generation.build(documents, lambda texts: run(texts)[1])})
        reader = Principal(groups=frozenset[str]().union(*(document.groups for document in documents)))
        found = _Found.of(library, reader, data, document_of, inside, outside)
        evidence = found.fit()
        ensemble_weight, ensemble_threshold = _ensemble(
            found, inside, masked, centres, heat, confidence, evidence, data, document_of
        )
        scene = Scene(library, reader, tuple(document_of.get(label, "") for label in data.labels), centres, heat)
        informed = inform.fit(scene, inside, outside, confidence, oos_share, seed)

    def alone(some: Outputs | None) -> Matrix:
        return confidence(features(some))

    def both(some: Outputs | None) -> Matrix:
        assert scene
        assert informed
        return inform.confidences(scene, informed, some, alone(some)) if some else np.empty(0, np.float32)

    last, far = outputs(data.certify), strangers(data.outliers_certify)
    certified, needed = _certify(alone, (inside, outside), (last, far), section)
    informed_certified, informed_needed = None, 0
    if informed:
        informed_certified, informed_needed = _certify(both, (inside, outside), (last, far), section)
    return Fitted(
        prototypes=centres,
        temperature=heat,
        scope_floor=float(np.quantile(features(inside)[:, PROTOTYPE], SCOPE_QUANTILE)),
        confidence=confidence,
        informed=informed,
        evidence=evidence,
        certified=certified,
        informed_certified=informed_certified,
        evidence_threshold=WRONG_COSTS / (1 + WRONG_COSTS),
        ensemble_threshold=ensemble_threshold,
        ensemble_weight=ensemble_weight,
        accuracy=float(last.right.mean()),
        coverage=certified.accepted / len(data.certify),
        informed_coverage=informed_certified.accepted / len(data.certify) if informed_certified else 0.0,
        questions=len(data.certify),
        outliers=len(data.outliers_certify),
        needed=needed,
        informed_needed=informed_needed,
    )


Pair = tuple[Outputs, Outputs | None]
"""Questions in scope, and outliers if there are any."""


def _certify(
    confidence: Callable[[Outputs | None], Matrix], calibration: Pair, certification: Pair, section: ConfidenceSection
) -> tuple[Certified, int]:
    """(certificate of this confidence's threshold, about how many questions it takes)"""
    inside, outside = certification
    start = certifying.starting_point(
        confidence(calibration[0]),
        calibration[0].right,
        confidence(calibration[1]),
        (len(inside.labels), len(outside.labels) if outside else 0),
        section.assurance,
        section.oos_share if outside else 0.0,
    )
    sure, strange = confidence(inside), confidence(outside)
    asked = section.risk, section.assurance, section.oos_share
    certified = certifying.certify(sure, inside.right, strange, *asked, start)
    needed = len(inside.labels) if certified.holds else certifying.needed(sure, inside.right, strange, *asked)
    return certified, needed


@dataclass(frozen=True, slots=True)
class _Found:
    """What retrieval finds for the calibration questions: best documents with similarities, one list a question."""

    inside: list[list[tuple[str, float]]]
    outside: list[list[tuple[str, float]]]
    wanted: list[str]

    @staticmethod
    def of(
        library: Library,
        reader: Principal,
        data: Data,
        document_of: dict[str, str],
        inside: Outputs,
        outside: Outputs | None,
    ) -> _Found:
        def find(outputs: Outputs, depth: int) -> list[list[tuple[str, float]]]:
            forward = Pass(outputs.logits, outputs.embedding)
            asked = [Prediction(forward, row, 0, {}) for row in range(len(forward))]
            return [list(library.rank("", one, reader, depth).documents[:depth]) for one in asked]

        return _Found(
            find(inside, EVIDENCE_DEPTH + 1),
            find(outside, EVIDENCE_DEPTH) if outside is not None else [],
            [document_of.get(row.category, "") for row in data.calibrate],
        )

    def fit(self) -> Logistic:
        """P(the first document answers): right or wrong in scope; never for an outlier, nor without its document."""
        first = [one[:EVIDENCE_DEPTH] for one in self.inside]
        without = [
            [pair for pair in one if pair[0] != wanted][:EVIDENCE_DEPTH]
            for one, wanted in zip(self.inside, self.wanted, strict=True)
        ]
        groups = [group for group in (first, without, self.outside) if group]
        features = [evidence_features([value for _, value in one]) for group in groups for one in group]
        right = np.array([bool(one) and one[0][0] == wanted for one, wanted in zip(first, self.wanted, strict=True)])
        targets = np.concatenate([right, np.zeros(sum(map(len, groups[1:])), bool)])
        parts = (1 - 2 * NO_ANSWER_SHARE, NO_ANSWER_SHARE, NO_ANSWER_SHARE)[: len(groups)]
        return logistic(np.array(features, np.float32), targets, shares(tuple(map(len, groups)), parts))


def _ensemble(
    found: _Found,
    inside: Outputs,
    masked: Matrix,
    centres: Matrix,
    heat: float,
    confidence: Confidence,
    evidence: Logistic,
    data: Data,
    document_of: dict[str, str],
) -> tuple[float, float]:
    """(weight, threshold) with the best gain on calibration questions, half of them with their label masked.

    `masked` are features in order of labels, as `masked_features` gives them; a masked question's right answer is still
    its document, which only retrieval can give.
    """
    names = [document_of.get(label, label) for label in data.labels]
    order = np.argsort(inside.labels, kind="stable")
    sure = confidence(model_features(inside.logits, inside.embedding, centres, heat))
    sure_masked = np.empty(len(order), np.float32)
    sure_masked[order] = confidence(masked)
    cases = []
    for row, label in enumerate(inside.labels):
        pairs = tuple(found.inside[row][:EVIDENCE_DEPTH])
        said = RetrievalSays(pairs, EvidenceCalibration(evidence).confidence([value for _, value in pairs]))
        for hidden, sureness in ((False, sure[row]), (True, sure_masked[row])):
            logits = inside.logits[row].copy()
            if hidden:
                logits[label] = -np.inf
            probabilities = softmax(logits[None] / np.float32(heat))[0]
            known = dict(zip(names, probabilities.tolist(), strict=True))
            best = names[int(np.argmax(logits))]
            cases.append((ModelSays(best, float(sureness), Standing.CURRENT, True, known), said, names[label]))
    scored = []
    for weight in WEIGHTS:
        choices = [ensemble(model, said, Thresholds(2, 2, 0.0, weight)) for model, said, _ in cases]
        sureness = np.array([choice.confidence for choice in choices])
        right = np.array([choice.document_id == wanted for choice, (_, _, wanted) in zip(choices, cases, strict=True)])
        for threshold in np.quantile(sureness, np.linspace(0, 0.9, 46)):
            taken = sureness >= threshold
            gain = float((taken & right).sum() - WRONG_COSTS * (taken & ~right).sum())
            scored.append((gain, weight, float(threshold)))
    _, weight, threshold = max(scored)
    return weight, threshold
