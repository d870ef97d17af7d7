"""The proof of the certificate: promises that are kept pass, and those that are broken are seen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from gateway.cascade.bounds import GRID
from gateway.forge import outcomes
from gateway.forge.certify import Asked, Certified, Sample
from gateway.forge.outcomes import NO_LABEL, Outcomes, Part
from loadtest import guarantee
from loadtest.__main__ import main
from loadtest.guarantee import Population, drawn, faults, resplit, tally, unbounded
from tests import tiny

ASKED = Asked(0.05, 0.95, 0.1)
TRIES = 150


def population(seed: int = 3) -> Outcomes:
    """Questions that are right as often as their confidence says, outliers that are seldom sure, and unseen intents
    that look as if they were known."""
    chance = np.random.default_rng(seed)

    def part(
        which: Part, size: int, sure: np.ndarray[tuple[int], np.dtype[np.float64]], inside: bool
    ) -> np.ndarray[tuple[int], np.dtype[np.void]]:
        right = chance.random(size) < sure
        labels = np.zeros(size, np.int64) if inside else np.full(size, NO_LABEL)
        logits = np.eye(2, dtype=np.float32)[np.where(right, 0, 1)]
        return outcomes.rows(which, labels, logits, sure.astype(np.float32), None)

    rows = [
        *(part(one, 500, 1 - chance.beta(0.3, 5, 500), True) for one in guarantee.NON_TEST),
        *(part(one, 700, chance.beta(1, 12, 700), False) for one in (Part.CALIBRATE, Part.CERTIFY)),
        part(Part.UNSEEN, 800, 1 - chance.beta(1, 5, 800), False),
    ]
    return Outcomes(np.concatenate(rows))


@pytest.fixture(scope="module")
def whole() -> Population:
    return Population.of(population(), "alone")


def test_a_resplit_uses_every_question_once(whole: Population) -> None:
    trial = resplit(whole, np.random.default_rng(1))
    parts = [trial.known, trial.certification, trial.truth]
    assert [len(one.right) for one in parts] == [500, 500, 500]
    together = np.concatenate([one.confidence for one in parts])
    assert (np.sort(together) == np.sort(whole.sample.confidence)).all()
    assert sum(len(one.outside) for one in parts) == len(whole.sample.outside)


def test_what_is_drawn_may_come_twice_and_all_are_the_truth(whole: Population) -> None:
    trial = drawn(whole, np.random.default_rng(1))
    assert trial.truth is whole.sample
    assert len(trial.certification.right) == 500
    assert len(np.unique(trial.certification.confidence)) < 500


@pytest.mark.parametrize("way", guarantee.WAYS)
def test_promises_are_kept_and_breaches_seen(whole: Population, way: str) -> None:
    found = tally(whole, way, ASKED, TRIES, 5)
    assert faults(found, way, ASKED) == []
    assert found.tries == TRIES
    assert found.broken["many of unseen intents"] > TRIES / 2
    assert found.broken["without a bound"] > TRIES / 5


def test_a_certificate_without_a_bound_is_found_out(whole: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(sample: Sample, asked: Asked, start: float) -> Certified:
        threshold = unbounded(sample, asked)
        return Certified(threshold, sample.counts(threshold), 0.0, 0.3, asked)

    monkeypatch.setattr(guarantee, "certify", careless)
    said = faults(tally(whole, "drawn", ASKED, TRIES, 5), "alone", ASKED)
    assert any("nothing out of scope: broken in" in one and "more than delta explains" in one for one in said)


def test_tries_that_see_no_breach_prove_nothing(whole: Population) -> None:
    """As with a model that is never wrong."""
    perfect = Sample(whole.sample.confidence, np.ones(len(whole.sample.right), bool), np.zeros(900, np.float32))
    found = tally(Population(perfect, np.zeros(100, np.float32)), "drawn", ASKED, TRIES, 5)
    assert found.certified == TRIES
    (said,) = faults(found, "alone", ASKED)
    assert "these tries would not tell" in said


def test_a_certificate_that_is_never_given_proves_nothing(whole: Population) -> None:
    hopeless = Population(
        Sample(whole.sample.confidence, np.zeros(len(whole.sample.right), bool), whole.sample.outside), whole.unseen
    )
    said = faults(tally(hopeless, "re-split", ASKED, 20, 5), "alone", ASKED)
    assert said == ["alone: certified in 0 of 20 tries, too few to tell"]


def test_without_a_bound_the_loosest_threshold_that_looks_good_is_taken() -> None:
    sample = Sample(np.array([0.9] * 19 + [0.5], np.float32), np.arange(20) < 19, np.empty(0, np.float32))
    assert unbounded(sample, Asked(0.05, 0.95, 0.0)) == GRID[-1]
    assert unbounded(sample, Asked(0.04, 0.95, 0.0)) == pytest.approx(0.505)
    nothing = Sample(sample.confidence, np.zeros(20, bool), sample.outside)
    assert unbounded(nothing, Asked(0.04, 0.95, 0.0)) > 0.9


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["guarantee", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tiny.write(tmp_path / "tiny")
    outcomes.write(folder / "outcomes.int8.npy", population())
    tiny.rehash(folder, "outcomes.int8.npy")
    return folder


def test_the_command_tells_what_it_found(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "guarantee.json"
    done = run("--bundle", folder, "--splits", TRIES, "--out", out)
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    assert (found["kind"], found["valid"], found["splits"], found["bundle"]) == ("guarantee", True, TRIES, "tiny/1")
    assert [(one["confidence"], one["way"]) for one in found["ways"]] == [("alone", "re-split"), ("alone", "drawn")]
    assert "<= delta: outliers as certified" in done.output


def test_the_command_fails_where_the_promise_is_broken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarantee, "LEVEL", 0.999999)  # any breach at all
    done = run("--bundle", folder, "--splits", TRIES)
    assert done.exit_code == 1
    assert "more than delta" in done.output


def test_a_bundle_without_outcomes_is_named(folder: Path) -> None:
    (folder / "outcomes.int8.npy").write_bytes(b"")
    tiny.rehash(folder, "outcomes.int8.npy")
    done = run("--bundle", folder)
    assert done.exit_code == 1
    assert "outcomes.int8.npy" in done.output
