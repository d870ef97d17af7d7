"""Schedules: how many questions, where, and the same again for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest import arrivals
from loadtest.arrivals import Piece, schedule

RATES = st.floats(0, 500)
PIECES = st.lists(
    st.builds(Piece, seconds=st.floats(0.01, 20), rate=RATES, end_rate=st.none() | RATES), min_size=1, max_size=5
)
PROCESSES = st.sampled_from(("constant", "poisson"))


def integral(pieces: list[Piece], until: float) -> float:
    """How many questions are expected before `until`: the rate summed up in small steps, which knows no formula."""
    total, began = 0.0, 0.0
    for piece in pieces:
        span = min(max(until - began, 0.0), piece.seconds)
        middles = (np.arange(2000) + 0.5) / 2000 * span
        total += float((piece.rate + (piece.last_rate - piece.rate) * middles / piece.seconds).mean()) * span
        began += piece.seconds
    return total


@settings(deadline=None)
@given(PIECES, PROCESSES, st.integers(0, 100))
def test_a_schedule_is_ascending_within_the_run_and_the_same_again(
    pieces: list[Piece], process: arrivals.Process, seed: int
) -> None:
    times = schedule(pieces, process, seed)
    assert np.all(np.diff(times) >= 0)
    assert not len(times) or (times[0] >= 0 and times[-1] < sum(piece.seconds for piece in pieces))
    assert np.array_equal(times, schedule(pieces, process, seed))


@settings(deadline=None)
@given(PIECES)
def test_a_constant_schedule_has_asked_k_questions_when_k_are_expected(pieces: list[Piece]) -> None:
    times = schedule(pieces, "constant", 0)
    expected = sum(piece.expected for piece in pieces)
    assert len(times) == pytest.approx(expected, abs=1)
    for number in range(0, len(times), max(1, len(times) // 5)):
        assert integral(pieces, times[number]) == pytest.approx(number, abs=1e-3 + 1e-6 * expected)


def test_a_constant_rate_is_evenly_spaced() -> None:
    assert arrivals.constant(4, 2).tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75])


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_poisson_arrivals_are_independent(seed: int) -> None:
    """Intervals of a Poisson process have a deviation as large as their mean; even ones would have none."""
    times = arrivals.poisson(1000, 10, seed)
    intervals = np.diff(times)
    assert len(times) == pytest.approx(10_000, abs=600)  # 6 standard deviations
    assert intervals.std() / intervals.mean() == pytest.approx(1, abs=0.1)


def test_another_seed_gives_another_schedule() -> None:
    assert not np.array_equal(arrivals.poisson(100, 10, 1)[:50], arrivals.poisson(100, 10, 2)[:50])


def test_a_spike_is_where_it_should_be() -> None:
    times = schedule(arrivals.spike(10, 100, before=5, during=2, after=5), "constant", 0)
    counts = np.histogram(times, bins=[0, 5, 7, 12])[0]
    assert counts.tolist() == pytest.approx([50, 200, 50], abs=1)


def test_a_ramp_asks_three_quarters_in_its_second_half() -> None:
    times = schedule(arrivals.ramp(0, 100, 10), "constant", 0)
    assert np.mean(times > 5) == pytest.approx(0.75, abs=0.01)


def test_steps_follow_each_other() -> None:
    times = schedule(arrivals.steps((10, 0, 30), 2), "constant", 0)
    assert np.histogram(times, bins=[0, 2, 4, 6])[0].tolist() == [20, 0, 60]


@pytest.mark.parametrize("broken", [(0, 1, None), (1, -1, None), (1, 1, -1), (1, float("nan"), None)])
def test_a_piece_without_sense_is_refused(broken: tuple[float, float, float | None]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Piece(*broken)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50))
def test_a_trace_keeps_the_distances(offsets: list[float]) -> None:
    found = arrivals.trace([f"{offset!r}" for offset in offsets])
    assert found == pytest.approx(np.sort(offsets) - min(offsets))


def test_a_trace_may_be_timestamps_with_comments() -> None:
    lines = ["# from Monday", "2026-01-02T03:04:05.250+00:00", "", "2026-01-02T03:04:05+00:00  # the first"]
    assert arrivals.trace(lines).tolist() == pytest.approx([0, 0.25])


@pytest.mark.parametrize(("lines", "message"), [(["1", "soon"], "line 2: 'soon'"), (["inf"], "line 1"), ([], "holds")])
def test_a_broken_trace_is_named(lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arrivals.trace(lines)
