"""When a run may be believed, and what a machine is said to have done meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loadtest import honesty
from loadtest.honesty import Limits, faults, peak, stolen
from tests.loadtest_fakes import observed


def test_a_generator_that_did_well_has_no_faults() -> None:
    assert faults(observed(), Limits()) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"late_p99_ms": 1.01}, ("late", "1.01 ms", "at most 1 ms")),
        ({"cpu": 0.86}, ("starved", "86 %", "at most 85 %")),
        ({"unsent": 3}, ("3 questions", "never sent")),
        ({"sent": 0}, ("no question",)),
    ],
)
def test_each_fault_is_named_with_its_numbers(changes: dict[str, Any], words: tuple[str, ...]) -> None:
    (fault,) = faults(observed(**changes), Limits())
    for word in words:
        assert word in fault


def test_limits_are_what_is_just_allowed_and_can_be_moved() -> None:
    assert faults(observed(late_p99_ms=1.0, cpu=0.85), Limits()) == ()
    assert faults(observed(late_p99_ms=4.0, cpu=0.95), Limits(late_ms=5, cpu=1)) == ()
    assert len(faults(observed(late_p99_ms=4.0, cpu=0.95), Limits())) == 2


def test_a_short_overload_is_not_averaged_away() -> None:
    """Half a core for a minute, but a whole one for six seconds of it."""
    used, samples = 0.0, [(0.0, 0.0)]
    for second in range(60):
        used += 1.0 if 30 <= second < 36 else 0.5
        samples.append((second + 1.0, used))
    assert peak(samples, 5) == pytest.approx(1.0)
    assert peak(samples, 60) == pytest.approx(0.55)


def test_a_run_shorter_than_the_span_counts_as_a_whole() -> None:
    assert peak([(0, 0), (1, 0.5), (2, 0.6)], 5) == pytest.approx(0.3)
    assert peak([(0, 0)], 5) == 0


def test_steal_is_read_from_the_kernel(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  10 20 30 40 50 60 70 80 90 100\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    # Guest time is in user time already.
    assert stolen(stat) == (80, 360)
    assert stolen(tmp_path / "absent") == (0, 0)


def test_facts_name_the_machine_the_commit_and_the_versions() -> None:
    facts = honesty.facts()
    assert {"processor", "system", "commit", "cores", "governor", "versions"} <= facts.keys()
    assert isinstance(facts["versions"], dict)
    assert facts["versions"]["grpcio"]
