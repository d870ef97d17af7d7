"""The commands, as people call them: against a real server, and what they refuse."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.rpc.server import Ports
from loadtest import documents
from loadtest.__main__ import main
from loadtest.live import plain
from loadtest.measure import Progress
from tests.fakes import FakeGateway
from tests.loadtest_fakes import made_run

SCENARIO = """
summary = "a second"
warmup_seconds = 0.5
[[load]]
name = "all"
tenant = "acme"
timeout_ms = 5000
pieces = [{ seconds = 1.5, rate = 20 }]
"""
FORGIVING = ("--max-late-ms", "60000", "--max-cpu", "60")
"""A busy machine must not decide on a test."""


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "second.toml"
    path.write_text(SCENARIO)
    return str(path)


@pytest.fixture
def questions(tmp_path: Path) -> str:
    path = tmp_path / "questions.csv"
    path.write_text("text,category\nWhy was I charged twice?,x\nwhen?,y\n")
    return str(path)


def called(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


async def started(*arguments: str) -> tuple[int, str, str]:
    """In a process of its own: two event loops of gRPC in one process would meet."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "loadtest",
        *arguments,
        cwd=Path(__file__).parent.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_run_prints_keeps_and_reports(
    ports: Ports, gateway: FakeGateway, scenario: str, questions: str, tmp_path: Path
) -> None:
    kept, page = tmp_path / "kept" / "run.json", tmp_path / "kept" / "run.html"
    code, out, err = await started(
        "run", scenario, "--target", f"127.0.0.1:{ports.grpc}", "--questions", questions, "--json", *FORGIVING,
        "--out", str(kept), "--html", str(page),
    )  # fmt: skip
    assert (code, "Traceback" in err) == (0, False), err
    found = json.loads(out)
    whole = found["loads"]["all"]
    assert found["valid"]
    assert whole["statuses"] == {"OK": whole["offered"]}
    assert whole["routes"] == {"model": whole["offered"]}
    assert whole["offered"] == found["generator"]["sent"] > 0
    assert {asked.text for asked in gateway.questions} >= {"Why was I charged twice?", "when?"}
    # One question on each channel comes first, which connects it.
    assert [asked.principal.tenant for asked in gateway.questions[:4]] == ["default"] * 4
    assert {asked.principal.tenant for asked in gateway.questions[4:]} == {"acme"}
    assert documents.without_full(documents.read(kept)) == found
    assert "<svg" in page.read_text()


async def test_an_invalid_run_is_said_loudly_and_exits_with_1(ports: Ports, scenario: str, questions: str) -> None:
    code, out, err = await started(
        "run", scenario, "--target", f"127.0.0.1:{ports.grpc}", "--questions", questions, "--json",
        "--max-late-ms", "0.000001", "--max-cpu", "60",
    )  # fmt: skip
    assert code == 1
    assert json.loads(out)["valid"] is False
    assert "INVALID" in err
    assert "the generator was late" in err


async def test_nobody_there_is_one_line(scenario: str, questions: str) -> None:
    code, _, err = await started("run", scenario, "--target", "127.0.0.1:1", "--questions", questions)
    assert code == 1
    assert err.strip() == "Error: gateway at 127.0.0.1:1 does not answer: UNAVAILABLE NOT_CONNECTED"


def test_a_foreign_target_is_refused(scenario: str, questions: str) -> None:
    for command in (("run", scenario), ("find-capacity",), ("sweep",)):
        result = called(*command, "--target", "192.0.2.1:50051", "--questions", questions)
        assert result.exit_code == 2, command
        assert "--i-own-this-target" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nope", "--questions", "q"), "no such scenario"),
        (("run", "smoke", "--questions", "no-such.csv"), "no such file: no-such.csv"),
        (("run", "smoke", "--questions", "q", "--target", "127.0.0.1:1", "--serve", ""), "exclude each other"),
        (("sweep", "--questions", "q", "--multiples", "a"), "is not a list of numbers"),
        (("sweep", "--questions", "q", "--multiples", "0"), "between 0 and 100"),
        (("compare", "no-such.json", "no-such.json"), "no-such.json: No such file"),
        (("peers", "--questions", "q", "--peers", "no-such", "--model-dir", "."), "'no-such' does not exist"),
    ],
)
def test_what_is_wrong_is_named(arguments: tuple[str, ...], message: str) -> None:
    result = called(*arguments)
    assert result.exit_code in (1, 2)
    assert message in result.output


def kept(path: Path, scale: float, **changes: Any) -> str:
    run = made_run([[0.01 * scale] * 20] * 5, cpu=[0.1 * number for number in range(7)], **changes)
    documents.write(path, run.to_json())
    return str(path)


def test_results_are_compared_from_their_files(tmp_path: Path) -> None:
    a, b = kept(tmp_path / "a.json", 1), kept(tmp_path / "b.json", 2)
    found = json.loads(called("compare", a, b, "--json").output)
    assert found["ratios"]["p99_ms"]["ratio"] == pytest.approx(2, rel=0.02)
    shown = called("compare", a, b).output
    assert "p99 ms" in shown
    assert "2.0" in shown


def test_a_comparison_with_an_invalid_run_exits_with_1(tmp_path: Path) -> None:
    a, b = kept(tmp_path / "a.json", 1), kept(tmp_path / "b.json", 1, faults=("the generator was late",))
    result = called("compare", a, b)
    assert result.exit_code == 1
    assert "B: the generator was late" in result.output


def test_reports_are_made_of_files(tmp_path: Path) -> None:
    page = tmp_path / "out" / "page.html"
    assert called("report", kept(tmp_path / "a.json", 1), "--html", str(page)).exit_code == 0
    assert page.read_text().startswith("<!doctype html>")


def test_the_gateways_own_command_has_them_too() -> None:
    result = CliRunner().invoke(cli, ["loadtest", "--help"])
    assert result.exit_code == 0
    names = "run find-capacity sweep compare peers cross-check prove kept report latency startup"
    for name in names.split():
        assert f"  {name} " in result.output


def test_without_a_checkout_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gateway.cli.loadtest", raising=False)
    monkeypatch.delitem(sys.modules, "loadtest.__main__", raising=False)
    monkeypatch.setitem(sys.modules, "loadtest", None)
    result = CliRunner().invoke(cli, ["loadtest", "run"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: the load-testing harness is not here: in a checkout")


def test_a_line_of_progress_says_what_happens() -> None:
    progress = Progress(7, 60, False, 100, 90, 3.21, None, {"OK": 90, "UNAVAILABLE": 10}, 4)
    line = plain("smoke", progress)
    assert line == "smoke: second 7 of 60: 100/s, good 90/s, p50 3.2, p99 - ms, OK 90 UNAVAILABLE 10"
