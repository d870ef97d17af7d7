"""The GPU measurement: the whole way on a CPU, and what it says where there is no GPU."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
import time
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from click.testing import CliRunner
from rich.console import Console

from gateway.cli.main import cli
from loadtest import gpu, gpu_machine, gpu_raw
from loadtest.__main__ import main
from loadtest.gpu_machine import Draw, Meter, mean
from loadtest.several import merged
from loadtest.trials import Trial
from tests import tiny

ROOT = Path(__file__).parent.parent
SMI = """#!/bin/sh
case "$*" in
*power.draw*) while true; do echo "0, 300.5, 90, 2000"; echo "1, 100, 50, [N/A]"; sleep 0.05; done ;;
*) echo "NVIDIA H200, 575.1, 143771 MiB" ;;
esac
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder before all others in which programs are looked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.fixture
def driver(tools: Path) -> None:
    smi = tools / "nvidia-smi"
    smi.write_text(SMI)
    smi.chmod(smi.stat().st_mode | stat.S_IXUSR)


def no_driver(tools: Path) -> None:
    smi = tools / "nvidia-smi"
    smi.write_text("#!/bin/sh\nexit 9\n")
    smi.chmod(smi.stat().st_mode | stat.S_IXUSR)


def test_without_a_driver_it_has_not_run_and_says_what_to_install(tools: Path, tmp_path: Path) -> None:
    no_driver(tools)
    kept = tmp_path / "kept" / "gpu.json"
    result = CliRunner().invoke(cli, ["loadtest", "gpu", "--out", str(kept)])
    assert result.exit_code == gpu.NOT_RUN
    assert result.output.startswith("has not run: no GPU\n")
    assert "apt-get install nvidia-driver" in result.output
    found = json.loads(kept.read_text())
    assert (found["kind"], found["has_run"], found["valid"]) == ("gpu", False, False)
    assert found["faults"][0].startswith("has not run: no GPU: no NVIDIA driver")
    assert {"commit", "processor", "onnxruntime"} <= found.keys()
    assert "raw" not in found


@pytest.mark.usefixtures("driver")
def test_without_the_provider_it_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    result = CliRunner().invoke(main, ["gpu", "--json"])
    assert result.exit_code == gpu.NOT_RUN
    assert "pip install -e '.[gpu,dev]'" in json.loads(result.output)["faults"][0]


@pytest.mark.usefixtures("driver")
def test_with_both_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert gpu_machine.missing() == ""
    assert gpu_machine.gpus() == ["NVIDIA H200, 575.1, 143771 MiB"]


@pytest.mark.usefixtures("driver")
def test_what_is_drawn_meanwhile_is_sampled() -> None:
    with Meter().running(is_on=True) as meter:
        time.sleep(0.5)
    assert meter.draw == Draw(watts=400.5, utilization=70, memory_mb=2000)
    with Meter().running(is_on=False) as meter:
        pass
    assert meter.draw == Draw()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], Draw()),
        (["0, [N/A], 10, 5"], Draw(None, 10, 5)),
        (["0, 100, 10, 5", "0, 200, 30, 5", "0, 3"], Draw(150, 20, 5)),
        (["0, 100, 10, 5", "1, 50, 30, 5"], Draw(150, 20, 10)),
    ],
)
def test_draws_are_averaged_over_time_and_summed_over_gpus(lines: list[str], expected: Draw) -> None:
    assert mean(lines) == expected


def trial(**changes: Any) -> Trial:
    numbers: dict[str, Any] = {
        "rate": 50.0, "passed": True, "faults": (), "offered_per_second": 50.0, "ok_per_second": 49.0,
        "good_per_second": 48.0, "p50_ms": 2.0, "p99_ms": 5.0, "statuses": {"OK": 50}, "late_p99_ms": 0.1,
        "generator_cpu": 0.2, "cpu_ms_per_answer": None,
    }  # fmt: skip
    return Trial(**(numbers | changes))


