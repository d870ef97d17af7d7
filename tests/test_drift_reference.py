"""The reference: what is written into a bundle is what serving reads, and nothing else is taken for one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.forge import references
from gateway.forge.data import Data
from gateway.forge.knowledge import Knowledge
from gateway.forge.texts import Labelled
from gateway.model import bundle as bundles
from gateway.telemetry.drift.reference import LEAST, ROUTES, Reference, ScoreReference, file_name
from tests import tiny

QUESTIONS, LABELS, DIM = 50, 3, 6


def made(questions: int = QUESTIONS) -> Reference:
    chance = np.random.default_rng(0)
    embeddings = chance.normal(size=(questions, DIM)).astype(np.float32)
    labels = np.bincount(chance.integers(0, LABELS, questions), minlength=LABELS)
    routes = np.array([questions, *[0] * (len(ROUTES) - 1)])
    confidence, distance = (chance.random(questions).astype(np.float32) for _ in range(2))
    return Reference.of(confidence, distance, labels, routes, embeddings)


def test_it_is_read_as_it_was_written() -> None:
    one = made()
    other = Reference.load(one.dump(), LABELS, DIM)
    assert other.questions == QUESTIONS
    np.testing.assert_array_equal(other.confidence.values, one.confidence.values)
    np.testing.assert_array_equal(other.distance.edges, one.distance.edges)
    np.testing.assert_array_equal(other.labels, one.labels)
    np.testing.assert_array_equal(other.embedding.frequencies, one.embedding.frequencies)
    np.testing.assert_array_equal(other.embedding.spectrum, one.embedding.spectrum)
    assert one.dump() == other.dump()


def test_counts_are_of_all_its_questions() -> None:
    score = ScoreReference.of(np.array([0.5] * 20 + [0.9] * 20))
    assert score.counts().sum() == score.by_decile(score.values).sum() == 40
    assert score.bins(np.array([0.1, 0.5, 0.7, 0.9, 1.0])).max() < len(score.counts())


def test_too_few_questions_make_none() -> None:
    with pytest.raises(ValueError, match=f"it takes {LEAST}"):
        made(LEAST - 1)


def altered(**changes: Any) -> bytes:
    with np.load(io.BytesIO(made().dump())) as file:
        arrays = {name: file[name] for name in file.files} | changes
    content = io.BytesIO()
    np.savez(content, **{name: value for name, value in arrays.items() if value is not None})
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"nothing", "no archive"),
        (b"", "no archive"),
        (made().dump()[:-40], "no archive"),
        (altered(format=np.int64(2)), "format 1"),
        (altered(format=None), "format 1"),
        (altered(labels=np.zeros(LABELS + 1, np.int64)), "labels"),
        (altered(frequencies=np.zeros((DIM + 1, 64), np.float16)), "frequencies"),
        (altered(mean=np.full(128, np.nan)), "mean"),
        (altered(spectrum=None), "spectrum"),
        (altered(distance=np.zeros(3)), "distance"),
        (altered(confidence=np.zeros(3), distance=np.zeros(3)), "fewer than"),
    ],
)
def test_what_is_none_is_refused(content: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Reference.load(content, LABELS, DIM)


def data(**changes: Any) -> Data:
    rows = tuple(Labelled(text, "red") for text in tiny.questions(40))
    nothing: dict[str, Any] = dict.fromkeys(
        ("train", "dev", "unseen", "outliers_train", "outliers_calibrate", "outliers_certify"), ()
    )
    return Data(
        **nothing | {"labels": tiny.LABELS, "calibrate": rows[:10], "certify": rows[10:], "hashes": {}} | changes
    )


def test_a_bundle_gets_one_for_each_precision_and_stays_whole(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "tiny")
    before = bundles.load(folder).manifest
    references.write(folder, data(), Knowledge((), (), {}))
    after = bundles.load(folder)
    assert after.manifest.model_copy(update={"files": before.files}) == before
    assert after.manifest.files.keys() - before.files.keys() == {file_name(one) for one in tiny.PRECISIONS}
    for precision in tiny.PRECISIONS:
        found = Reference.load(after.path(file_name(precision)).read_bytes(), len(tiny.LABELS), after.manifest.dim)
        assert found.questions == found.labels.sum() == found.routes.sum() == 40


def test_again_it_is_the_same(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "tiny")
    for _ in range(2):
        references.write(folder, data(), Knowledge((), (), {}))
        files = {precision: (folder / file_name(precision)).read_bytes() for precision in tiny.PRECISIONS}
    references.write(folder, data(), Knowledge((), (), {}))
    assert files == {precision: (folder / file_name(precision)).read_bytes() for precision in tiny.PRECISIONS}


@pytest.mark.parametrize("changes", [{"hashes": {"questions.csv": "0" * 64}}, {"labels": ("red", "green")}])
def test_other_data_than_the_bundles_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = tiny.write(tmp_path / "tiny")
    with pytest.raises(ValueError, match="not made from this recipe's data"):
        references.write(folder, data(**changes), Knowledge((), (), {}))
