"""The table of what a pass costs: between its sizes, beyond them, and kept current without believing a stall."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.cost import CLIP, STALL, WEIGHT, CostTable, Delay

MEASURED = {8: 0.001, 16: 0.002, 64: 0.006}


@pytest.mark.parametrize(
    ("tokens", "seconds"), [(1, 0.001), (8, 0.001), (12, 0.0015), (16, 0.002), (40, 0.004), (64, 0.006), (128, 0.012)]
)
def test_sizes_between_those_measured_lie_on_a_line(tokens: int, seconds: float) -> None:
    assert CostTable(MEASURED).predict(tokens) == pytest.approx(seconds)


def test_one_stall_moves_a_prediction_by_a_tenth_at_most() -> None:
    costs = CostTable(MEASURED)
    costs.observe(16, 1.0)
    assert 0.002 < costs.predict(16) <= 0.002 * (1 + WEIGHT * (CLIP - 1))


@pytest.mark.parametrize(("factor", "passes"), [(0.1, 100), (10.0, 70)])
def test_a_machine_that_changed_is_believed_soon(factor: float, passes: int) -> None:
    costs = CostTable(MEASURED)
    for _ in range(passes):
        costs.observe(16, 0.002 * factor)
    assert costs.predict(16) == pytest.approx(0.002 * factor, rel=0.1)


def test_only_the_nearest_size_learns() -> None:
    costs = CostTable(MEASURED)
    costs.observe(20, 0.005)
    assert costs.predict(16) > 0.002
    assert (costs.predict(8), costs.predict(64)) == (0.001, 0.006)


@pytest.mark.parametrize("tokens", [11, 20, 300])
def test_what_is_seen_between_the_sizes_is_predicted_there(tokens: int) -> None:
    costs = CostTable(MEASURED)
    for _ in range(500):
        costs.observe(tokens, 0.003)
    assert costs.predict(tokens) == pytest.approx(0.003, rel=0.01)


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(1e-9, 100))), st.integers(1, 1000))
def test_predictions_stay_above_zero(passes: list[tuple[int, float]], tokens: int) -> None:
    costs = CostTable(MEASURED)
    for seen, seconds in passes:
        costs.observe(seen, seconds)
    assert costs.predict(tokens) > 0


def usual(delays: Iterable[float]) -> float:
    delay = Delay()
    for seconds in delays:
        delay.observe(seconds)
    return delay.usual()


def test_what_is_always_late_by_the_same_is_usually_late_by_that() -> None:
    assert usual([0.003] * 500) == pytest.approx(0.003, abs=1e-4)


def test_what_is_never_late_needs_no_time() -> None:
    assert usual([-0.001] * 500) == 0
    assert Delay().usual() == 0


def test_what_varies_is_hardly_ever_later_than_usual() -> None:
    chance = random.Random(7)
    seen = [chance.expovariate(1000) for _ in range(3000)]
    assert sum(seconds > usual(seen) for seconds in seen) / len(seen) < 0.05
    assert usual(seen) < 0.008


def test_a_stall_is_forgotten_soon() -> None:
    assert usual([0.0, 1.0]) == pytest.approx(STALL / 4)
    assert usual([0.0, 1.0, *[0.0] * 60]) < 0.003
