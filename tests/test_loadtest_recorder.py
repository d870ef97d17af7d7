"""What a recorder counts, and that its percentiles are those of the samples."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest import summary
from loadtest.recorder import Latencies, Recorder
from loadtest.targets import OK, Outcome
from tests.loadtest_fakes import ANSWERED, SHED


def filled(seconds: list[float]) -> Latencies:
    latencies = Latencies()
    for one in seconds:
        latencies.add(one)
    return latencies


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 60), min_size=1, max_size=200), st.floats(0, 100))
def test_percentiles_are_those_of_the_samples(seconds: list[float], percent: float) -> None:
    exact = np.percentile(seconds, percent, method="inverted_cdf")
    found = filled(seconds).percentile(percent)
    # To 0.1 %, and a microsecond on either side for rounding to whole ones.
    assert exact - 1e-6 <= found <= exact * 1.001 + 2e-6


def test_percentiles_of_many_samples_agree_with_numpy() -> None:
    seconds = np.random.default_rng(7).lognormal(-5, 0.7, 20_000)
    latencies = filled(seconds.tolist())
    for percent in (1, 50, 90, 99, 99.9):
        assert latencies.percentile(percent) == pytest.approx(np.percentile(seconds, percent), rel=0.01)


def test_of_nothing_there_is_no_percentile() -> None:
    assert np.isnan(Latencies().percentile(50))


def test_what_is_longer_than_the_longest_still_counts() -> None:
    latencies = filled([1e9, -1.0])
    assert len(latencies) == 2
    assert latencies.percentile(100) == pytest.approx(120, rel=0.001)


def made() -> Recorder:
    recorder = Recorder(["a", "b"], target=0.05, warmup=1.0)
    recorder.record(0, ANSWERED, 0.5, 0.5, 0.51)  # warm-up
    recorder.record(0, ANSWERED, 1.5, 1.51, 1.54)
    recorder.record(0, ANSWERED, 1.6, 1.6, 1.7)  # too late to be good
    recorder.record(1, SHED, 2.0, 2.0, 2.001)
    recorder.record(1, Outcome(OK, "retrieval", "low_confidence"), 2.2, 2.2, 2.22)
    recorder.unsent(1, 2.5)
    return recorder


SECONDS = {"all": 2.0, "a": 2.0, "b": 1.0}


def test_the_warm_up_is_in_the_series_and_in_no_sum() -> None:
    recorder = made()
    assert recorder.series["a"][0].offered == 1
    found = summary.summarise(recorder, SECONDS)["all"]
    assert (found["offered"], found["ok"], found["unsent"]) == (5, 3, 1)
    assert found["statuses"] == {"OK": 3, "UNAVAILABLE": 1}
    assert found["routes"] == {"model": 2, "retrieval": 1}
    assert found["reasons"] == {"confident": 2, "OVERLOADED": 1, "low_confidence": 1}


def test_good_is_ok_and_within_the_target_from_the_intended_start() -> None:
    recorder = Recorder(["a"], target=0.05, warmup=0)
    recorder.record(0, ANSWERED, 1.0, 1.0, 1.05 - 1e-9)
    recorder.record(0, ANSWERED, 1.0, 1.04, 1.06)  # quick, but it was sent late
    recorder.record(0, SHED, 1.0, 1.0, 1.001)
    assert sum(group.good for group in recorder.groups.values()) == 1
    assert recorder.series["a"][1].good == 1


def test_rates_are_of_the_time_in_which_a_load_asked() -> None:
    found = summary.summarise(made(), SECONDS)
    assert found["a"]["good_per_second"] == 0.5
    assert found["b"]["offered_per_second"] == 3
    assert found["b"]["good_share"] == pytest.approx(1 / 3, abs=1e-6)
    assert "a" not in summary.summarise(made(), SECONDS | {"a": 0.0})


def test_both_latencies_and_the_lateness_are_kept() -> None:
    group = made().groups["a", OK, "model"]
    assert group.from_intended.percentile(1) == pytest.approx(0.04, rel=0.001)
    assert group.from_send.percentile(1) == pytest.approx(0.03, rel=0.001)
    assert made().lateness.percentile(100) == pytest.approx(0.01, rel=0.001)


def test_the_servers_own_time_is_of_ok_answers_that_state_it() -> None:
    assert len(made().server) == 2


def test_json_and_back_loses_nothing() -> None:
    recorder = made()
    text = json.dumps(recorder.to_json(), allow_nan=False)
    again = Recorder.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text
    assert summary.summarise(again, SECONDS) == summary.summarise(recorder, SECONDS)


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 100), max_size=50))
def test_a_histogram_survives_json_count_by_count(seconds: list[float]) -> None:
    latencies = filled(seconds)
    again = Latencies.from_json(latencies.to_json())
    assert np.array_equal(again.counts(), latencies.counts())
