"""The order of what waits: shares between tenants, deadlines within one, nobody passed over for ever, true sums."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.fairness import ALIKE, PASSES, SPARE_LANES, FairQueue, Waiting

Item = Waiting[None]
Queue = FairQueue[None]


class Line:
    """A queue with a way to fill it."""

    def __init__(self) -> None:
        self.queue: Queue = FairQueue()
        self.count = 0

    def ask(self, tenant: str = "a", due: float = 1.0, cost: float = 1.0, tokens: int = 1) -> Item:
        self.count += 1
        one: Item = Waiting(self.count, tenant, due, tokens, cost, None)
        self.queue.push(one)
        return one

    def serve(self) -> Item:
        one = self.queue.head()
        assert one is not None
        self.queue.take(one)
        return one

    def served(self, count: int) -> list[Item]:
        return [self.serve() for _ in range(count)]


@pytest.fixture
def line() -> Line:
    return Line()


def share(served: Sequence[Item], tenant: str) -> float:
    return sum(one.cost for one in served if one.tenant == tenant) / sum(one.cost for one in served)


def test_an_empty_queue_has_no_head(line: Line) -> None:
    assert line.queue.head() is None


def test_within_a_tenant_the_earliest_deadline_is_next_and_then_who_came_first(line: Line) -> None:
    asked = [line.ask(due=due) for due in (3.0, 1.0, 2.0, 1.0)]
    assert line.served(4) == [asked[1], asked[3], asked[2], asked[0]]


def test_looking_at_the_head_changes_nothing(line: Line) -> None:
    line.ask()
    assert line.queue.head() is line.queue.head()
    assert len(line.queue) == 1


def test_tenants_take_turns_whatever_their_deadlines(line: Line) -> None:
    for _ in range(3):
        line.ask("a", due=1.0)
    for _ in range(3):
        line.ask("b", due=9.0)
    assert [one.tenant for one in line.served(6)] == ["a", "b"] * 3


def test_tenants_share_by_cost_and_not_by_count(line: Line) -> None:
    for _ in range(200):
        line.ask("long", cost=4.0)
    for _ in range(800):
        line.ask("short", cost=1.0)
    served = line.served(500)
    assert share(served, "long") == pytest.approx(0.5, abs=0.02)


def test_a_quiet_tenant_is_next_however_many_a_noisy_one_has_waiting(line: Line) -> None:
    for _ in range(100):
        line.ask("noisy", due=0.0)
    line.served(10)
    quiet = line.ask("quiet", due=9.0)
    assert line.serve() is quiet


def test_silence_saves_up_nothing(line: Line) -> None:
    for _ in range(200):
        line.ask("noisy")
    line.served(100)
    for _ in range(100):
        line.ask("late")
    assert share(line.served(50), "late") == pytest.approx(0.5, abs=0.05)


def test_what_a_tenant_has_had_alone_is_not_held_against_it(line: Line) -> None:
    line.ask("steady", cost=100.0)
    line.ask("gone", cost=1.0)
    for _ in range(50):
        line.ask("steady")
    line.serve()
    for one in [one for one in line.queue if one.tenant == "gone"]:
        line.queue.remove(one)
    line.served(10)
    for _ in range(50):
        line.ask("new")
    assert share(line.served(20), "new") == pytest.approx(0.5, abs=0.06)


def test_a_tenant_that_empties_its_lane_keeps_what_it_has_had(line: Line) -> None:
    """One expensive question at a time, each asked when the last has left, is no way to a larger share."""
    for _ in range(1000):
        line.ask("steady", cost=1.0)
    line.ask("sly", cost=10.0)
    served = []
    for _ in range(220):
        served.append(line.serve())
        if served[-1].tenant == "sly":
            line.ask("sly", cost=10.0)
    assert share(served, "sly") == pytest.approx(0.5, abs=0.05)


def test_what_is_removed_is_not_charged(line: Line) -> None:
    gone = [line.ask("a", cost=100.0) for _ in range(5)]
    asked = line.ask("a")
    line.ask("b")
    for one in gone:
        assert line.queue.remove(one)
    assert line.serve() is asked


def test_only_what_waits_can_be_removed(line: Line) -> None:
    one = line.ask()
    line.ask("b")
    line.serve()
    assert not line.queue.remove(one)
    stranger: Item = Waiting(99, "nobody", 1.0, 1, 1.0, None)
    assert not line.queue.remove(stranger)
    assert len(line.queue) == 1


@pytest.mark.parametrize("newcomers", [1, 2])
def test_newcomers_without_end_do_not_keep_out_who_waits(line: Line, newcomers: int) -> None:
    line.ask("steady")
    line.serve()
    patient = line.ask("steady")
    for number in range(10 * newcomers):
        for more in range(newcomers):
            line.ask(f"tenant-{number}-{more}")
        if line.serve() is patient:
            break
    else:
        pytest.fail("it still waits")


def test_names_that_nobody_repeats_do_not_fill_the_memory(line: Line) -> None:
    patient = line.ask("patient")  # and a session that hangs
    for number in range(2000):
        line.queue.remove(line.ask(f"tenant-{number}"))
        assert line.queue.head() is patient
    assert len(line.queue._lanes) <= 2 * len(line.queue) + SPARE_LANES + 2
    assert len(line.queue._tags) == len(line.queue._lanes)


@pytest.mark.parametrize(
    ("tenant", "due", "expected"),
    [
        ("a", 1.0, 3.0 + 4.0),  # its three of that deadline; b gets as much as those and itself take
        ("a", 9.0, 5.0 + 5.0),  # all; b has no more
        ("a", 0.5, 0.0 + 1.0),
        ("b", inf, 5.0 + 5.0),
        ("c", 9.0, 0.0 + 2.0),  # one of each
    ],
)
def test_what_is_ahead_is_ones_own_and_as_much_of_everyone_elses(
    line: Line, tenant: str, due: float, expected: float
) -> None:
    for own in (1.0, 1.0, 1.0, 2.0, 2.0):
        line.ask("a", due=own)
    for _ in range(5):
        line.ask("b", due=1.0)
    assert line.queue.ahead(tenant, due, cost=1.0) == expected


def test_with_one_tenant_what_is_ahead_is_the_earlier_deadlines(line: Line) -> None:
    assert line.queue.ahead("a", 5.0, 1.0) == 0.0
    for due in range(10):
        line.ask(due=float(due), cost=0.5)
    assert line.queue.ahead("a", 5.0, 1.0) == 3.0
    assert line.queue.ahead("a", inf, 1.0) == 5.0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from("abc"), st.floats(0, 10), st.floats(1e-4, 2)),
        st.tuples(st.just("serve"), st.just(""), st.just(0.0), st.just(0.0)),
        st.tuples(st.just("leave"), st.just(""), st.floats(0, 0.999), st.just(0.0)),
    ),
    max_size=120,
)


@given(STEPS)
def test_the_cost_is_that_of_what_waits_and_ends_at_nothing(steps: list[tuple[str, str, float, float]]) -> None:
    line, waiting = Line(), list[Item]()
    for what, tenant, number, cost in steps:
        if what == "ask":
            waiting.append(line.ask(tenant, number, cost))
        elif what == "serve" and waiting:
            waiting.remove(line.serve())
        elif what == "leave" and waiting:
            assert line.queue.remove(waiting.pop(int(number * len(waiting))))
        assert line.queue.cost >= 0
        assert line.queue.cost == pytest.approx(sum(one.cost for one in waiting))
        assert sorted(one.number for one in line.queue) == sorted(one.number for one in waiting)
    for one in waiting:
        line.queue.remove(one)
    assert line.queue.cost == 0
    assert line.queue.head() is None


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 3)), min_size=1, max_size=150))
def test_nobody_is_passed_over_for_longer_than_the_bound(asked: list[tuple[float, int]]) -> None:
    """Each asks and then so many leave, at last all: none waits for more departures than those before it allow."""
    line, left, deadline_of = Line(), 0, dict[int, int]()
    for due, departures in asked:
        older = len(line.queue)
        deadline_of[line.ask(due=due).number] = left + PASSES * (older + 1)
        for _ in range(min(departures, len(line.queue))):
            left += 1
            assert left <= deadline_of[line.serve().number]
    while len(line.queue):
        left += 1
        assert left <= deadline_of[line.serve().number]


def test_a_flood_of_short_deadlines_does_not_hold_back_a_long_one_for_ever(line: Line) -> None:
    patient = line.ask(due=99.0)
    for number in range(PASSES):
        line.ask(due=float(number))
        line.ask(due=float(number))
        if line.serve() is patient:
            break
    else:
        pytest.fail(f"not among {PASSES}")


def test_company_is_of_about_one_length_and_the_own_tenant_s_first(line: Line) -> None:
    lone = line.ask("b", tokens=ALIKE[1])
    late, first = line.ask(due=9.0, tokens=ALIKE[0] + 1), line.ask(tokens=ALIKE[1])
    line.ask(tokens=ALIKE[0])
    line.ask(tokens=ALIKE[1] + 1)
    line.queue.take(lone)
    asked = line.ask("b", tokens=ALIKE[1])
    assert line.queue.alike(first) == [first, late, asked]
    line.queue.remove(late)
    assert line.queue.alike(first) == [first, asked]
    line.queue.take_along(asked)
    assert line.queue.alike(first) == [first]


def test_company_keeps_the_shares_of_tenants(line: Line) -> None:
    """However many older questions of the same length a noisy tenant has waiting."""
    for _ in range(1000):
        line.ask("noisy")
    for _ in range(400):
        line.ask("quiet")
    served = []
    for _ in range(60):
        served.append(line.serve())
        for one in line.queue.alike(served[-1])[:7]:
            line.queue.take_along(one)
            served.append(one)
    assert share(served, "quiet") == pytest.approx(0.5, abs=0.05)


def test_who_is_taken_along_is_charged_all_the_same(line: Line) -> None:
    along = [line.ask("along") for _ in range(100)]
    for _ in range(100):
        line.ask("steady")
    for one in along[50:70]:
        line.queue.take_along(one)
    assert line.queue.cost == 180
    first = line.served(20)
    assert share(first, "along") < 0.1
    assert share(line.served(40), "along") == pytest.approx(0.5, abs=0.05)


def test_who_is_only_ever_taken_along_pays_too(line: Line) -> None:
    """Its lane is empty again each time: that must not make it forget."""
    for _ in range(200):
        line.ask("steady")
    for _ in range(50):
        line.queue.take_along(line.ask("sly"))
        line.serve()
    line.ask("sly")
    assert share(line.served(10), "sly") == pytest.approx(0.1, abs=0.01)
    for _ in range(50):
        line.queue.take_along(line.ask("sly", cost=10.0))
    line.ask("sly")
    assert share(line.served(50), "sly") == 0
