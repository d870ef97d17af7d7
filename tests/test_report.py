"""The page of a comparison: its pictures are inside, nothing is fetched, and names are shown as they are."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli.main import cli
from gateway.forge.plots import COLOURS

PNG = b"\x89PNG"


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def common() -> dict[str, Any]:
    machine = {"commit": "abc1234", "processor": "a <fast> one", "system": ""}
    return {"machine": machine, "bundle": "tiny/1", "recipe": "tiny", "questions": {"in scope": 10}, "draws": 20}


def confidence() -> dict[str, Any]:
    groups = {"near": interval(0.9), "far": interval(0.99)}
    one = {"auroc": groups, "aupr": groups, "fpr95": groups, "coverage": interval(0.9), "lead": interval(0.01)}
    scores = {name: one | {"coverage_with_near": interval(0.5)} for name in ("energy", "served: alone")}
    return common() | {"head": "the bundle's", "scores": scores}


def policies() -> dict[str, Any]:
    names = [*COLOURS, "routing at 0.1"]
    keys = ("augrc", "coverage", "gain", "right", "wrong", "less_augrc", "more_coverage", "more_gain")
    found = {
        name: dict.fromkeys(keys, interval(0.1 + at / 100))
        | {"searched": 0.5, "milliseconds": [0.3, 0.3, 1.0], "curve": [[0.1, 0.01], [1.0, 0.2]]}
        for at, name in enumerate(names)
    }
    group = {"questions": 10, "right": 0.9, "wrong": 0.1, "abstained": 0.0}
    return common() | {
        "split": "development",
        "shares": {"in scope": 1.0},
        "forward_ms": 2.0,
        "policies": found,
        "by_group": {name: {"in scope": group} for name in names},
    }


def written(folder: Path, name: str, content: object) -> str:
    (folder / name).write_text(json.dumps(content))
    return str(folder / name)


def test_the_page_holds_its_pictures_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    arguments = ["--confidence", written(tmp_path, "c.json", confidence())]
    arguments += ["--policies", written(tmp_path, "p.json", policies()), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, ["compare", "report", *arguments])
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"report.html", "confidence-1.png", "risk-coverage.png", "leads.png", "costs.png"}
    page = (tmp_path / "out" / "report.html").read_text()
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 4
    assert all(base64.b64decode(one).startswith(PNG) for one in pictures)
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "a &lt;fast&gt; one" in page
    assert "abc1234" in page
    assert page.count("<table>") == 3


def test_a_policy_that_is_no_better_has_its_interval_across_zero(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = policies()
    found["policies"]["cascade"]["less_augrc"] = {"value": 0.001, "low": -0.002, "high": 0.003}
    out = tmp_path / "out"
    arguments = ["--policies", written(tmp_path, "p.json", found), "--out", str(out)]
    assert CliRunner().invoke(cli, ["compare", "report", *arguments]).exit_code == 0
    assert "+0.10 (-0.20, +0.30)" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "nothing to show"), (["--policies", "absent.json"], "absent.json: cannot be read")],
)
def test_what_is_missing_is_said(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(cli, ["compare", "report", *arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert said in result.output
    assert not (tmp_path / "out").exists()


def test_another_command_s_figures_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "p.json", policies())
    result = CliRunner().invoke(cli, ["compare", "report", "--confidence", file, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "holds no scores" in result.output
