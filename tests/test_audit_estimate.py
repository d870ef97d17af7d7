"""The estimate of the error rate: its bounds hold at all times, by simulation, and find what is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from click.testing import CliRunner

from gateway.audit.cases import Tally
from gateway.audit.estimate import DELTA, Stratum, estimate, interval, log_capital, log_capital_since, lower_bound
from gateway.audit.planning import bounds, judged_until_sure
from gateway.audit.rates import added, rates
from gateway.cli.main import cli

RUNS = 300
EVERY = 20


def judged(drawn: int, wrong: int, propensity: float = 0.01) -> list[Stratum]:
    return [Stratum(propensity, drawn, drawn, wrong)]


def flipped(strata: list[Stratum]) -> list[Stratum]:
    """Of right answers instead of wrong ones, where all were judged."""
    return [Stratum(one.propensity, one.drawn, one.judged, one.judged - one.wrong) for one in strata]


def ever_refuted(rate: float, claim: float, answers: int, seed: int) -> int:
    """Of RUNS with that error rate, how many ever refute the claim that it is another, looked at again and again."""
    generator = np.random.default_rng(seed)
    wanted = math.log(2 / DELTA)
    count = 0
    for _ in range(RUNS):
        wrong = np.cumsum(generator.random(answers) < rate)
        looks = (judged(seen, int(wrong[seen - 1])) for seen in range(EVERY, answers, EVERY))
        count += any(
            log_capital(strata, claim) >= wanted or log_capital(flipped(strata), 1 - claim) >= wanted
            for strata in looks
        )
    return count


@pytest.mark.parametrize(("rate", "seed"), [(0.02, 1), (0.05, 2), (0.2, 3)])
def test_the_true_rate_is_ever_left_out_by_no_more_than_delta_of_the_runs(rate: float, seed: int) -> None:
    slack = 3 * (RUNS * DELTA * (1 - DELTA)) ** 0.5
    assert ever_refuted(rate, rate, 1500, seed) <= RUNS * DELTA + slack


@pytest.mark.parametrize(("rate", "seed"), [(0.12, 4), (0.005, 5)])
def test_a_false_claim_is_refuted(rate: float, seed: int) -> None:
    assert ever_refuted(rate, 0.05, 1500, seed) >= 0.95 * RUNS


def test_bounds_close_in_on_the_rate() -> None:
    widths = []
    for drawn in (100, 1_000, 10_000):
        found = interval(judged(drawn, drawn * 3 // 100))
        assert found.lower < 0.03 < found.upper
        widths.append(found.upper - found.lower)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]
    assert interval([]) == interval(judged(0, 0))
    assert interval([]).lower == 0.0
    assert interval([]).upper > 0.999


def test_what_was_drawn_more_often_counts_less() -> None:
    """Half of the answers are wrong to 2 % and drawn to 1 %, the others wrong to 20 % and drawn to 10 %."""
    strata = [Stratum(0.01, 1_000, 1_000, 20), Stratum(0.1, 10_000, 10_000, 2_000)]
    assert estimate(strata) == pytest.approx(0.11)
    assert interval(strata).lower < 0.11 < interval(strata).upper
    assert math.isnan(estimate([]))
    generator = np.random.default_rng(6)
    misses = 0
    for _ in range(RUNS):
        counts = [int(generator.binomial(1_000, 0.02)), int(generator.binomial(10_000, 0.2))]
        found = interval([Stratum(0.01, 1_000, 1_000, counts[0]), Stratum(0.1, 10_000, 10_000, counts[1])])
        misses += not found.lower <= 0.11 <= found.upper
    assert misses <= RUNS * DELTA


def test_whoever_judges_only_what_he_likes_moves_no_bound_beyond_the_truth() -> None:
    drawn, wrong = 1_000, 60
    truth = interval(judged(drawn, wrong))
    only_wrong = interval([Stratum(0.01, drawn, wrong, wrong)])
    only_right = interval([Stratum(0.01, drawn, drawn - wrong, 0)])
    nobody = interval([Stratum(0.01, drawn, 0, 0)])
    assert only_wrong.lower == truth.lower
    assert only_wrong.upper > truth.upper
    assert only_right.lower < truth.lower
    assert only_right.upper == truth.upper
    assert (nobody.lower, nobody.upper > 0.99) == (0.0, True)
    assert estimate([Stratum(0.01, drawn, wrong, wrong)]) == 1.0  # which is why the bounds are what is acted upon


def test_what_goes_wrong_now_is_not_hidden_by_what_went_well() -> None:
    good, bad = judged(3_000, 60), judged(300, 45)
    together = judged(3_300, 105)
    assert interval(together).lower < 0.05
    assert lower_bound({1: together, 2: bad}) > 0.05
    assert lower_bound({1: together}) < 0.05
    assert lower_bound({1: good}) < 0.05
    assert lower_bound({}) == 0.0


def test_starting_again_every_day_raises_no_false_alarm() -> None:
    generator = np.random.default_rng(7)
    alarms, wanted = 0, math.log(1 / DELTA)
    for _ in range(RUNS):
        daily = [judged(40, int(generator.binomial(40, 0.05)))[0] for _ in range(12)]
        for day in range(1, 13):
            since = {start + 1: added(daily[start:day]) for start in range(day)}
            if log_capital_since(since, 0.05) >= wanted:
                alarms += 1
                break
    assert alarms <= RUNS * DELTA + 3 * (RUNS * DELTA) ** 0.5


def test_routes_have_rates_of_their_own() -> None:
    tallies = [
        Tally("banking/1", "model", 1, Stratum(0.01, 100, 50, 2)),
        Tally("banking/1", "model", 2, Stratum(0.02, 100, 50, 2)),
        Tally("banking/1", "retrieval", 1, Stratum(0.01, 10, 0, 0)),
    ]
    model, retrieval = rates(tallies)
    days = {start + 1: added(one.stratum for one in tallies[start:2]) for start in range(2)}
    assert model.lower_since == lower_bound(days)
    assert (model.route, model.drawn, model.judged, model.wrong) == ("model", 200, 100, 4)
    assert model.estimate == pytest.approx(0.04)
    assert model.lower < 0.04 < model.upper
    assert (retrieval.route, retrieval.judged, math.isnan(retrieval.estimate)) == ("retrieval", 0, True)


def test_a_day_keeps_its_part_of_the_capital_as_it_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else old days would be given more and more of it, and in some years a false alarm would be sure to come."""
    tallies = [Tally("banking/1", "model", day, Stratum(0.01, 40, 40, 2)) for day in range(6)]
    tallies += [Tally("banking/1", "model", 6, Stratum(0.01, 40, 40, 12))]
    monkeypatch.setattr("gateway.audit.rates.MOST_DAYS", 2)
    last = {number: added(one.stratum for one in tallies[number - 1 :]) for number in (1, 6, 7)}
    assert rates(tallies)[0].lower_since == lower_bound(last)
    promoted = dict(enumerate(last.values(), 1))
    assert lower_bound(promoted) > lower_bound(last) > lower_bound({1: last[1]})


def test_a_plan_tells_what_the_estimate_will() -> None:
    assert bounds(1_000, 0.03) == interval(judged(1_000, 30))
    soon, later = (np.median(judged_until_sure(rate, 0.05, 40, 1_000, 1)) for rate in (0.3, 0.1))
    assert soon < later < 1_000
    assert set(judged_until_sure(0.0, 0.05, 3, 200, 1)) == {200}
    result = CliRunner().invoke(cli, ["audit", "plan", "--rate", "0.12", "--runs", "20", "--most", "1000"])
    assert "judged answers (median" in result.output
    assert "is doubted" not in CliRunner().invoke(cli, ["audit", "plan"]).output
