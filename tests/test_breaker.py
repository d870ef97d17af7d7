"""A tier that fails again and again is left alone, and taken back as soon as it works."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.cascade.breaker import FAILURES, FIRST_PAUSE, LAST_PAUSE, PROBE_SECONDS, Breaker
from gateway.types import BreakerState, Tier


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(Tier.MODEL, clock)


def opened(breaker: Breaker) -> Breaker:
    for _ in range(FAILURES):
        assert breaker.allows()
        breaker.failed()
    return breaker


def test_it_opens_after_failures_in_a_row_alone(breaker: Breaker) -> None:
    for _ in range(10 * FAILURES):
        breaker.failed()
        breaker.succeeded()
    assert breaker.figures.state is BreakerState.CLOSED
    assert not opened(breaker).allows()
    assert (breaker.figures.state, breaker.figures.opened) == (BreakerState.OPEN, 1)
    assert breaker.figures.failures == 11 * FAILURES


def test_one_caller_at_a_time_tries(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now = FIRST_PAUSE
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    states = [breaker.figures.state]
    breaker.succeeded()
    states.append(breaker.figures.state)
    assert states == [BreakerState.HALF_OPEN, BreakerState.CLOSED]
    assert breaker.allows()


def test_a_try_that_is_never_heard_of_keeps_nobody_waiting(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now = FIRST_PAUSE
    assert breaker.allows()
    clock.now += PROBE_SECONDS
    assert breaker.allows()


def test_a_try_that_had_nothing_to_do_is_the_next_ones(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    breaker.untold()
    assert not breaker.allows()
    clock.now = FIRST_PAUSE
    assert breaker.allows()
    breaker.untold()
    assert [breaker.allows(), breaker.allows()] == [True, False]


def test_each_try_that_fails_makes_the_next_one_later_up_to_a_bound(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    pauses = []
    for _ in range(6):
        since = clock.now
        while not breaker.allows():
            clock.now += 0.125
        pauses.append(clock.now - since)
        breaker.failed()
    assert pauses == [0.5, 1.0, 2.0, 4.0, LAST_PAUSE, LAST_PAUSE]
    clock.now += LAST_PAUSE
    assert breaker.allows()
    breaker.succeeded()
    opened(breaker)
    clock.now += FIRST_PAUSE
    assert breaker.allows()  # it begins anew


def test_what_was_asked_before_it_opened_changes_nothing(breaker: Breaker, clock: Clock) -> None:
    opened(breaker).failed()
    assert breaker.figures.opened == 1
    breaker.succeeded()
    assert not breaker.allows()
    clock.now = FIRST_PAUSE
    assert breaker.allows()
