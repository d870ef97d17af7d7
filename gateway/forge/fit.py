"""From a graph's outputs to everything the cascade needs of one precision: calibration, certificate, thresholds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.cascade.calibration import (
    EVIDENCE_DEPTH,
    Confidence,
    EvidenceCalibration,
    Logistic,
    Matrix,
    evidence_features,
    model_features,
    softmax,
)
from gateway.cascade.policy import ModelSays, RetrievalSays, Thresholds, ensemble
from gateway.forge import calibrate
from gateway.forge import certify as certifying
from gateway.forge.calibrate import Outputs, logistic, masked_features, shares
from gateway.forge.certify import Certified
from gateway.forge.data import Data
from gateway.forge.recipes import ConfidenceSection
from gateway.knowledge.library import Generation, Library
from gateway.types import Document, Principal, Standing

Run = Callable[[Sequence[str]], tuple[Matrix, Matrix]]
"""(logits, embeddings) of texts, by the graph that is served."""

WRONG_COSTS = 1.0
"""A wrong answer costs what a right one gains; so retrieval answers from probability cost / (1 + cost) on."""
NO_ANSWER_SHARE = 0.05
"""Of the questions, so many are taken to be about something else, and so many to lack just their document."""
LEAST_SHARE = 0.05
"""Outsiders have at least this weight when the confidence is fitted, whatever share the certificate is for."""
SCOPE_QUANTILE = 0.02
WEIGHTS = tuple(round(0.1 * step, 1) for step in range(1, 10))


@dataclass(frozen=True, slots=True)
class Fitted:
    """Everything that is fitted for one precision.

    `accuracy` and `coverage` are on the `questions` and `outliers` of certification; `needed` is about how many
    questions a certificate takes, 0 where none would do.
    """

    prototypes: Matrix
    temperature: float
    scope_floor: float
    confidence: Confidence
    evidence: Logistic
    certified: Certified
    evidence_threshold: float
    ensemble_threshold: float
    ensemble_weight: float
    accuracy: float
    coverage: float
    questions: int
    outliers: int
    needed: int


def fit(
    run: Run,
    data: Data,
    documents: Sequence[Document],
    document_of: dict[str, str],
    section: ConfidenceSection,
    seed: int,
) -> Fitted:
    """Fit on `train` (prototypes), `calibrate` (probabilities) and `certify` (the threshold), each for that alone."""
    numbers = {label: number for number, label in enumerate(data.labels)}

    def outputs(rows: Sequence[object], texts: Sequence[str]) -> Outputs:
        logits, embedding = run(texts)
        labels = [numbers[row.category] if hasattr(row, "category") else -1 for row in rows]
        return Outputs(logits, embedding, np.array(labels, np.int64))

    train = outputs(data.train, [row.text for row in data.train])
    inside = outputs(data.calibrate, [row.text for row in data.calibrate])
    outside = outputs(data.outliers_calibrate, data.outliers_calibrate) if data.outliers_calibrate else None
    centres = calibrate.prototypes(train.embedding, train.labels, len(data.labels), seed)
    heat = calibrate.temperature(inside)
    features = model_features(inside.logits, inside.embedding, centres, heat)
    masked = masked_features(inside, centres, heat)
    far = np.empty((0, features.shape[1]), np.float32)
    if outside is not None:
        far = model_features(outside.logits, outside.embedding, centres, heat)
    confidence = calibrate.confidence(features, inside.right, masked, far, max(section.oos_share, LEAST_SHARE))

    start = certifying.starting_point(
        confidence(features),
        inside.right,
        confidence(far),
        (len(data.certify), len(data.outliers_certify)),
        section.assurance,
        section.oos_share if data.outliers_certify else 0.0,
    )
    certified, accuracy, needed = _certify(run, data, numbers, centres, heat, confidence, section, start)
    evidence = Logistic((0.0,) * 3, -30.0, (0.0,) * 3, (1.0,) * 3)  # without documents nothing is ever found
    ensemble_weight, ensemble_threshold = 0.5, 1.0
    if documents:
        library = Library({"": Generation.build(documents, lambda texts: run(texts)[1])})
        found = _Found.of(library, data, document_of, inside, outside)
        evidence = found.fit()
        ensemble_weight, ensemble_threshold = _ensemble(
            found, inside, masked, centres, heat, confidence, evidence, data, document_of
        )
    return Fitted(
        prototypes=centres,
        temperature=heat,
        scope_floor=float(np.quantile(features[:, 3], SCOPE_QUANTILE)),
        confidence=confidence,
        evidence=evidence,
        certified=certified,
        evidence_threshold=WRONG_COSTS / (1 + WRONG_COSTS),
        ensemble_threshold=ensemble_threshold,
        ensemble_weight=ensemble_weight,
        accuracy=accuracy,
        coverage=certified.accepted / len(data.certify),
        questions=len(data.certify),
        outliers=len(data.outliers_certify),
        needed=needed,
    )


def _certify(
    run: Run,
    data: Data,
    numbers: dict[str, int],
    centres: Matrix,
    heat: float,
    confidence: Confidence,
    section: ConfidenceSection,
    start: float,
) -> tuple[Certified, float, int]:
    """(certificate, accuracy, about how many questions it takes)"""
    logits, embedding = run([row.text for row in data.certify])
    labels = np.array([numbers[row.category] for row in data.certify])
    right = np.asarray(logits.argmax(axis=1) == labels)
    inside = confidence(model_features(logits, embedding, centres, heat))
    outside = np.empty(0, np.float32)
    if data.outliers_certify:
        outside = confidence(model_features(*run(data.outliers_certify), centres, heat))
    asked = section.risk, section.assurance, section.oos_share
    certified = certifying.certify(inside, right, outside, *asked, start)
    needed = len(right) if certified.holds else certifying.needed(inside, right, outside, *asked)
    return certified, float(right.mean()), needed


@dataclass(frozen=True, slots=True)
class _Found:
    """What retrieval finds for the calibration questions: best documents with similarities, one list a question."""

    inside: list[list[tuple[str, float]]]
    outside: list[list[tuple[str, float]]]
    wanted: list[str]

    @staticmethod
    def of(
        library: Library, data: Data, document_of: dict[str, str], inside: Outputs, outside: Outputs | None
    ) -> _Found:
        def find(embedding: NDArray[np.float32], depth: int) -> list[tuple[str, float]]:
            evidence = library.search("", embedding, Principal(), depth, 1)
            return [(hit.document.id, hit.similarity) for hit in evidence.hits]

        return _Found(
            [find(vector, EVIDENCE_DEPTH + 1) for vector in inside.embedding],
            [find(vector, EVIDENCE_DEPTH) for vector in outside.embedding] if outside is not None else [],
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
        features = [evidence_features([[value for _, value in one] for one in group]) for group in groups]
        right = np.array([bool(one) and one[0][0] == wanted for one, wanted in zip(first, self.wanted, strict=True)])
        targets = np.concatenate([right, np.zeros(sum(map(len, groups[1:])), bool)])
        parts = (1 - 2 * NO_ANSWER_SHARE, NO_ANSWER_SHARE, NO_ANSWER_SHARE)[: len(groups)]
        return logistic(np.concatenate(features), targets, shares(tuple(map(len, groups)), parts))


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
