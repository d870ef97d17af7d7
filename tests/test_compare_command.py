"""`gateway compare`: a whole run on a bundle in miniature, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.forge.confidences import ALONE, CEILING, NEAR
from tests import tiny
from tests.test_recipes import MINIMAL

HELD_OUT = "violet"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


def recipe(folder: Path, labels: tuple[str, ...], exclude: bool = True) -> Path:
    """40 questions of each label and of HELD_OUT."""
    with (folder / "train.csv").open("w", newline="") as file:
        texts = tiny.questions(40 * (len(labels) + 1), seed=3, longest=30)
        names = [*labels, HELD_OUT] * 40
        csv.writer(file).writerows([("text", "category"), *zip(texts, names, strict=True)])
    (folder / "held_out.txt").write_text(HELD_OUT if exclude else "")
    (folder / "far.txt").write_text("\n".join(tiny.questions(40, seed=4)))
    settings = 'questions = "train.csv"\ndev = 0.2\ncalibrate = 0.3'
    if exclude:
        settings += '\nexclude_intents = "held_out.txt"'
    outliers = '[[data.outliers]]\nfile = "far.txt"\n[student_base]'
    path = folder / "recipe.toml"
    path.write_text(MINIMAL.replace('questions = "train.csv"', settings).replace("[student_base]", outliers))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["compare", *map(str, arguments), "--draws", "20"])


@pytest.mark.parametrize(("labels", "head"), [(tiny.LABELS, "the bundle's"), (("one", "two"), "linear")])
def test_every_confidence_is_compared(bundle: Path, tmp_path: Path, labels: tuple[str, ...], head: str) -> None:
    out = tmp_path / "found.json"
    result = run("confidence", recipe(tmp_path, labels), "--bundle", bundle, "--json", out)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert found["head"].startswith(head)
    assert found["questions"][NEAR] == 40
    assert {ALONE, CEILING} <= set(found["scores"])
    assert found["machine"]["commit"] in result.output
    assert "to what is served" in result.output


def test_without_held_out_intents_there_is_nothing_near(bundle: Path, tmp_path: Path) -> None:
    result = run("confidence", recipe(tmp_path, tiny.LABELS, exclude=False), "--bundle", bundle)
    assert result.exit_code == 2
    assert "exclude_intents" in result.output


def test_a_recipe_that_is_not_there_is_named(bundle: Path, tmp_path: Path) -> None:
    result = run("confidence", tmp_path / "absent.toml", "--bundle", bundle)
    assert result.exit_code == 2
    assert "absent.toml" in result.output
