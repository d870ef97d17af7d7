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


def test_what_passed_is_not_run_again_and_the_table_has_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    broken = {2}

    def numbered(number: int) -> FaultTest:
        async def test(terms: Terms) -> Verdict:
            ran.append(number)
            return Verdict(faults=["it is broken"] if number in broken else [])

        return FaultTest(number, f"test {number}", "all of it", test)

    monkeypatch.setattr(suite, "TESTS", tuple(map(numbered, (1, 2, 3))))
    out = tmp_path / "chaos.json"
    command = ["chaos", "--short", "--out", str(out), "--resume"]
    assert CliRunner().invoke(main, [*command, "--only", "2,1"]).exit_code == 1
    broken.clear()
    told = CliRunner().invoke(main, command)
    assert (told.exit_code, ran) == (0, [2, 1, 2, 3])
    assert "3 pass, 0 FAIL, 0 not run" in told.stdout
    assert [one["number"] for one in json.loads(out.read_text())["tests"]] == [1, 2, 3]
    other = CliRunner().invoke(main, [*command, "--seed", "8"])
    assert other.exit_code == 2
    assert "is of seed 7, and this is 8" in other.stderr
    assert ran == [2, 1, 2, 3]


def test_what_is_done_is_written_before_the_next_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "chaos.json"

    async def first(terms: Terms) -> Verdict:
        return Verdict()

    async def second(terms: Terms) -> Verdict:
        found = json.loads(out.read_text())
        return Verdict(faults=[] if [one["number"] for one in found["tests"]] == [1] else ["nothing was written"])

    monkeypatch.setattr(suite, "TESTS", (FaultTest(1, "one", "all", first), FaultTest(2, "two", "all", second)))
    ran = CliRunner().invoke(main, ["chaos", "--out", str(out)])
    assert ran.exit_code == 0, ran.output


def test_a_duration_fails_where_durations_are_judged(tmp_path: Path) -> None:
    verdict = Verdict()
    verdict.check_time(Terms(tmp_path), holds=False, otherwise="it was slow")
    assert verdict.faults == ["it was slow"]


def test_only_names_tests_that_there_are() -> None:
    ran = CliRunner().invoke(main, ["chaos", "--only", "1,77"])
    assert ran.exit_code == 2
    assert "there is no test '77'" in ran.stderr


def test_growth_is_a_slope_that_swaps_and_the_warm_up_do_not_move() -> None:
    flat = Series()
    for at in range(100):
        flat.add(at, min(2.0 * at, 80.0) + (50 if at % 8 < 5 else 0))
    assert flat.growth() == pytest.approx(0)
    rising = Series()
    for at in range(101):
        rising.add(at, 2.0 * at)
    assert rising.growth() == pytest.approx(100)


def test_a_few_more_descriptors_than_noise_are_a_leak() -> None:
    soaked = Soaked()
    for at in range(41):
        for series, value in ((soaked.rss, 1e8), (soaked.tasks, 9), (soaked.threads, 20)):
            series.add(at, value)
        soaked.descriptors.add(at, at * (MANY + 4) / 20)
    assert soaked.grown(0.02) == ["descriptors grew by 12"]
