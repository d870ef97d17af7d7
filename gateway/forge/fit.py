"""From a graph's outputs to what the cascade needs of one precision, and to what its certificate is made from."""

from __future__ import annotations

from collections.abc import Sequence
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
from gateway.cascade.outlook import Outlook
from gateway.cascade.policy import ModelSays, RetrievalSays, Thresholds, ensemble
from gateway.forge import asking, calibrate, foresee, inform
from gateway.forge.asking import Run
from gateway.forge.calibrate import Outputs, logistic, masked_features, shares
from gateway.forge.data import Data
from gateway.forge.inform import NO_ANSWER_SHARE, Scene
from gateway.forge.outcomes import Outcomes
from gateway.forge.recipes import ConfidenceSection
from gateway.knowledge.library import Library
from gateway.types import Document, Matrix, Pass, Prediction, Principal, Standing

WRONG_COSTS = 1.0
"""A wrong answer costs what a right one gains; so retrieval answers from probability cost / (1 + cost) on."""
LEAST_SHARE = 0.05
"""Outsiders have at least this weight when the confidence is fitted, whatever share the certificate is for."""
SCOPE_QUANTILE = 0.02
WEIGHTS = tuple(round(0.1 * step, 1) for step in range(1, 10))


@dataclass(frozen=True, slots=True)
class Fitted:
    """Everything that is fitted for one precision.

    `informed` and `outlook` are None where no label stands for a document. `accuracy` is on the questions of
    certification, `outcomes` on those and on all others that trained nothing.
    """

    prototypes: Matrix
    temperature: float
    scope_floor: float
    confidence: Confidence
    informed: InformedCalibration | None
    outlook: Outlook | None
    evidence: Logistic
    evidence_threshold: float
    ensemble_threshold: float
    ensemble_weight: float
    accuracy: float
    outcomes: Outcomes


def fit(
    run: Run,
    data: Data,
    documents: Sequence[Document],
    document_of: dict[str, str],
    section: ConfidenceSection,
    seed: int,
) -> Fitted:
    """Fit on `train` (prototypes) and `calibrate` (probabilities), each for that alone. `certify` is only looked at.

    `documents` are those that existed when the model was trained: what it was not to know has no part in its numbers.
    They are searched as somebody who may read all of them.
    """
    train, heard = asking.labelled(run, data, data.train), asking.ask(run, data)
    inside, outside = heard.calibrate, heard.outliers_calibrate
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
    scene, informed, outlook = None, None, None
    if documents:
        library, reader = asking.searched(run, documents)
        found = _Found.of(library, reader, data, document_of, inside, outside)
        evidence = found.fit()
        ensemble_weight, ensemble_threshold = _ensemble(
            found, inside, masked, centres, heat, confidence, evidence, data, document_of
        )
        scene = Scene(library, reader, tuple(document_of.get(label, "") for label in data.labels), centres, heat)
        informed = inform.fit(scene, inside, outside, confidence, oos_share, seed)
        played = inform.play(scene, inside, outside, oos_share, seed)
        outlook = foresee.fit(played, confidence, informed) if informed and played else None

    def alone(some: Outputs) -> Matrix:
        return confidence(features(some))

    def both(some: Outputs) -> Matrix:
        assert scene
        assert informed
        return inform.confidences(scene, informed, some, alone(some))

    return Fitted(
        prototypes=centres,
        temperature=heat,
        scope_floor=float(np.quantile(features(inside)[:, PROTOTYPE], SCOPE_QUANTILE)),
        confidence=confidence,
        informed=informed,
        outlook=outlook,
        evidence=evidence,
        evidence_threshold=WRONG_COSTS / (1 + WRONG_COSTS),
        ensemble_threshold=ensemble_threshold,
        ensemble_weight=ensemble_weight,
        accuracy=float(heard.certify.right.mean()),
        outcomes=heard.outcomes(alone, both if informed else None),
    )


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
