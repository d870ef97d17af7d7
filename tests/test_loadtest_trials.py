"""What passes as within the capacity, what makes a capacity invalid, and the ratios of peers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from loadtest import documents, peers, trials
from loadtest.peers import Contender, Measured, Row
from loadtest.ports import free_port
from loadtest.questions import Questions
from loadtest.search import Capacity, Search
from loadtest.subjects import Subject
from loadtest.trials import SearchTerms, Terms, Trial
from tests.loadtest_fakes import made_run

QUICK = [[0.01] * 50] * 4


def test_all_answered_in_time_passes() -> None:
    trial = trials.judged(made_run(QUICK), 50)
    assert trial.passed
    assert (trial.rate, trial.statuses, trial.ok_per_second) == (50, {"OK": 200}, 50)


def test_one_refusal_fails() -> None:
    assert not trials.judged(made_run(QUICK, shed=[1]), 50).passed


def test_more_than_one_percent_above_the_target_fails() -> None:
    slow = [[0.01] * 49 + [0.06]] * 4
    assert not trials.judged(made_run(slow), 50).passed
    barely = [[0.01] * 99 + [0.06]] * 4
    assert trials.judged(made_run(barely), 100).passed


def test_a_question_that_was_never_sent_fails() -> None:
    run = made_run(QUICK)
    run.recorder.unsent(0, 1.0)
    assert not trials.judged(run, 50).passed


def test_nothing_asked_is_no_pass() -> None:
    assert not trials.judged(made_run([[], []]), 1).passed


def trial(rate: float, passed: bool, faults: tuple[str, ...] = (), cpu: float | None = 1.0) -> Trial:
    made = trials.judged(made_run(QUICK), rate)
    return replace(made, passed=passed, faults=faults, cpu_ms_per_answer=cpu)


def capacity(*rates: float, late_at: float = 0.0) -> Capacity[Trial]:
    """Each repeat passed at its rate and failed at 5 % more; the generator was late at `late_at`."""

    def made(rate: float) -> Search[Trial]:
        pairs = ((rate, True), (1.05 * rate, False))
        tried = [trial(one, passed, ("late",) if one == late_at else ()) for one, passed in pairs]
        return Search(passed=rate, failed=1.05 * rate, trials=tried)

    return Capacity(tuple(map(made, rates)))


def test_a_capacity_is_its_median_and_says_how_far_the_repeats_lie_apart() -> None:
    found = trials.capacity_to_json(capacity(100, 120, 90))
    assert (found["capacity"], found["spread"], found["repeats"]) == (100, [90, 120], [100, 120, 90])
    assert found["valid"]
    assert found["warnings"] == []
    assert len(found["trials"]) == 6
    json.loads(documents.text(found))


def test_a_capacity_rests_on_trials_that_passed_validly() -> None:
    found = trials.capacity_to_json(capacity(100, 120, late_at=120))
    assert found["faults"] == ["repeat 2, 120/s: late"]
    assert not found["valid"]


def test_a_generator_that_was_late_where_it_failed_is_a_warning() -> None:
    found = trials.capacity_to_json(capacity(100, late_at=105))
    assert found["valid"]
    assert found["warnings"] == ["repeat 1: may be higher, as at 105/s late"]


def test_no_rate_that_passes_is_a_fault() -> None:
    nothing = Capacity((Search[Trial](failed=1.0, trials=[trial(1, passed=False)]),))
    assert trials.capacity_to_json(nothing)["faults"] == ["repeat 1: no rate passed"]


def row(family: str, name: str, rate: float, cpu: float | None) -> Row:
    return Row(family, name, capacity(rate), trial(200, passed=True, cpu=cpu))


def measured(*rows: Row, failures: tuple[str, ...] = ()) -> Measured:
    return Measured(rows, 200, failures)


ROWS = [
    row("gateway", "gateway", 1200, 0.8),
    row("triton", "Triton, plain", 600, 2.0),
    row("triton", "Triton, dynamic", 500, 1.6),
    row("mlserver", "MLServer", 400, None),
]


def test_a_peer_counts_at_the_best_of_its_settings() -> None:
    found: dict[str, Any] = peers.to_json(measured(*ROWS))
    assert found["capacity_ratio_triton"] == 2
    assert found["cpu_ratio_triton"] == 0.5  # against 1.6, although that setting has the lower capacity
    assert found["capacity_ratio_mlserver"] == 3
    assert found["cpu_ratio_mlserver"] is None
    assert [one["capacity_to_gateway"] for one in found["servers"]] == [1, 0.5, pytest.approx(0.4167), 0.3333]
    assert found["valid"]


def test_without_a_peer_there_is_no_ratio() -> None:
    found = peers.to_json(measured(ROWS[0]))
    assert found["capacity_ratio_triton"] is None
    assert found["cpu_ratio_mlserver"] is None


def test_a_server_that_failed_is_named_and_the_others_stay() -> None:
    found = peers.to_json(measured(ROWS[0], replace(ROWS[1], half=None), failures=("MLServer: no port",)))
    assert found["capacity_ratio_triton"] == 2
    assert found["cpu_ratio_triton"] is None
    assert (found["valid"], found["faults"]) == (False, ["MLServer: no port"])


async def test_a_contender_that_does_not_start_ends_nothing() -> None:
    subject = Subject("broken", "gateway", f"127.0.0.1:{free_port()}", ("false",))
    terms = Terms(Questions(["x"], "x"), seconds=1, warmup=0)
    found = await peers.measured([Contender("gateway", subject)], terms, SearchTerms(), lambda *_: None)
    assert found.rows == ()
    assert found.failures == ("broken: the server ended with 1: ",)


def test_cpu_time_is_compared_where_every_server_has_time_to_spare() -> None:
    assert peers.half_of_lowest([1200, 600, 400]) == 200
    assert peers.half_of_lowest([1200, 0]) == 600
    assert peers.half_of_lowest([0]) > 0