def test_what_several_generators_found_is_one_trial_with_the_worst_of_each() -> None:
    other = trial(p99_ms=9.0, statuses={"OK": 49, "UNAVAILABLE": 1}, passed=False, faults=("late",), generator_cpu=0.9)
    found = merged([trial(), other], 100)
    assert (found.rate, found.ok_per_second, found.p99_ms, found.generator_cpu) == (100, 98, 9, 0.9)
    assert (found.passed, found.faults, found.statuses) == (False, ("late",), {"OK": 99, "UNAVAILABLE": 1})
    assert merged([trial(), trial()], 100).passed
    assert merged([trial(), trial(p99_ms=None)], 100).p99_ms is None


def test_a_pass_holds_as_many_questions_as_fit(tmp_path: Path) -> None:
    bundle = tiny.write(tmp_path / "tiny")
    what, raw = gpu_raw.measured(bundle, "cpu", ["word1 word2", "word3"], budget=64, seconds=0.05)
    assert (what.bundle, what.precision, what.provider) == ("tiny/1", "int8", "CPUExecutionProvider")
    assert 64 / 4 - 1 <= raw.questions <= 64 / 3  # of 4 and 3 tokens
    assert raw.tokens_per_second > raw.questions_per_second > 0
    assert raw.p99_ms >= raw.p50_ms > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budgets", "a"), "'a' is not a list of whole numbers"),
        (("--workers", "0,1"), "only numbers above 0"),
        (("--device", "cpu", "--questions", "no-such.csv"), "no such file: no-such.csv"),
    ],
)
def test_what_is_wrong_is_named(arguments: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(main, ["gpu", *arguments])
    assert result.exit_code in (1, 2)
    assert message in result.output


@pytest.mark.timeout(600)
async def test_the_whole_way_without_a_gpu(tmp_path: Path) -> None:
    """Every limit is forgiving: a busy machine must not decide on it."""
    bundle, kept = tiny.write(tmp_path / "tiny"), tmp_path / "gpu.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadtest.gpu", "--device", "cpu", "--bundle", str(bundle), "--workers", "1",
        "--budgets", "64,256", "--raw-seconds", "0.1", "--generators", "2", "--channels", "2", "--seconds", "1",
        "--warmup", "0", "--start", "100", "--tolerance", "1", "--repeats", "1", "--target-ms", "2000", "--timeout-ms",
        "3000", "--max-late-ms", "60000", "--max-cpu", "60", "--serve", "--no-knowledge", "--out", str(kept),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    found = json.loads(kept.read_text())
    assert (found["has_run"], found["valid"], found["gpus"], found["generators"]) == (True, True, [], 2)
    assert (found["bundle"], found["precision"]) == ("tiny/1", "int8")
    assert [row["budget"] for row in found["raw"]] == [64, 256]
    assert [row["name"] for row in found["served"]] == ["1 worker, unary", "1 worker, streamed"]
    for row in found["served"]:
        assert row["capacity"] > 0
        assert row["half"]["p99_ms"] >= row["half"]["p50_ms"] > 0
        assert row["half"]["statuses"].keys() == {"OK"}
        assert row["watts"] is None
    for line in ("session, 256 tokens", "1 worker, streamed"):
        assert line in out.decode()


def test_power_is_shown() -> None:
    draw = {"watts": 412.0, "utilization": 87.0, "memory_mb": 3210.0}
    row = {"name": "session, 256 tokens", "questions_per_second": 31234.5, "p50_ms": 0.5, "p99_ms": 0.9, **draw}
    served: dict[str, Any] = {"name": "1 worker, unary", "capacity": 0.0, "half": None, "trials": [], **draw}
    found = {
        "bundle": "tiny/1", "precision": "fp16", "provider": "CUDAExecutionProvider", "gpus": ["NVIDIA H200"],
        "processor": "Abacus x 2", "system": "Linux", "commit": "abc1234", "when": "2026-01-02", "target_ms": 10.0,
        "generators": 4, "raw": [row], "served": [served],
    }  # fmt: skip
    console = Console(width=100, record=True)
    gpu.show(found, console)
    shown = console.export_text()
    for part in ("NVIDIA H200", "31234.50", "412", "3210", "1 worker, unary"):
        assert part in shown
