"""Batches and forecasts: what leaves together, what is dropped as too late, and what a newcomer is told."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.cost import CostTable
from gateway.model.fairness import Waiting
from gateway.model.schedule import AFTER, Formed, Limits, Schedule

PER_TOKEN = 0.001
LIMITS = Limits(tokens=100, questions=8)
FAR = 1000.0


class Desk:
    """A schedule whose passes take PER_TOKEN seconds a token, and questions that are numbers."""

    def __init__(self, limits: Limits = LIMITS, costs: CostTable = CostTable({1: PER_TOKEN})) -> None:  # noqa: B008
        self.gone: set[int] = set()
        self.schedule: Schedule[int] = Schedule(costs, limits, lambda number: number in self.gone)
        self._numbers = itertools.count(1)

    def ask(self, tokens: int = 10, due: float = FAR, tenant: str = "a") -> int:
        number = next(self._numbers)
        cost = self.schedule.cost(tokens)
        self.schedule.queue.push(Waiting(number, tenant, due, tokens, cost, number))
        return number

    def form(self, now: float = 0.0) -> tuple[list[int], list[int]]:
        formed: Formed[int] = self.schedule.form(now)
        return [one.payload for one in formed.batch], [one.payload for one in formed.late]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_nothing_forms_of_nothing(desk: Desk) -> None:
    assert desk.form() == ([], [])
    assert desk.schedule.queued(0.0) == 0.0


def test_a_batch_stops_at_its_tokens(desk: Desk) -> None:
    first, second, third = (desk.ask(tokens) for tokens in (60, 40, 1))
    assert desk.form() == ([first, second], [])
    assert desk.form() == ([third], [])


def test_a_question_larger_than_a_batch_runs_alone(desk: Desk) -> None:
    large, small = desk.ask(500), desk.ask(1)
    assert [desk.form()[0], desk.form()[0]] == [[large], [small]]


def test_a_batch_grows_only_while_its_most_urgent_is_in_time(desk: Desk) -> None:
    urgent, patient = desk.ask(10, due=0.015), desk.ask(10)
    assert desk.form() == ([urgent], [])
    assert desk.form(0.01) == ([patient], [])


def test_what_cannot_be_in_time_is_dropped_and_those_behind_it_leave(desk: Desk) -> None:
    hopeless, late, fine = desk.ask(10, due=0.0), desk.ask(10, due=0.01 + AFTER - 1e-6), desk.ask(10, due=0.02)
    assert desk.form() == ([fine], [hopeless, late])


def test_time_for_the_usual_delay_is_kept(desk: Desk) -> None:
    for _ in range(500):
        desk.schedule.delay.observe(0.005)
    late, fine = desk.ask(10, due=0.0155), desk.ask(10, due=0.0165)
    assert desk.form() == ([fine], [late])
    assert desk.schedule.forecast(10, "a", FAR, 0.0).service == pytest.approx(0.016, abs=2e-4)


def test_a_lone_question_is_tried_whatever_is_predicted(desk: Desk) -> None:
    lone = desk.ask(50, due=0.01)
    assert desk.form() == ([lone], [])


def test_a_lone_question_whose_deadline_has_passed_is_not_tried(desk: Desk) -> None:
    past = desk.ask(due=1.0)
    assert desk.form(1.0) == ([], [past])


def test_whoever_has_just_left_is_neither_computed_nor_late(desk: Desk) -> None:
    left, stayed = desk.ask(), desk.ask()
    desk.gone.add(left)
    assert desk.form() == ([stayed], [])
    assert desk.schedule.queue.cost == 0


def test_a_newcomer_waits_for_what_runs_and_what_is_ahead(desk: Desk) -> None:
    desk.ask(100)
    desk.form(now=5.0)
    desk.ask(20, due=7.0)
    desk.ask(30, due=9.0)
    seen = desk.schedule.forecast(tokens=10, tenant="a", due=8.0, now=5.04)
    assert seen.wait == pytest.approx(0.06 + 0.02)
    assert seen.backlog == pytest.approx(0.06 + 0.05)
    assert seen.service == pytest.approx(0.01 + AFTER)
    assert seen.cost == pytest.approx(0.01)
    assert desk.schedule.queued(5.04) == pytest.approx(0.11)


def test_after_a_batch_nothing_runs(desk: Desk) -> None:
    desk.ask()
    desk.form()
    desk.schedule.ended()
    assert desk.schedule.forecast(10, "a", FAR, 0.0).wait == 0.0


def test_a_session_that_hangs_does_not_look_idle(desk: Desk) -> None:
    desk.ask(100)
    desk.form(now=0.0)
    assert desk.schedule.forecast(10, "a", FAR, now=3.1).wait == pytest.approx(3.0)


def test_a_question_costs_its_share_of_a_full_batch() -> None:
    costs = CostTable({10: 0.010, 100: 0.020})
    together: Schedule[int] = Schedule(costs, LIMITS)
    alone: Schedule[int] = Schedule(costs, Limits(tokens=100, questions=1))
    assert together.cost(10) == pytest.approx(0.002)
    assert alone.cost(10) == pytest.approx(0.010)


QUESTIONS = st.lists(st.tuples(st.integers(1, 150), st.floats(0, 2), st.sampled_from("ab"), st.booleans()), max_size=40)


@given(QUESTIONS, st.floats(0, 2))
def test_no_batch_holds_what_is_past_gone_or_too_much(
    questions: list[tuple[int, float, str, bool]], now: float
) -> None:
    desk = Desk()
    asked = {}
    for tokens, due, tenant, is_gone in questions:
        number = desk.ask(tokens, due, tenant)
        asked[number] = (tokens, due)
        if is_gone:
            desk.gone.add(number)
    seen: list[int] = []
    while len(desk.schedule.queue):
        batch, late = desk.form(now)
        assert all(asked[number][1] > now for number in batch)
        assert not desk.gone & {*batch, *late}
        tokens = sum(asked[number][0] for number in batch)
        assert len(batch) <= LIMITS.questions
        assert len(batch) <= 1 or tokens <= LIMITS.tokens
        assert len(batch) <= 1 or all(now + tokens * PER_TOKEN + AFTER <= asked[number][1] for number in batch)
        seen += [*batch, *late]
        now += tokens * PER_TOKEN
    assert sorted([*seen, *desk.gone]) == sorted(asked)
    assert desk.schedule.queue.cost == 0


ALIKE = Limits(tokens=100, questions=3, is_alike=True)


def weighty() -> CostTable:
    """Each pass takes as much as 20 tokens before its first one."""
    return CostTable({1: 21 * PER_TOKEN, 100: 120 * PER_TOKEN})


def test_questions_of_about_one_length_leave_together_the_longest_waiting_first() -> None:
    desk = Desk(ALIKE, weighty())
    first, _, second, third, fourth = (desk.ask(tokens) for tokens in (10, 30, 11, 12, 9))
    assert desk.form() == ([first, second, third], [])
    assert fourth in desk.form()[0] + desk.form()[0]


def test_company_is_sought_only_where_it_takes_less_than_a_pass_of_its_own() -> None:
    for costs, is_welcome in (
        (weighty(), True),
        (CostTable({1: PER_TOKEN}), False),
    ):  # without weight, padding is waste
        desk = Desk(ALIKE, costs)
        first, longer = desk.ask(17), desk.ask(29)
        assert desk.form()[0] == ([first, longer] if is_welcome else [first])


def test_company_is_padded_to_the_longest() -> None:
    desk = Desk(Limits(tokens=23, questions=3, is_alike=True), weighty())
    first, second = desk.ask(11), desk.ask(12)  # 2 * 12 are too many
    assert desk.form() == ([first], [])
    assert desk.form() == ([second], [])


def test_company_makes_nobody_late() -> None:
    desk = Desk(ALIKE, weighty())
    urgent, patient = desk.ask(10, due=0.035), desk.ask(10)
    assert desk.form() == ([urgent], [])
    assert desk.form(0.03) == ([patient], [])


def test_company_that_has_left_is_not_taken_along() -> None:
    desk = Desk(ALIKE, weighty())
    first, gone = desk.ask(10), desk.ask(10)
    desk.gone.add(gone)
    assert desk.form() == ([first], [])
    assert desk.form() == ([], [])


def test_what_company_saves_is_learnt() -> None:
    costs = CostTable({10: 0.010, 30: 0.015})
    schedule: Schedule[int] = Schedule(costs, ALIKE)
    assert schedule.cost(10) == pytest.approx(0.010)
    for number in range(300):
        schedule.queue.push(Waiting(number, "a", FAR, 10, schedule.cost(10), number))
    while schedule.form(0.0).batch:
        pass
    assert schedule.cost(10) == pytest.approx(0.005, rel=0.05)
    for number in range(100):
        schedule.queue.push(Waiting(number, "a", FAR, 10, schedule.cost(10), number))
        schedule.form(0.0)
    assert schedule.cost(10) == pytest.approx(0.010, rel=0.05)


def test_a_loop_that_is_late_delays_on_the_way_in_too(desk: Desk) -> None:
    for _ in range(200):
        desk.schedule.delay.observe(0.005)
    assert desk.schedule.forecast(10, "a", FAR, 0.0).wait == 0.0  # nothing waits or runs: it is tried
    desk.ask(10)
    assert desk.schedule.forecast(10, "a", FAR, 0.0).wait == pytest.approx(0.010 + 2 * 0.005, rel=0.01)
