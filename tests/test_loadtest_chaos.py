"""The short form of the fault tests, of those that take seconds; and that the harness tells a failure from a pass."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from loadtest.__main__ import main
from loadtest.chaos import suite
from loadtest.chaos.soaking import MANY, Series, Soaked
from loadtest.chaos.suite import FAIL, NOT_RUN, PASS
from loadtest.chaos.verdicts import FaultTest, Lacking, Terms, Verdict

IN_CI = (14, 24)
"""Those that take a few seconds on slow cores that others use. `make chaos` runs them all, in their long form."""


@pytest.mark.parametrize("number", IN_CI)
def test_the_short_form_passes(number: int, tmp_path: Path) -> None:
    (test,) = (one for one in suite.TESTS if one.number == number)
    (line,) = asyncio.run(suite.run([test], Terms(tmp_path, is_short=True, judges_time=False)))
    assert (line.result, line.faults) == (PASS, [])


def test_each_has_a_number_of_its_own() -> None:
    numbers = [one.number for one in suite.TESTS]
    assert numbers == sorted(set(numbers))


def test_what_fails_breaks_or_cannot_be_run_is_told_apart_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(terms: Terms) -> Verdict:
        return Verdict(seen=["three of four"], faults=["one was lost"])

    async def breaks(terms: Terms) -> Verdict:
        raise ValueError("no such thing")

    async def lacks(terms: Terms) -> Verdict:
        raise Lacking("there is no such disk here")

    async def passes(terms: Terms) -> Verdict:
        verdict = Verdict()
        verdict.check_time(terms, holds=False, otherwise="it was slow")
        return verdict

    tests = (fails, breaks, lacks, passes)
    monkeypatch.setattr(
        suite, "TESTS", tuple(FaultTest(at, one.__name__, "all of it", one) for at, one in enumerate(tests, 1))
    )
    out = tmp_path / "chaos.json"
    ran = CliRunner().invoke(main, ["chaos", "--no-timing", "--out", str(out)])
    assert ran.exit_code == 1
    found = json.loads(out.read_text())
    assert [one["result"] for one in found["tests"]] == [FAIL, FAIL, NOT_RUN, PASS]
    assert found["faults"] == ["1, fails: one was lost", "2, breaks: ValueError: no such thing"]
    assert found["tests"][3]["unjudged"] == ["durations"]
    for told in ("three of four", "there is no such disk here", "1 pass, 2 FAIL, 1 not run", "long form"):
        assert told in ran.stdout


def test_a_duration_fails_where_durations_are_judged(tmp_path: Path) -> None:
    verdict = Verdict()
    verdict.check_time(Terms(tmp_path), holds=False, otherwise="it was slow")
    assert verdict.faults == ["it was slow"]


def test_only_names_tests_that_there_are() -> None:
    ran = CliRunner().invoke(main, ["chaos", "--only", "1,77"])
    assert ran.exit_code == 2
    assert "there is no test '77'" in ran.stderr


def test_growth_is_a_slope_that_spikes_and_the_warm_up_do_not_move() -> None:
    flat = Series()
    for at in range(100):
        flat.add(at, (at if at < 20 else 100.0) + (50 if at % 17 == 0 else 0))
    assert flat.growth() == pytest.approx(0, abs=0.5)
    rising = Series()
    for at in range(101):
        rising.add(at, 2.0 * at)
    assert rising.growth() == pytest.approx(150)


def test_a_few_more_descriptors_than_noise_are_a_leak() -> None:
    soaked = Soaked()
    for at in range(41):
        for series, value in ((soaked.rss, 1e8), (soaked.tasks, 9), (soaked.threads, 20)):
            series.add(at, value)
        soaked.descriptors.add(at, at * (MANY + 4) / 30)
    assert soaked.grown(0.02) == ["descriptors grew by 12"]
