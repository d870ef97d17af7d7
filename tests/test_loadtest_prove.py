"""Measures, the experiments behind them, and what is kept of both."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from loadtest import documents, experiments, kept, peers, prove_command, questions, raw, subjects
from loadtest.__main__ import main
from loadtest.admin import Tokens
from loadtest.documents import NotAResult
from loadtest.echo import EchoTarget
from loadtest.events import Happened
from loadtest.experiments import EXPERIMENTS, Bench, Finding, Findings, Lacking
from loadtest.measures import MEASURES
from loadtest.peers import Measured
from loadtest.ports import free_port
from loadtest.processes import ServerFailed
from loadtest.results import Run, Sample
from loadtest.search import Capacity
from loadtest.subjects import Subject, opened
from loadtest.targets import Outcome
from loadtest.trials import SearchTerms, Terms, Trial
from tests import tiny
from tests.loadtest_fakes import made_run
from tests.test_loadtest_trials import ROWS, capacity, row, trial

TERMS = Terms(questions.Questions(["why?"], "why.txt"))
WHEN = "2026-01-02T03:04:05+00:00"
RESULTS = Path(__file__).parent.parent / "loadtest" / "results"


def bench(**changes: Any) -> Bench:
    return Bench(TERMS, SearchTerms(), lambda *_: None, **changes)


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        ("capacity-triton", 2.0, "aim met"),
        ("capacity-triton", 1.4, "met"),
        ("capacity-triton", 1.39, "missed"),
        ("cpu-triton", 0.45, "aim met"),
        ("cpu-triton", 0.7, "met"),
        ("cpu-triton", 0.71, "missed"),
        ("swap-errors", 0.0, "aim met"),
        ("swap-errors", 1.0, "missed"),
        ("soak-rss", None, "not measured"),
    ],
)
def test_a_value_is_judged_by_what_was_asked(name: str, value: float | None, verdict: str) -> None:
    assert MEASURES[name].verdict(value) == verdict


def test_values_are_shown_in_their_unit() -> None:
    assert MEASURES["goodput-2x"].shown(0.9512) == "95.12 %"
    assert MEASURES["added-p99"].shown(2.5) == "2.5 ms"
    assert MEASURES["streamed"].shown(None) == "-"


def test_every_measure_has_one_experiment() -> None:
    names = [name for told in EXPERIMENTS for name in told]
    assert names == list(MEASURES)


async def test_what_a_comparison_with_peers_takes_is_named(tmp_path: Path) -> None:
    given: dict[str, Any] = {"peers": tmp_path, "model": tmp_path}
    for changes, option in (
        ({"wanted": frozenset(MEASURES)}, "--model-dir"),
        (given | {"wanted": frozenset({"capacity-triton"}), "student": tmp_path}, "^--same-weights"),
        (given | {"wanted": frozenset({"cpu-student"}), "same": tmp_path}, "^--student"),
    ):
        with pytest.raises(Lacking, match=option):
            await experiments.beside_peers(bench(**changes))


async def test_only_the_peers_that_are_compared_are_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[list[str]] = []

    async def measured(contenders: Any, *_: Any) -> Measured:
        started.append([one.family for one in contenders])
        student = row("student", "gateway, student", 2000, 0.4)
        return Measured((*ROWS, student), 200, ())

    monkeypatch.setattr(peers, "measured", measured)
    given: dict[str, Any] = {"peers": tmp_path, "model": tmp_path, "same": tmp_path, "student": tmp_path}
    found = await experiments.beside_peers(bench(wanted=frozenset({"cpu-student", "streamed"}), **given))
    assert started.pop() == ["student", "student", "triton", "triton", "triton"]
    assert {name: one.value for name, one in found.items()} == {"cpu-student": 0.25}  # 0.4 to the best setting's 1.6
    found = await experiments.beside_peers(bench(wanted=frozenset(MEASURES), **given))
    assert started.pop() == ["gateway", "gateway", "student", "student", "triton", "triton", "triton", "mlserver"]
    assert {name: one.value for name, one in found.items()} == {
        "capacity-triton": 2, "cpu-triton": 0.5, "cpu-student": 0.25, "capacity-mlserver": 3,
    }  # fmt: skip
    found = await experiments.beside_peers(bench(wanted=frozenset(MEASURES), **given | {"student": None}))
    assert started.pop() == ["gateway", "gateway", "triton", "triton", "triton", "mlserver"]
    assert found["capacity-triton"].value == 2
    assert "--student" in found["cpu-student"].lacking


async def test_without_a_capacity_nothing_is_multiplied() -> None:
    assert await bench(capacity=70.0).known_capacity() == 70
    with pytest.raises(ServerFailed, match="no rate passes"):
        await bench(capacity=0.0).known_capacity()


async def test_what_the_gateway_adds_is_taken_from_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at(_: Bench, subject: Subject, rate: float) -> Trial:
        assert rate == 50
        used, p99 = (0.2, 3.0) if subject.protocol == "echo" else (2.0, 9.0)
        return replace(trial(rate, passed=True, cpu=used), p99_ms=p99)

    async def alone(*_: object) -> raw.Raw:
        return raw.Raw(cpu_ms=0.8, p50_ms=1.0, p99_ms=4.0)

    monkeypatch.setattr(experiments, "_trial", at)
    monkeypatch.setattr(raw, "apart", alone)
    found = await experiments.own_cost(bench(capacity=100.0))
    assert {name: one.value for name, one in found.items()} == {"cpu-floor": 2.0, "added-p99": 5.0}
    assert found["cpu-floor"].load == "50/s, half of the capacity"


async def test_streams_are_compared_with_single_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    async def searched(_: Bench, subject: Subject) -> Capacity[Trial]:
        return capacity(250, 300, 240) if subject.protocol == "gateway-stream" else capacity(100, late_at=100)

    monkeypatch.setattr(Bench, "searched", searched)
    found = (await experiments.streamed(bench()))["streamed"]
    assert found.value == 2.5
    assert found.faults == ("unary: repeat 1, 100/s: late",)


def ran(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[str]:
    """Scenarios end at once, as the same run by hand with `changes`; returns which were asked for."""
    names: list[str] = []

    async def scenario(_: Bench, name: str) -> Run:
        names.append(name)
        seconds = [[0.01] * 20] * 4 + [[0.03] * 20] + [[0.01] * 20] * 4
        return replace(made_run(seconds, cpu=[0.1 * number for number in range(10)]), **changes)

    monkeypatch.setattr(experiments, "_scenario", scenario)
    return names


async def test_a_swap_is_two_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ran(monkeypatch, happened=(Happened("swap", 4.1, 4.5, "tiny/1 serves"),))
    found = await experiments.swap(bench())
    assert names == ["reload"]
    assert found["swap-errors"].value == 0
    assert found["swap-p99"].value == pytest.approx(3, rel=0.02)


async def test_a_swap_says_nothing_where_the_load_was_too_much_before(monkeypatch: pytest.MonkeyPatch) -> None:
    ran(
        monkeypatch,
        happened=(Happened("swap", 4.1, 4.5, "tiny/1 serves"),),
        recorder=made_run([[0.01]] * 9, shed=[0, 3]).recorder,
    )
    assert (await experiments.swap(bench()))["swap-errors"].faults == (
        "3 of 7 were not answered before the swap: the capacity is less",
    )


async def test_goodput_is_of_the_capacity(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []

    @asynccontextmanager
    async def nothing(subject: Subject, channels: int) -> AsyncIterator[None]:
        assert channels == 16
        yield

    async def at(rate: float, *_: Any) -> Run:
        rates.append(rate)
        return made_run([[0.01] * 45 + [0.06] * 5] * 4, shed=[50] * 4)

    monkeypatch.setattr(experiments, "opened", nothing)
    monkeypatch.setattr(experiments, "run_at", at)
    found = await experiments.overload(bench(capacity=50.0))
    assert rates == [100, 250, 500]
    assert {name: one.value for name, one in found.items()} == {
        "goodput-2x": 0.9, "goodput-5x": 0.9, "goodput-10x": 0.9, "p99-10x": pytest.approx(1.2, rel=0.01),
    }  # fmt: skip


async def test_waste_is_a_share_of_the_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ran(monkeypatch, tokens=Tokens(1000, 7)) == []
    assert (await experiments.impatient(bench()))["wasted"].value == 0.007
    ran(monkeypatch)
    assert (await experiments.impatient(bench()))["wasted"].value is None


async def test_a_soak_compares_memory_with_that_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ran(monkeypatch, samples=(Sample(60.0, 1.0, 100), Sample(360.0, 2.0, 130), Sample(660.0, 3.0, 104)))
    found = (await experiments.soak(bench()))["soak-rss"]
    assert (names, found.value) == (["soak"], 1.04)
    assert found.numbers["server_use"]["rss_first_second"] == 60


async def test_a_bare_echo_answers_and_ends() -> None:
    port = free_port()
    subject = Subject("echo", "echo", f"127.0.0.1:{port}", subjects.module("loadtest.echo", str(port)))
    async with opened(subject, 2) as server:
        assert isinstance(server.target, EchoTarget)
        assert await server.target.send("why?", 5, ()) == Outcome("OK")
        assert server.process is not None
        server.process.terminate()
        assert await server.process.ended() == 0
        assert (await server.target.send("why?", 5, ())).status == "UNAVAILABLE"


async def test_the_graph_alone_is_timed_in_a_process_of_its_own(tmp_path: Path) -> None:
    tiny.write(tmp_path / "1")
    (tmp_path / "questions.txt").write_text("\n".join(tiny.questions(20)))
    found = await raw.apart(tmp_path / "1", [tmp_path / "questions.txt"], 50)
    assert 0 < found.p50_ms <= found.p99_ms
    assert found.cpu_ms > 0
    with pytest.raises(ServerFailed, match=r"no-such"):
        await raw.apart(tmp_path / "no-such", [], 50)


def test_the_bundle_that_serves_is_known() -> None:
    assert subjects.served_bundle(["--no-knowledge", "--bundle", "a/1"]) == Path("a/1")
    assert subjects.served_bundle([]) == Path("models/banking/1")


FOUND = Finding(0.91, "400/s, 2 x the capacity", {"p50_ms": 3.25, "p99_ms": 41.5})


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Experiments that need no server: one finds, one is invalid, one fails and one lacks something."""
    asked: list[str] = []

    async def overload(_: Bench) -> Findings:
        asked.append("overload")
        return {"goodput-2x": FOUND, "goodput-5x": replace(FOUND, value=0.4, faults=("the generator was late",))}

    async def streamed(_: Bench) -> Findings:
        raise ServerFailed("the server ended with 1")

    async def lacking(_: Bench) -> Findings:
        raise Lacking("--model-dir")

    fakes = {("cpu-triton",): lacking, ("streamed",): streamed, ("goodput-2x", "goodput-5x"): overload}
    monkeypatch.setattr(prove_command, "EXPERIMENTS", fakes)
    return asked


