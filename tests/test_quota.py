"""A tenant's quota: the pace, the burst, and how long to wait for the next question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rpc.quota import Quota, Rate


def taken(quota: Quota, now: float, tries: int) -> int:
    count = 0
    for _ in range(tries):
        if not quota.wait(now):
            quota.take(now)
            count += 1
    return count


def test_a_burst_comes_at_once_and_then_one_at_a_time() -> None:
    quota = Quota(Rate(second=10, burst=5))
    assert taken(quota, 100.0, 20) == 5
    assert quota.wait(100.0) == pytest.approx(0.1)
    assert taken(quota, 100.101, 20) == 1


def test_a_burst_is_back_after_the_time_that_it_takes() -> None:
    quota = Quota(Rate(second=10, burst=5))
    taken(quota, 0.0, 5)
    assert not quota.is_full(0.499)
    assert quota.is_full(0.501)
    assert taken(quota, 50.0, 20) == 5  # and no more than a burst, however long nobody asked


def test_many_come_when_there_is_room_for_all_of_them() -> None:
    quota = Quota(Rate(second=10, burst=5))
    quota.take(0.0, 3)
    assert quota.wait(0.0, 2) == 0
    assert quota.wait(0.0, 3) == pytest.approx(0.1)


def test_more_than_a_burst_come_at_once_and_are_paid_for() -> None:
    quota = Quota(Rate(second=10, burst=5))
    assert quota.wait(0.0, 20) == 0
    quota.take(0.0, 20)
    assert quota.wait(0.0) == pytest.approx(1.6)
    assert quota.wait(1.9, 20) == pytest.approx(0.1)  # only once nothing is owed


def test_looking_takes_nothing() -> None:
    quota = Quota(Rate(second=1, burst=1))
    assert [quota.wait(0.0) for _ in range(3)] == [0.0] * 3


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=200), st.integers(1, 50), st.integers(1, 20))
def test_never_more_than_the_burst_and_the_pace(gaps: list[float], rate: int, burst: int) -> None:
    quota, now, count = Quota(Rate(rate, burst)), 0.0, 0
    for gap in gaps:
        now += gap
        count += taken(quota, now, 3)
    assert count <= burst + now * rate + 1e-3


@given(st.integers(1, 100), st.floats(0.1, 1000), st.floats(1, 20))
def test_whoever_waits_as_long_as_it_was_told_gets_in(count: int, rate: float, burst: float) -> None:
    quota, now = Quota(Rate(rate, burst)), 5.0
    for _ in range(count):
        now += quota.wait(now)
        assert quota.wait(now) == 0
        quota.take(now)
