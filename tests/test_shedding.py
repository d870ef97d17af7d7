"""The shed level: what makes it rise and fall, and who is refused at which."""

from __future__ import annotations

import pytest

from gateway.rpc.shedding import INTERVAL, RISE, Shedding, Waits
from gateway.types import Criticality

WAITS = Waits(target=0.01, most=0.25)
LEFT = 0.05
"""Seconds that every question here has, so that what is tolerated is the target."""
C = Criticality


def fed(shedding: Shedding, backlog: float, seconds: float, start: float = 0.0) -> float:
    """A question every 5 ms, each of which finds that backlog. When the last one came."""
    steps = round(seconds / 0.005)
    for step in range(steps + 1):
        shedding.observe(None, backlog, LEFT, start + step * 0.005)
    return start + steps * 0.005


def at(level: float) -> Shedding:
    """A level that was reached at once, at instant 0.1."""
    shedding = Shedding(WAITS)
    shedding.observe(None, 1.0, LEFT, 0.0)
    shedding.observe(None, level / RISE * WAITS.target, LEFT, INTERVAL)
    assert shedding.level(INTERVAL) == pytest.approx(level)
    return shedding


def test_a_queue_within_the_target_is_no_reason() -> None:
    shedding = Shedding(WAITS)
    assert shedding.level(fed(shedding, 0.01, 5)) == 0


def test_a_burst_that_drains_within_the_interval_is_no_reason() -> None:
    shedding = Shedding(WAITS)
    for burst in range(20):
        last = fed(shedding, 0.5, 0.09, start=burst / 10)
        shedding.observe(None, 0.01, LEFT, last + 0.005)
    assert shedding.level(2.0) == 0


def test_a_standing_queue_raises_the_level_step_by_step() -> None:
    shedding = Shedding(WAITS)
    now = fed(shedding, 0.011, 0.1)
    first = shedding.level(now)
    assert first == pytest.approx(RISE * 1.1)
    assert first < shedding.level(fed(shedding, 0.011, 0.3)) < 0.3


def test_a_long_queue_is_believed_faster() -> None:
    shedding = Shedding(WAITS)
    assert shedding.level(fed(shedding, 0.2, 0.1)) == 1


def test_the_level_falls_by_a_tenth_a_second_without_a_question() -> None:
    shedding = at(0.5)
    assert shedding.level(INTERVAL + 2.0) == pytest.approx(0.3)
    assert shedding.level(INTERVAL + 60.0) == 0


def test_one_question_that_finds_a_short_queue_starts_the_interval_again() -> None:
    shedding = Shedding(WAITS)
    fed(shedding, 0.5, 0.09)
    shedding.observe(None, 0.0, LEFT, 0.095)
    assert shedding.level(fed(shedding, 0.5, 0.09, start=0.1)) == 0


def test_who_has_more_time_tolerates_more() -> None:
    shedding = Shedding(WAITS)
    for step in range(100):
        shedding.observe(None, 0.15, 2.0, step * 0.01)
    assert shedding.level(1.0) == 0


@pytest.mark.parametrize(
    ("level", "refused"),
    [
        (0.2, [0, 0, 0, 0]),
        (0.375, [0.5, 0, 0, 0]),
        (0.5, [1, 0, 0, 0]),
        (0.625, [1, 0.5, 0, 0]),
        (0.75, [1, 1, 0, 0]),
        (0.9, [1, 1, 0.6, 0]),
        (1.0, [1, 1, 1, 0]),
    ],
)
def test_the_least_critical_go_first_and_the_most_critical_never(level: float, refused: list[float]) -> None:
    shedding = at(level)
    waits = {C.SHEDDABLE: 0.003, C.SHEDDABLE_PLUS: 0.006, C.CRITICAL: 0.012, C.CRITICAL_PLUS: 0.049}
    found = [shedding.share_refused(criticality, wait, LEFT, INTERVAL) for criticality, wait in waits.items()]
    assert found == pytest.approx(refused)


@pytest.mark.parametrize(
    ("criticality", "wait"), [(C.SHEDDABLE, 0.0025), (C.SHEDDABLE_PLUS, 0.005), (C.CRITICAL, 0.01)]
)
def test_who_hardly_waits_is_let_in_at_any_level(criticality: Criticality, wait: float) -> None:
    assert at(1.0).share_refused(criticality, wait, LEFT, INTERVAL) == 0


@pytest.mark.parametrize(
    ("criticality", "share"), [(C.SHEDDABLE, 0.25 / 2), (C.SHEDDABLE_PLUS, 0.25 * 0.75), (C.CRITICAL, 0.25)]
)
def test_who_would_wait_for_most_of_its_time_is_refused_at_any_level(criticality: Criticality, share: float) -> None:
    shedding = Shedding(WAITS)
    assert shedding.share_refused(criticality, share - 1e-6, 1.0, 0.0) == 0
    assert shedding.share_refused(criticality, share + 1e-6, 1.0, 0.0) == 1


def test_the_most_critical_wait_as_long_as_they_like() -> None:
    assert at(1.0).share_refused(C.CRITICAL_PLUS, 0.99, 1.0, INTERVAL) == 0