def proved(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["prove", *arguments])


def test_each_measure_is_printed_kept_and_put_in_the_table(taken: list[str], tmp_path: Path) -> None:
    result = proved("--out", str(tmp_path / "here"), "--only", "goodput-2x", "--only", "cpu-triton")
    assert result.exit_code == 0, result.output
    lines = " ".join(result.output.split())
    assert "goodput-2x 91 % met (asked >= 90 %, aim 95 %)" in lines
    assert "cpu-triton not measured: needs --model-dir" in lines
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["goodput-2x.json"]
    shown = CliRunner().invoke(main, ["kept", str(tmp_path)])
    assert shown.output == (tmp_path / "README.md").read_text()
    assert (
        "| goodput at 2 x the capacity, of the capacity (`goodput-2x`) | >= 90 % | >= 95 % | **91 %** | met "
        "| 400/s, 2 x the capacity; " in shown.output
    )
    assert "| 3.25 / 41.50 |" in shown.output


def test_one_that_fails_does_not_take_the_others_with_it(taken: list[str]) -> None:
    result = proved("--json")
    assert result.exit_code == 1
    found = {one["measure"]: one for one in json.loads(result.stdout)["measures"]}
    assert list(found) == ["cpu-triton", "streamed", "goodput-2x", "goodput-5x"]
    assert found["streamed"]["faults"] == ["the server ended with 1"]
    assert (found["goodput-2x"]["valid"], found["goodput-5x"]["valid"]) == (True, False)
    assert taken == ["overload"]


