"""`loadtest drift`: the questions it makes, what it counts, and what it takes for a fault. On a made world."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from click.testing import CliRunner

from gateway.telemetry.drift.reference import Reference
from gateway.types import Answer, DriftMonitor, Policy, Reason, Route
from loadtest import drift as measures
from loadtest.__main__ import main
from loadtest.drift import DRIFTS, PATIENCE, Found, quiet
from loadtest.drift_command import faults
from loadtest.drift_world import Source, World, misspell
from tests import test_drift_watch as made
from tests import tiny
from tests.test_drift_watch import LABELS, MODEL

ANSWER = Answer(Route.MODEL, Reason.CONFIDENT, Policy.CASCADE, 0.9)


@pytest.fixture(scope="module")
def world() -> World:
    chance = np.random.default_rng(1)
    near = made.World(chance)

    def source(noise: float, count: int = 800, right: float = 1.0) -> Source:
        is_right = chance.random((2, count)) < right
        by_model = np.array([np.ones(count, bool), np.arange(count) % 2 == 0])
        return Source(near.drawn(count, noise), [ANSWER] * count, is_right, by_model)

    pool = source(0.12)
    labels = np.array([int(one.logits.argmax()) for one in pool.predictions])
    profile = cast(Any, SimpleNamespace(model=MODEL, labels=range(LABELS)))
    empty = cast(Reference, None)
    whole = World(profile, pool, labels, source(0.25), source(0.6, right=0.0), source(0.3), empty, 100)
    return replace(whole, reference=whole.reference_of(np.arange(700)))


def test_misspelt_words_keep_their_letters_but_one() -> None:
    text = "why was my card declined at the supermarket yesterday"
    found = [misspell(text, random.Random(seed)) for seed in range(50)]
    assert len(set(found)) > 40
    for one in found:
        for was, now in zip(text.split(), one.split(), strict=True):
            assert len(was) - len(now) in (0, 1)
            assert not Counter(now) - Counter(was)
            assert len(was) > 3 or was == now


@pytest.mark.parametrize("kind", DRIFTS)
def test_each_kind_is_of_other_questions(world: World, kind: str) -> None:
    picks = DRIFTS[kind][1](world, np.random.default_rng(2), 2000)
    assert len(picks) == 2000
    others = [source is not world.pool for source, _ in picks]
    labels = Counter(int(world.labels[row]) for source, row in picks if source is world.pool)
    if kind in ("far", "near"):
        assert sum(others[:50]) < 12
        assert sum(others[1000:]) == pytest.approx(500, abs=80)
    elif kind == "typos":
        assert sum(others) == pytest.approx(1000, abs=100)
    else:
        assert not any(others)
        assert max(labels.values()) > 1.5 * 2000 / LABELS


def test_nothing_is_heard_where_nothing_drifts(world: World) -> None:
    assert quiet(world, 0, 3200) == []
    assert measures.shipped(world, 0) == []


def test_drift_is_found_after_it_began(world: World) -> None:
    found = measures.drifting(world, "far", 3)
    assert (found.early, found.monitor) == (0, found.monitor)
    assert found.monitor in set(DriftMonitor)
    assert found.delay is not None
    assert 0 < found.delay < 500
    assert found.before[0] == 0
    assert found.before[1] >= measures.FIRST
    assert found.until[1] == found.delay
    assert found.unwatched[1] == PATIENCE - found.delay
    assert found.after[1] == pytest.approx(found.unwatched[1] / 2, rel=0.2)  # half of it by the stricter thresholds
    assert 0.3 < found.unwatched[0] / found.unwatched[1] < 0.6


def test_the_tenant_is_named(world: World) -> None:
    found = measures.naming(world, 1)
    assert found.delay is not None
    assert found.delay < 200
    assert not found.others


def test_what_is_missed_counts_as_the_longest() -> None:
    def run(delay: int | None, early: int = 0) -> Found:
        return Found(delay, early, "labels" if delay else "", (1, 100), (2, 10), (0, 0), (5, 10))

    found = measures.summary([run(100), run(300), run(None, early=2)])
    assert (found["median"], found["worst"], found["missed"], found["early"]) == (300, PATIENCE, 1, 2)
    assert found["first"] == {"": 1, "labels": 2}
    assert found["wrong_of_model_answers"] == {"before": 0.01, "until": 0.2, "after": None, "unwatched": 0.5}


def numbers(alarms: list[int], worst: int, path: float, missed: int = 0) -> dict[str, Any]:
    return {
        "quiet": {"runs": len(alarms), "questions": 100_000, "alarms": alarms},
        "kinds": {"far": {"worst": worst, "missed": missed}},
        "microseconds": {"path": path},
    }


def test_the_measures_that_are_asked_decide() -> None:
    assert faults(numbers([0, 1, 0], 500, 19.9)) == []
    said = faults(numbers([0, 2], 501, 21.0))
    assert len(said) == 3
    assert "2 false alarms in 100,000 questions of run 2" in said[0]
    assert "501 questions" in said[1]
    assert faults(numbers([0], 400, 1.0, missed=1))


def test_a_bundle_without_a_reference_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_DATA", raising=False)
    result = CliRunner().invoke(main, ["drift", "--bundle", str(tiny.write(tmp_path / "tiny"))])
    assert result.exit_code == 1
    assert "recipe.toml" in result.output


def test_the_costs_are_told(world: World) -> None:
    found = measures.cost(world, 64)
    assert 0 < found["path"] < found["process"]
