"""Comparing confidences: folds keep together what belongs together, and nothing is scored by what it was fitted on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gateway.forge import confidences
from gateway.forge.calibrate import Outputs
from gateway.forge.confidences import ALONE, CEILING, COMBINATION, FOLDS, NAMES, NEAR, OUTLIERS, Asked
from gateway.forge.evaluate import IN_SCOPE
from gateway.forge.scores import Trained
from gateway.types import Matrix
from tests.test_scores import LABELS, around, logits


def outputs(axes: list[int], each: int, seed: int, known: bool) -> Outputs:
    embedding: Matrix = np.concatenate([around(axis, each, seed + axis, 0.25) for axis in axes])
    labels = np.repeat(axes, each) if known else np.full(len(embedding), -1)
    noise = np.random.default_rng(seed).normal(scale=1.5, size=(len(embedding), LABELS))
    return Outputs(np.asarray(logits(embedding) + noise, np.float32), embedding, labels)


@pytest.fixture(scope="module")
def trained() -> Trained:
    own = outputs([0, 1, 2], 40, 100, known=True)
    return Trained.of(own.embedding, own.labels, LABELS, seed=0)


@pytest.fixture(scope="module")
def asked() -> Asked:
    groups = {
        IN_SCOPE: outputs([0, 1, 2], 40, 200, known=True),
        NEAR: outputs([3, 4], 30, 300, known=False),
        OUTLIERS: outputs([6, 7], 30, 400, known=False),
    }
    return Asked.of(groups, {NEAR: ["three"] * 30 + ["four"] * 30}, seed=0)


def test_an_unseen_intent_lies_in_one_fold(asked: Asked) -> None:
    near = asked.fold[asked.group == NEAR]
    assert len(set(near[:30].tolist())) == len(set(near[30:].tolist())) == 1
    assert set(asked.fold[asked.group == IN_SCOPE].tolist()) == set(range(FOLDS))


def test_every_score_is_given_to_every_question_and_beats_chance(asked: Asked, trained: Trained) -> None:
    found = confidences.compare(asked, trained, None, 0.1, seed=0)
    assert set(found) == {*NAMES, COMBINATION, ALONE, CEILING}
    rows = confidences.measure(asked, found, draws=40, seed=0)
    for name, row in rows.items():
        assert np.isfinite(found[name]).all()
        assert row.auroc[OUTLIERS].value > 0.6, name
        assert row.auroc[NEAR].low <= row.auroc[NEAR].value <= row.auroc[NEAR].high
    assert rows[ALONE].lead.value == 0


def test_what_a_question_is_scored_by_has_not_seen_its_label(asked: Asked, trained: Trained) -> None:
    """The labels of one fold turned round change the scores of the other folds alone."""
    first = (asked.group == IN_SCOPE) & (asked.fold == 0)
    labels = asked.outputs.labels.copy()
    labels[first] = (labels[first] + 1) % LABELS
    other = replace(asked, outputs=replace(asked.outputs, labels=labels))
    before, after = (confidences.compare(one, trained, None, 0.1, seed=0) for one in (asked, other))
    for name in (COMBINATION, ALONE):
        assert before[name][first] == pytest.approx(after[name][first])
        assert before[name][~first] != pytest.approx(after[name][~first])