def test_only_what_is_wanted_is_run(taken: list[str]) -> None:
    proved("--only", "cpu-triton")
    assert taken == []
    assert "is not one of" in proved("--only", "speed").output


def document(name: str = "wasted", **changes: Any) -> dict[str, Any]:
    return kept.document(MEASURES[name], replace(FOUND, value=0.001), WHEN, TERMS) | changes


def test_what_a_failed_server_printed_is_not_kept() -> None:
    found = replace(FOUND, faults=("it ended with 1: |\n/home/somebody/models: No such file",))
    assert kept.document(MEASURES["wasted"], found, WHEN, TERMS)["faults"] == ["it ended with 1: |"]


def test_a_gpu_that_was_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    facts = {"kind": "gpu", "processor": "P", "cores": 2, "system": "S", "commit": "abc", "when": "2026-01-02T03:04:05"}
    (tmp_path / "gpu.json").write_text(json.dumps(facts | {"has_run": False, "faults": ["has not run: no GPU: none"]}))
    text = kept.markdown(kept.read(tmp_path))
    assert "`gateway loadtest gpu`, 2026-01-02: has not run: no GPU: none." in text
    assert "| measure |" not in text


def test_an_invalid_result_says_so_in_the_table() -> None:
    text = kept.markdown([document(valid=False, faults=["the generator was late"])])
    assert "| **0.1 %** | INVALID: the generator was late |" in text


