"""Fitting the informed confidences: a made-up world in which documents lie where their questions do."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.cascade import rivals
from gateway.cascade.calibration import LEADING_FEATURES, Confidence, InformedCalibration, model_features
from gateway.forge import calibrate, inform
from gateway.forge.calibrate import Outputs
from gateway.forge.inform import WORLDS, Scene, Seen
from gateway.knowledge.generation import Generation
from gateway.knowledge.library import Library
from gateway.types import Document, Matrix, Principal

LABELS, DIM, LATER = 6, 16, 8
"""Label k's questions and document lie about axis k; document LATER is of an intent that has no label."""


def about(axis: int, chance: np.random.Generator, spread: float = 0.15) -> Matrix:
    vector = chance.normal(scale=spread, size=DIM)
    vector[axis] += 1
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def outputs(axes: list[int], seed: int, labels: list[int] | None = None) -> Outputs:
    """One question an axis. Logits are sure of the label nearest to the question, whatever it is about."""
    chance = np.random.default_rng(seed)
    embedding = np.stack([about(axis, chance) for axis in axes])
    logits = 12 * embedding[:, :LABELS] + chance.normal(scale=1.5, size=(len(axes), LABELS))
    return Outputs(logits.astype(np.float32), embedding, np.array(axes if labels is None else labels))


def scene(documents: tuple[str, ...] | None = None) -> Scene:
    chance = np.random.default_rng(0)
    axes = {f"document {axis}": axis for axis in (*range(LABELS), LATER)}

    def embed(texts: object) -> Matrix:
        assert isinstance(texts, list)
        return np.stack([about(axes[text.split(". ")[0]], chance) for text in texts])

    library = Library({"": Generation.build([Document(name, name, "", "", "A.", "A.") for name in axes], embed)})
    centres = np.eye(LABELS, DIM, dtype=np.float32)[:, None]
    return Scene(library, Principal(), documents or tuple(f"document {label}" for label in range(LABELS)), centres, 1.0)


def alone(inside: Outputs, outside: Outputs) -> Confidence:
    centres = scene().centres
    own, far = (model_features(one.logits, one.embedding, centres, 1.0) for one in (inside, outside))
    return calibrate.confidence(own, inside.right, calibrate.masked_features(inside, centres, 1.0), far, 0.1)


def fitted() -> InformedCalibration:
    inside, outside = outputs([*range(LABELS)] * 30, seed=1), outputs([12, 13] * 20, 2, [-1] * 40)
    found = inform.fit(scene(), inside, outside, alone(inside, outside), 0.1, seed=3)
    assert found
    return found


def test_each_label_is_struck_in_one_world() -> None:
    worlds = scene().worlds(seed=5)
    assert len(worlds) == WORLDS
    assert np.sum([~kept for kept in worlds], axis=0).tolist() == [1] * LABELS


def test_labels_of_one_document_are_struck_together() -> None:
    documents = ("a", "a", "b", "c", "", "c")
    for kept in scene(documents).worlds(seed=5):
        assert kept[0] == kept[1]
        assert kept[3] == kept[5]
        assert kept[4]  # stands for no document, so that nothing can be found of it


def test_a_question_of_a_struck_label_has_its_document_as_a_rival() -> None:
    asked = outputs([2], seed=4)
    kept = np.arange(LABELS) != 2
    (found,) = inform.see(scene(), asked, kept)
    assert isinstance(found, Seen)
    assert found.rivalry.document_id != "document 2"
    assert found.rivalry.rivals[0][0] == "document 2"


def test_a_label_without_a_document_is_not_informed() -> None:
    asked = outputs([0], seed=4)
    documents = ("", *(f"document {label}" for label in range(1, LABELS)))
    assert inform.see(scene(documents), asked) == [None]


def test_the_informed_confidence_tells_a_later_intent_from_a_known_one() -> None:
    found, world = fitted(), scene()
    alone = np.zeros(40, np.float32)
    known = inform.confidences(world, found, outputs([0, 1, 2, 3] * 10, seed=6), alone)
    later = inform.confidences(world, found, outputs([LATER] * 40, seed=7, labels=[-1] * 40), alone)
    assert np.median(known) > 0.8
    assert np.median(later) < 0.2


def test_a_question_far_from_everything_is_not_the_models_for_want_of_a_rival() -> None:
    found, world = fitted(), scene()
    far = outputs([14] * 40, seed=12, labels=[-1] * 40)
    seen = [one for one in inform.see(world, far) if one]
    assert found.confidence.leading
    leads = [found.confidence.leading.of([one.features[at] for at in LEADING_FEATURES]) for one in seen]
    sure = inform.confidences(world, found, far, np.zeros(40, np.float32))
    assert np.median(sure) < 0.05
    assert np.median(leads) > 3 * np.median(sure)  # by the lead alone it would have been


def test_the_better_candidate_is_right_about_as_often_as_the_blend_says() -> None:
    found, world = fitted(), scene()
    asked = outputs([*range(LABELS), LATER, LATER, LATER] * 20, seed=8)
    sure, right = [], []
    for seen, axis in zip(inform.see(world, asked), asked.labels.tolist(), strict=True):
        assert seen
        _, share = found.confidence.of(seen.features)
        best = rivals.candidates(seen.rivalry, share, seen.probability, found.sharpness)[0]
        sure.append(found.blended(best.mass, best.similarity))
        right.append(best.document_id == f"document {axis}")
    assert np.mean(right) > 0.9
    assert np.mean(sure) == pytest.approx(np.mean(right), abs=0.15)


def test_where_no_label_stands_for_a_document_nothing_is_fitted() -> None:
    inside = outputs([*range(LABELS)] * 5, seed=1)
    own = alone(inside, inside)
    assert inform.fit(scene(("",) * LABELS), inside, None, own, 0.1, seed=3) is None


def test_confidences_fall_back_to_the_model_alone() -> None:
    asked = outputs([0, 1], seed=9)
    documents = ("", *(f"document {label}" for label in range(1, LABELS)))
    found = inform.confidences(scene(documents), fitted(), asked, np.array([0.25, 0.5], np.float32))
    assert found[0] == 0.25
    assert found[1] != 0.5
