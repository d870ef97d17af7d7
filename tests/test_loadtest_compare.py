"""Ratios of two results, and how far they may be off."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from loadtest import compare, documents
from loadtest.compare_command import compared
from loadtest.documents import NotAResult
from tests.loadtest_fakes import made_run


def seconds(scale: float, seed: int, count: int = 60) -> list[list[float]]:
    chance = np.random.default_rng(seed)
    return [chance.lognormal(np.log(0.01 * scale), 0.3, 40).tolist() for _ in range(count)]


def test_a_run_beside_itself_is_one_and_surely_so() -> None:
    run = made_run(seconds(1, 1))
    for name, ratio in compare.runs(run, run).items():
        assert ratio.ratio == 1, name
        assert ratio.low <= 1 <= ratio.high


def test_a_run_that_is_half_as_slow_is_found_so() -> None:
    ratios = compare.runs(made_run(seconds(1, 1)), made_run(seconds(1.5, 2)))
    for name in ("p50_ms", "p90_ms", "p99_ms"):
        ratio = ratios[name]
        assert ratio.low < 1.5 < ratio.high, name
        assert 1 < ratio.low < ratio.ratio < ratio.high
    assert ratios["p50_ms"].a == pytest.approx(10, rel=0.05)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Two runs of the same server: the interval of the median's ratio should hold 1 in 95 of 100 pairs."""
    held = 0
    for seed in range(40):
        ratio = compare.runs(made_run(seconds(1, 2 * seed, 20)), made_run(seconds(1, 2 * seed + 1, 20)))["p50_ms"]
        held += ratio.low <= 1 <= ratio.high
    assert held >= 33


def test_what_was_refused_lowers_the_goodput() -> None:
    whole = seconds(1, 1, 10)
    ratios = compare.runs(made_run(whole), made_run([one[:20] for one in whole], shed=[20] * 10))
    assert ratios["good_per_second"].ratio == pytest.approx(0.5)
    assert ratios["ok_per_second"].b == 20


def test_cpu_time_is_of_the_answers_of_the_same_seconds() -> None:
    a = made_run(seconds(1, 1, 10), cpu=[0.1 * second for second in range(11)] + [1.0])
    b = made_run(seconds(1, 2, 10), cpu=[0.2 * second for second in range(11)] + [2.0])
    ratio = compare.runs(a, b)["cpu_ms_per_answer"]
    assert ratio.a == pytest.approx(100 / 40)
    assert ratio.ratio == pytest.approx(2)
    assert "cpu_ms_per_answer" not in compare.runs(a, made_run(seconds(1, 2, 10)))


def test_a_run_without_answers_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="nothing was answered"):
        compare.runs(made_run([[], []], shed=[3, 3]), made_run(seconds(1, 1)))


def test_repeats_of_a_capacity_are_compared_by_their_medians() -> None:
    ratio = compare.repeats([100, 110, 90], [200, 220, 180])
    assert (ratio.ratio, ratio.a, ratio.b) == (2, 100, 200)
    assert ratio.low == pytest.approx(180 / 110)
    assert ratio.high == pytest.approx(220 / 90)


def kept(run: Any) -> dict[str, Any]:
    """As it comes back from a file."""
    found = json.loads(documents.text(run.to_json()))
    assert isinstance(found, dict)
    return found


def test_results_from_files_are_compared_and_their_faults_kept() -> None:
    a, b = kept(made_run(seconds(1, 1))), kept(made_run(seconds(1, 2), faults=("the generator was late",)))
    found = compared(a, b)
    assert found["faults"] == ["B: the generator was late"]
    assert found["valid"] is False
    assert json.loads(documents.text(found))["ratios"]["p99_ms"]["ratio"] == pytest.approx(1, rel=0.3)


def test_a_difference_of_machines_is_a_warning() -> None:
    a = kept(made_run(seconds(1, 1)))
    assert compared(a, a | {"processor": "Slide rule"})["warnings"] == [
        "processor differs: Abacus x 2 and Slide rule"
    ]  # fmt: skip


def test_other_kinds_are_refused() -> None:
    a = kept(made_run(seconds(1, 1)))
    with pytest.raises(NotAResult, match="a run cannot be compared with a sweep"):
        compared(a, a | {"kind": "sweep"})
    with pytest.raises(NotAResult, match="not a sweep"):
        compared(a | {"kind": "sweep"}, a | {"kind": "sweep"})
    with pytest.raises(NotAResult, match="--out"):
        compared(a, documents.without_full(a))


@pytest.mark.parametrize(("text", "message"), [("x", "is not JSON"), ("{}", "is not a result"), ("[]", "is not a r")])
def test_files_of_others_are_named(tmp_path: Any, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(NotAResult, match=message):
        documents.read(path)
    with pytest.raises(NotAResult, match="No such file"):
        documents.read(tmp_path / "b.json")
