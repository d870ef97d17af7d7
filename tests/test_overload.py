"""Overloads, simulated: how much is still answered in time, for whom, and who is refused first.

Every run is the same on every machine: a clock that the simulation moves, and seeded arrivals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.model.schedule import Limits
from gateway.rpc.admission import Terms
from gateway.rpc.quota import Rate
from gateway.types import Criticality
from tests.simulation import Load, Simulation

TERMS = Terms(permits=1024)
SECONDS = 8.0
"""Each load ends then, if it does not end before."""
ONE_BY_ONE = Limits(questions=1)
C = Criticality


def run(
    *loads: Load,
    terms: Terms = TERMS,
    seed: int = 1,
    limits: Limits = ONE_BY_ONE,
    stalls: Sequence[tuple[float, float]] = (),
    factor: float = 1.0,
) -> Simulation:
    loads = tuple(replace(load, stop=min(load.stop, SECONDS)) for load in loads)
    return Simulation(loads, terms, seed, limits, stalls=stalls, factor=factor).run()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_below_the_capacity_nobody_is_refused(seed: int) -> None:
    quiet = run(Load("all", 0.85), seed=seed)
    assert quiet.outcomes() == {"good": len(quiet.asked)}
    assert quiet.admission.level() == 0
    assert quiet.wasted == 0


@pytest.mark.parametrize(("rate", "seed"), [(2.0, 1), (2.0, 2), (5.0, 3), (10.0, 4)])
def test_in_an_overload_the_session_stays_busy_with_answers_in_time(rate: float, seed: int) -> None:
    over = run(Load("all", rate), seed=seed)
    assert over.goodput(stop=SECONDS) > 0.95
    assert over.percentile(0.5) < 0.03
    assert over.percentile(0.99) < 0.06  # of 200 ms
    assert over.percentile(1.0) < 0.1
    assert over.wasted / over.tokens < 0.005
    assert over.highest_cost < 0.06
    assert set(over.outcomes()) <= {"good", "shed"}  # nobody who was let in is late


def test_without_shedding_answers_are_in_time_and_late_in_it() -> None:
    over = run(Load("all", 3.0), terms=replace(TERMS, waits=None))
    assert over.goodput(stop=SECONDS) > 0.95
    assert 0.15 < over.percentile(0.5) < 0.2
    assert over.wasted / over.tokens < 0.005


@pytest.mark.parametrize("timeout", [0.02, 1.0])
def test_other_deadlines_than_the_usual_are_met_too(timeout: float) -> None:
    over = run(Load("all", 5.0, timeout))
    assert over.goodput(stop=SECONDS) > 0.95
    assert over.wasted / over.tokens < 0.005
    assert over.share_good() > 0.19
    assert over.percentile(1.0) <= timeout


def test_an_overload_that_ends_is_over_within_seconds() -> None:
    over = run(Load("before", 5.0, stop=4.0), Load("after", 0.7, start=4.0))
    assert over.percentile(0.99, "after", start=4.3) < 0.03
    assert over.share_good("after", start=4.3) > 0.97
    assert over.share_good("after", start=7.0) == 1


def test_a_burst_that_fits_the_deadlines_is_let_in() -> None:
    bursts = run(Load("steady", 0.5), *(Load("burst", 8, start=at, stop=at + 0.005) for at in (1, 3, 5, 7)))
    assert bursts.share_good() == 1
    assert len(bursts.of("burst")) > 80


def test_a_noisy_tenant_does_not_disturb_a_quiet_one() -> None:
    both = run(Load("quiet", 0.3, tenant="quiet"), Load("noisy", 10, tenant="noisy", start=2, stop=6))
    alone = run(Load("quiet", 0.3, tenant="quiet"))
    assert both.share_good("quiet") == 1
    assert both.percentile(0.99, "quiet") < alone.percentile(0.99, "quiet") + 0.01
    assert both.goodput("noisy", 2, 6) > 0.6


def test_two_noisy_tenants_get_half_each_however_much_each_asks() -> None:
    both = run(Load("loud", 1.2, tenant="a"), Load("louder", 4, tenant="b"))
    assert both.goodput("loud", stop=SECONDS) == pytest.approx(0.5, abs=0.05)
    assert both.goodput("louder", stop=SECONDS) == pytest.approx(0.5, abs=0.05)


def test_ten_quiet_tenants_share_what_a_noisy_one_leaves_alone() -> None:
    quiet = [Load("quiet", 0.05, tenant=f"tenant-{number}") for number in range(10)]
    both = run(*quiet, Load("noisy", 5, tenant="noisy", start=2, stop=6))
    assert both.share_good("quiet") > 0.999
    assert both.percentile(0.99, "quiet") < 0.015


def test_a_quota_holds_a_tenant_to_its_rate_and_nobody_else() -> None:
    both = run(
        Load("within", 0.1, tenant="a"), Load("beyond", 3, tenant="b"), terms=replace(TERMS, rate=Rate(300, 300))
    )
    assert both.outcomes("within").keys() == {"good"}
    assert 0.95 < both.outcomes("beyond")["good"] / (300 + 300 * SECONDS) <= 1


def test_what_matters_less_is_refused_first() -> None:
    """0.4 of the capacity in each class: room for two of them, and half of the third."""
    mixed = run(*(Load(criticality.value, 0.4, criticality=criticality) for criticality in C))
    good = [mixed.share_good(criticality.value) for criticality in C]
    assert good == sorted(good, reverse=True)
    assert good[0] == 1
    assert good[1] > 0.99
    assert 0.2 < good[2] < 0.6
    assert good[3] < 0.1
    assert mixed.goodput(stop=SECONDS) > 0.95
    assert mixed.percentile(0.99, "critical-plus") < 0.06


def test_the_most_critical_get_all_there_is() -> None:
    mixed = run(*(Load(criticality.value, 2.0, criticality=criticality) for criticality in C))
    assert mixed.goodput("critical-plus", stop=SECONDS) > 0.95
    assert all(mixed.share_good(one.value) < 0.02 for one in C if one is not C.CRITICAL_PLUS)


def test_before_and_while_the_sheddable_are_refused_they_do_without_a_search() -> None:
    mixed = run(Load("critical", 0.7), Load("sheddable", 0.7, criticality=C.SHEDDABLE))
    late = [one for one in mixed.of("sheddable", start=3.0) if one.outcome == "good"]
    assert sum(not one.may_search for one in late) > 0.5 * len(late)
    assert all(one.may_search for one in mixed.of("critical"))
    assert mixed.share_good("critical") > 0.99


def test_urgent_questions_pass_over_patient_ones_and_those_are_answered_too() -> None:
    mixed = run(Load("urgent", 0.5, 0.02), Load("patient", 0.3, 5.0))
    assert mixed.share_good() > 0.999
    assert mixed.percentile(0.99, "urgent") < 0.012


def test_a_flood_of_urgent_questions_does_not_starve_patient_ones() -> None:
    flood = run(Load("urgent", 5.0, 0.02), Load("patient", 0.1, 2.0))
    assert flood.share_good("patient") > 0.9
    assert flood.goodput(stop=SECONDS) > 0.95


def test_a_stall_costs_the_time_that_it_takes_and_little_more() -> None:
    """Three stalls of 0.3 s each, at 70 % of the capacity."""
    stalled = run(Load("all", 0.7), stalls=[(2.0, 0.3), (4.0, 0.3), (6.0, 0.3)])
    assert stalled.share_good() > 1 - 0.2
    assert stalled.share_good(start=7.0) == 1
    assert stalled.wasted / stalled.tokens < 0.01


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_a_machine_that_is_not_as_fast_as_measured_is_found_out(factor: float) -> None:
    other = run(Load("all", 3.0 / factor), factor=factor)
    assert other.goodput(start=1.0, stop=SECONDS) * factor > 0.93
    assert other.wasted / other.tokens < 0.01


def test_batches_are_filled_in_an_overload() -> None:
    over = run(Load("all", 4.0), limits=Limits(tokens=192, questions=16))
    assert over.goodput(stop=SECONDS) > 1.1  # of the capacity of one at a time
    assert over.percentile(0.99) < 0.07
    assert over.wasted / over.tokens < 0.005
