"""A bundle given one more label by `gateway forge run --parent`: what it learns, what it keeps, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.forge import data, lineage, parity, recipes, trunk
from gateway.forge import extend as extending
from gateway.model import bundle as bundles
from gateway.model.bundle import LabelPart
from gateway.model.engine import Engine
from tests import tiny
from tests.test_recipes import MINIMAL

NAMES = ("a", "b", "c")
SETTINGS = 'questions = "train.csv"\ndev = 0.1\ncalibrate = 0.2\ncertify = 0.3'
STUDENT = f"[student]\nmax_tokens = {tiny.MAX_TOKENS}\n[confidence]\nrisk = 0.3\n"
OWN = tiny.WORDS[:6]
FRESH = [f"{one} {other} {third}" for one in OWN for other in OWN for third in OWN]
"""Questions about what the parent has no label for, in words of their own; every third is left for asking."""
THIRD = {*tiny.WORDS[6:9]}
"""Words of what is labelled c, which its random weights say of nothing."""


def write(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "category"), *rows])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, the bundle made of it in 1/, and a harvest beside them."""
    folder = tmp_path_factory.mktemp("parent")
    labels = tuple(LabelPart(name=name, text=f"It is {name}.") for name in NAMES)
    bundle = tiny.write(folder / "1", labels=labels, golden=())
    texts = [text for text in tiny.questions(900, seed=5) if not {*OWN} & {*text.split()}]
    best = Engine(bundles.load(bundle), "cpu").outputs(texts)[0].argmax(axis=1)
    names = ["c" if THIRD & {*text.split()} else NAMES[one] for text, one in zip(texts, best, strict=True)]
    write(folder / "train.csv", zip(texts, names, strict=True))
    write(folder / "harvest.csv", [(text, "d") for at, text in enumerate(FRESH) if at % 3])
    (folder / "nothing.jsonl").write_text(
        "".join(json.dumps({"text": one}) + "\n" for one in tiny.questions(80, seed=8))
    )
    (folder / "recipe.toml").write_text(MINIMAL.replace('questions = "train.csv"', SETTINGS) + STUDENT)
    recipe = recipes.load(folder / "recipe.toml")
    said = lineage.said(recipe, data.load(recipe).hashes)
    tiny.rewrite(bundle, tiny.manifest(bundle).model_copy(update=said))
    trunk.write(bundle)
    return folder


@pytest.fixture
def place(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "tiny"))


def extend(place: Path, *more: str) -> Result:
    named = ("--parent", str(place / "1"), "--harvest", str(place / "harvest.csv"), "--version", "2")
    folders = ("--work", str(place / "work"), "--out", str(place / "2"))
    return CliRunner().invoke(cli, ["forge", "run", str(place / "recipe.toml"), *named, *folders, *more])


@pytest.mark.timeout(300)
def test_a_bundle_learns_a_label_and_keeps_the_others(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "MIN_AGREEMENT", 0.9)  # random weights take rounding worse than trained ones
    result = extend(place, "--harvest-outliers", str(place / "nothing.jsonl"))
    assert result.exit_code == 0, result.output
    assert "1 labels more: d" in result.output
    before, after = bundles.load(place / "1"), bundles.load(place / "2")
    assert [label.name for label in after.manifest.labels] == ["a", "b", "c", "d"]
    assert after.manifest.parent is not None
    assert after.manifest.parent.manifest_sha256 == before.manifest_sha256
    assert after.uncertified == ""
    texts = [text for text in tiny.questions(300, seed=21) if not {*OWN, *THIRD} & {*text.split()}]
    (was, sense), (now, sense_now) = (Engine(one, "cpu").outputs(texts) for one in (before, after))
    assert (was.argmax(axis=1) == now.argmax(axis=1)).mean() > 0.85
    assert np.allclose(sense, sense_now, atol=1e-4), "the encoder stays"
    for precision in tiny.PRECISIONS:
        assert after.encoder_sha256(precision) == before.encoder_sha256(precision), "and what it embedded is good"
        assert after.outputs_sha256(precision) != before.outputs_sha256(precision)
    assert (Engine(after, "cpu").outputs(FRESH[::3])[0].argmax(axis=1) == 3).mean() > 0.5
    card = (place / "2" / "CARD.md").read_text()
    assert "with the encoder of tiny/1 as it is" in card
    assert "## The student" in card


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("seed = 8", "divided otherwise (seed)"),
        ("certify = 0.2", "divided otherwise (certify)"),
        ("[[data.outliers]]\nfile = 'nothing.jsonl'", "divided otherwise (outliers)"),
    ],
)
def test_what_trained_the_parent_never_certifies_its_child(place: Path, change: str, problem: str) -> None:
    recipe = place / "recipe.toml"
    text = recipe.read_text().replace("certify = 0.3\n", "") if "certify" in change else recipe.read_text()
    recipe.write_text(text.replace("dev = 0.1\n", f"dev = 0.1\n{change}\n" if "[[" not in change else "dev = 0.1\n"))
    if "[[" in change:
        recipe.write_text(recipe.read_text() + change + "\n")
    result = extend(place)
    assert result.exit_code == 2
    assert problem in result.output.replace("\n", " ")


def test_other_questions_are_for_the_harvest(place: Path) -> None:
    with (place / "train.csv").open("a") as file:
        file.write("one more,a\n")
    result = extend(place)
    assert result.exit_code == 2
    assert "(questions, train.csv is another file now)" in result.output.replace("\n", " ")
    assert "name what is new in `harvest`" in result.output.replace("\n", " ")


def test_a_parent_is_not_overwritten(place: Path) -> None:
    result = extend(place, "--out", str(place / "1"))
    assert result.exit_code == 2
    assert "is the parent itself" in result.output
    assert bundles.load(place / "1").id == "tiny/1"


def test_a_recipe_that_extends_names_its_parent(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(MINIMAL + "[extend]\n")
    with pytest.raises(ValueError, match="which bundle"):
        recipes.load(tmp_path / "recipe.toml")


def test_the_next_turn_names_the_harvests_of_all_before(place: Path) -> None:
    """Wherever they lie by then."""
    moved = shutil.move(place / "harvest.csv", place / "first.csv")
    recipe = recipes.load(place / "recipe.toml", data={"harvest": [str(moved)]})
    now, seen = tiny.manifest(place / "1"), data.load(recipe)
    elsewhere = recipe.model_copy(update={"data": recipe.data.model_copy(update={"harvest": ("/else/harvest.csv",)})})
    hashes = {"/else/harvest.csv" if name == str(moved) else name: one for name, one in seen.hashes.items()}
    tiny.rewrite(place / "1", now.model_copy(update=lineage.said(elsewhere, hashes)))
    assert tiny.manifest(place / "1").recipe["data"]["harvest"] == ["harvest.csv"]
    before = bundles.load(place / "1")
    extending.check_follows(before, recipe, seen)
    alone = recipes.load(place / "recipe.toml")
    with pytest.raises(ValueError, match=r"\(harvest, harvest\.csv is another file now\)"):
        extending.check_follows(before, alone, data.load(alone))