def test_machines_and_commits_have_tables_of_their_own() -> None:
    text = kept.markdown([document(commit="abc"), document(commit="def"), document("streamed", commit="def")])
    assert text.count("\n## ") == 2


def test_what_is_no_kept_result_is_named(tmp_path: Path) -> None:
    documents.write(tmp_path / "run.json", {"kind": "run"})
    with pytest.raises(NotAResult, match=r"run\.json: is a run"):
        kept.read(tmp_path)


@pytest.mark.parametrize("kind", kept.OTHERS)
def test_what_has_tables_of_its_own_is_read_back(kind: str, tmp_path: Path) -> None:
    facts = {"processor": "P", "cores": 2, "system": "S", "commit": "abc", "when": "2026-01-02T03:04:05"}
    documents.write(tmp_path / "one.json", facts | {"kind": kind, "faults": []})
    assert f"`gateway loadtest {kind}`, 2026-01-02: has run" in kept.markdown(kept.read(tmp_path))


def test_the_table_is_checked_without_being_written(tmp_path: Path) -> None:
    documents.write(tmp_path / "wasted.json", document())
    result = CliRunner().invoke(main, ["kept", str(tmp_path), "--check"])
    assert result.exit_code == 1
    assert "gateway loadtest kept" in result.output
    assert not (tmp_path / "README.md").exists()


def test_the_table_in_the_project_is_that_of_its_results() -> None:
    result = CliRunner().invoke(main, ["kept", str(RESULTS), "--check"])
    assert result.exit_code == 0, result.output


def test_servers_get_cores_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[set[int]] = []
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr("os.sched_setaffinity", lambda _, cores: taken.append(cores))
    seen: list[Bench] = []

    def take(bench: Bench) -> Iterator[dict[str, Any]]:
        seen.append(bench)
        return iter(())

    monkeypatch.setattr(prove_command, "_taken", take)
    assert CliRunner().invoke(main, ["prove", "--server-cpus", "0-1,3"]).exit_code == 0
    assert taken == [{2}]
    assert seen[0].gateway().command[:3] == ("taskset", "--cpu-list", "0-1,3")
    assert bench().gateway().command[0] != "taskset"


@pytest.mark.parametrize(
    ("cpus", "why"),
    [("0-3", "must leave some"), ("7", "name no others"), ("a", "no list of cores"), ("3-1", "no list of cores")],
)
def test_cores_that_servers_cannot_have_are_refused(monkeypatch: pytest.MonkeyPatch, cpus: str, why: str) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    result = CliRunner().invoke(main, ["prove", "--server-cpus", cpus])
    assert result.exit_code == 2
    assert why in " ".join(result.output.split())


def test_results_say_which_cores_the_servers_had() -> None:
    finding = Finding(0.9, "load", {})
    found = kept.document(MEASURES["goodput-2x"], finding, WHEN, TERMS, "0,1")
    assert f"servers on cores 0,1 and whoever asks on {found['cores']} cores more" in kept.markdown([found])
