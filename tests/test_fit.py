"""Fitting one precision: a made-up encoder whose questions say their label, with few labels and little data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from gateway.cascade.calibration import model_features
from gateway.forge.certificates import confidence
from gateway.forge.certify import Asked
from gateway.forge.data import Data
from gateway.forge.fit import Fitted, fit
from gateway.forge.outcomes import Part
from gateway.forge.recipes import ConfidenceSection
from gateway.forge.texts import Labelled
from gateway.types import CertificateStatus, Document, Matrix

DIM = 8
NAMES = ("red", "green", "blue")
ASKED = Asked(0.05, 0.95, 0.1)


def encoder(labels: int) -> object:
    """Texts are `label number`, titles a label alone; outliers lie on the axes that no label has."""

    def run(texts: Sequence[str]) -> tuple[Matrix, Matrix]:
        logits, embedding = np.zeros((len(texts), labels), np.float32), np.zeros((len(texts), DIM), np.float32)
        for row, text in enumerate(texts):
            name, *_, number = [*text.split(), "0"][: max(2, len(text.split()))]
            chance = np.random.default_rng(int(number))
            logits[row] = chance.normal(scale=0.5, size=labels)
            embedding[row] = chance.normal(scale=0.1, size=DIM)
            if name in NAMES:
                logits[row, NAMES.index(name)] += 4
            embedding[row, NAMES.index(name) if name in NAMES else DIM - 1] += 1
        return logits, embedding / np.linalg.norm(embedding, axis=1, keepdims=True)

    return run


def rows(labels: int, start: int, count: int) -> tuple[Labelled, ...]:
    return tuple(
        Labelled(f"{name} {number}", name) for name in NAMES[:labels] for number in range(start, start + count)
    )


def data(labels: int, size: int, outliers: int) -> Data:
    far = tuple(f"far {number}" for number in range(outliers))
    return Data(
        labels=NAMES[:labels],
        train=rows(labels, 0, 30),
        dev=rows(labels, 100, 5),
        calibrate=rows(labels, 200, size),
        certify=rows(labels, 1000, size),
        unseen=(),
        outliers_train=(),
        outliers_calibrate=far,
        outliers_certify=far,
        hashes={},
    )


def document(name: str) -> Document:
    return Document(id=name, title=name, uri="", updated="2026-01-01", answer=f"{name} 1", text=f"{name} 1\n\n{name} 2")


def fitted(labels: int, size: int, outliers: int = 0, documents: Sequence[Document] = ()) -> Fitted:
    made = data(labels, size, outliers)
    stands_for = {label: one.id for label in made.labels for one in documents if one.id == label}
    run = encoder(labels)
    assert callable(run)
    return fit(run, made, documents, stands_for, ConfidenceSection(), 7)


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("outliers", [0, 300])
def test_few_labels_are_fitted_and_certified(labels: int, outliers: int) -> None:
    found = fitted(labels, 150, outliers)
    given = confidence(found.outcomes, "alone", ASKED, [""] * labels)
    assert given.status is CertificateStatus.VALID
    assert given.operating.accepted > 0.8 * labels * 150
    assert (given.operating.certified_up_to_oos_share > 0.1) == bool(outliers)
    run = encoder(labels)
    assert callable(run)
    logits, embedding = run(["red 5000", "far 5000"])
    sure = found.confidence(model_features(logits, embedding, found.prototypes, found.temperature))
    assert np.isfinite(sure).all()
    assert sure[0] > sure[1]


def test_few_questions_certify_nothing_and_say_how_many_would() -> None:
    found = fitted(2, 4)
    given = confidence(found.outcomes, "alone", ASKED, ["", ""])
    assert given.status is CertificateStatus.INSUFFICIENT
    assert (len(found.outcomes.inside(Part.CERTIFY)), len(found.outcomes.outside(Part.CERTIFY))) == (8, 0)
    assert 59 <= given.needed <= 80


@pytest.mark.parametrize("names", [("red",), ("red", "green")])
def test_one_document_is_fitted_although_nothing_is_left_without_it(names: tuple[str, ...]) -> None:
    found = fitted(2, 30, documents=[document(name) for name in names])
    assert np.isfinite(found.evidence.weights).all()
    assert 0 < found.ensemble_weight < 1


@pytest.mark.parametrize("groups", [frozenset[str](), frozenset({"staff"})])
def test_a_perfect_model_is_informed_too_whoever_may_read_the_documents(groups: frozenset[str]) -> None:
    documents = [replace(document(name), groups=groups) for name in NAMES]
    found = fitted(3, 150, 300, documents)
    assert found.accuracy == 1.0
    assert found.informed
    assert found.outcomes.has_informed
    given = confidence(found.outcomes, "informed", ASKED, [""] * 3)
    assert given.status is CertificateStatus.VALID
    assert given.operating.accepted > 0.8 * 3 * 150
    assert found.evidence.weights != (0.0, 0.0, 0.0)


def test_a_search_promises_more_than_the_model_where_its_label_is_unsure() -> None:
    found = fitted(3, 150, 300, [document(name) for name in NAMES])
    assert found.outlook
    assert 0 <= found.outlook.model_doubt <= 1
    assert 0 <= found.outlook.search_doubt <= 1
    assert -1 <= found.outlook.correlation <= 1
    known, far = (found.outlook.of(one, 0.5, 0.0).search.mean for one in ((4.0, 0.95, 0.9), (-1.0, 0.1, 0.0)))
    assert known > far
    assert fitted(2, 30).outlook is None  # nothing to search in
