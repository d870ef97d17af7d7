"""The search for the capacity, on servers that are a function of the rate."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.search import HIGHEST, LOWEST, Capacity, Search, repeated, search


@dataclass(frozen=True)
class Verdict:
    rate: float
    passed: bool


def server(capacity: float) -> Callable[[float], Awaitable[Verdict]]:
    async def trial(rate: float) -> Verdict:
        return Verdict(rate, rate <= capacity)

    return trial


@settings(deadline=None)
@given(st.floats(1, 50_000), st.floats(1, 5_000), st.floats(0.01, 0.5))
async def test_the_capacity_is_between_what_passed_and_what_failed(
    capacity: float, start: float, tolerance: float
) -> None:
    found = await search(server(capacity), start, tolerance)
    assert found.passed <= capacity < found.failed
    assert found.failed <= found.passed * (1 + tolerance)
    # Some for the bracket, and one for each halving of its logarithm.
    bracket = abs(math.log2(capacity / start)) + 3
    assert len(found.trials) <= bracket + math.log2(math.log(2) / math.log1p(tolerance)) + 2


async def test_a_server_that_always_fails_has_no_capacity_and_the_search_ends() -> None:
    found = await search(server(0), 100, 0.05)
    assert found.passed == 0
    assert found.trials[-1].rate == pytest.approx(LOWEST, rel=1)


async def test_a_server_that_has_just_started_is_asked_again() -> None:
    answer = server(1000)
    is_cold = True

    async def trial(rate: float) -> Verdict:
        nonlocal is_cold
        was_cold, is_cold = is_cold, False
        return Verdict(rate, False) if was_cold else await answer(rate)

    found = await search(trial, 100, 0.05, is_cold=True)
    assert [one.passed for one in found.trials[:3]] == [False, True, True]
    assert found.passed == pytest.approx(1000, rel=0.05)


async def test_a_server_that_never_fails_ends_the_search_too() -> None:
    found = await search(server(math.inf), 100, 0.05)
    assert found.failed == math.inf
    assert found.passed == pytest.approx(HIGHEST, rel=1)


async def test_repeats_are_told_apart_and_the_median_counts() -> None:
    capacities = (1000, 400, 1050)
    numbers: set[int] = set()

    async def trial(rate: float, repeat: int) -> Verdict:
        numbers.add(repeat)
        return Verdict(rate, rate <= capacities[repeat])

    found = await repeated(trial, 100, 0.05, 3)
    assert numbers == {0, 1, 2}
    assert found.median == pytest.approx(1000, rel=0.05)
    low, high = found.spread
    assert low == pytest.approx(400, rel=0.05)
    assert high == pytest.approx(1050, rel=0.05)


def test_the_spread_is_of_the_repeats() -> None:
    capacity: Capacity[Verdict] = Capacity((Search(passed=3), Search(passed=1), Search(passed=2)))
    assert (capacity.rates, capacity.median, capacity.spread) == ((3, 1, 2), 2, (1, 3))
