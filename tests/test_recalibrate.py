"""`gateway forge recalibrate`: what is fitted is fitted anew on the graphs that are there, and all that follows."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.forge import data, lineage, recipes
from gateway.model import bundle as bundles
from gateway.model.bundle import LabelPart
from gateway.model.engine import Engine
from gateway.types import CertificateStatus
from tests import tiny
from tests.test_recipes import MINIMAL

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle in <folder>/1 with its recipe beside it, made of questions that it mostly answers rightly."""
    folder = tmp_path_factory.mktemp("recalibrated")
    labels = tuple(LabelPart(name=name, text=f"It is {name}.") for name in NAMES)
    bundle = tiny.write(folder / "1", labels=labels, golden=())
    texts = tiny.questions(900, seed=5)
    best = Engine(bundles.load(bundle), "cpu").outputs(texts)[0].argmax(axis=1)
    noise = np.random.default_rng(0).random(len(texts)) < 0.005
    with (folder / "train.csv").open("w", newline="") as file:
        names = [NAMES[(one + wrong) % 3] for one, wrong in zip(best.tolist(), noise.tolist(), strict=True)]
        csv.writer(file).writerows([("text", "category"), *zip(texts, names, strict=True)])
    settings = 'questions = "train.csv"\ndev = 0.1\ncalibrate = 0.3\ncertify = 0.3'
    (folder / "recipe.toml").write_text(MINIMAL.replace('questions = "train.csv"', settings))
    recipe = recipes.load(folder / "recipe.toml")
    said = lineage.said(recipe, data.load(recipe).hashes)
    tiny.rewrite(bundle, tiny.manifest(bundle).model_copy(update=said))
    return bundle


def recalibrate(bundle: Path, *more: str) -> Result:
    return CliRunner().invoke(cli, ["forge", "recalibrate", str(bundle.parent / "recipe.toml"), str(bundle), *more])


def test_a_bundle_is_fitted_and_certified_anew_on_its_graphs(made: Path) -> None:
    before = dict(tiny.manifest(made).files)
    assert len(bundles.load(made).profile("int8").model.confidence.right.weights) == 2
    result = recalibrate(made)
    assert result.exit_code == 0, result.output
    after = bundles.load(made)
    assert after.uncertified == ""
    profile = after.profile("int8")
    assert len(profile.model.confidence.right.weights) == 1
    assert profile.certificate.status is CertificateStatus.VALID
    sure = profile.model.confidence(np.array([[6.0, 1.0, 0.9], [-1.0, 0.2, 0.1]], np.float32))
    assert sure[0] > sure[1]
    graphs = {"int8.onnx", "fp16.onnx", "fp32.onnx", "weights.bin", "tokenizer.json"}
    assert {name: after.manifest.files[name] for name in graphs} == {name: before[name] for name in graphs}
    assert after.manifest.files["prototypes.int8.npy"] != before["prototypes.int8.npy"]
    assert "drift.int8.npz" in after.manifest.files
    assert sorted(one.name for one in made.parent.iterdir()) == ["1", "recipe.toml", "train.csv"]


def test_a_bundle_has_its_own_recipe(copied: Path) -> None:
    now = tiny.manifest(copied)
    for command in ("recalibrate", "reference"):
        (copied.parent / "recipe.toml").unlink(missing_ok=True)
        result = CliRunner().invoke(cli, ["forge", command, str(copied)])
        assert result.exit_code == 0, result.output
        assert tiny.manifest(copied).recipe == now.recipe
    more = CliRunner().invoke(cli, ["forge", "reference", str(copied), "--name", "mine"])
    assert (more.exit_code, "give no more than that" in more.output) == (2, True)
    tiny.rewrite(copied, tiny.manifest(copied).model_copy(update={"recipe": {}}))
    none = CliRunner().invoke(cli, ["forge", "reference", str(copied)])
    assert (none.exit_code, "its manifest has no recipe" in none.output) == (2, True)


def certify(bundle: Path, *more: str) -> Result:
    return CliRunner().invoke(cli, ["certify", str(bundle), *more])


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.parent, tmp_path / "copied")) / made.name


def is_refused(result: Result, *said: str) -> None:
    assert result.exit_code == 2, result.output
    output = " ".join(result.output.split())
    assert all(one in output for one in ("was not made from this recipe's data", *said)), output


def test_a_bundle_of_other_data_is_left_as_it_is(copied: Path) -> None:
    assert certify(copied, "--ask-again").exit_code == 0
    now = (copied / "manifest.json").read_bytes()
    with (copied.parent / "train.csv").open("a") as file:
        file.write("one more,a\n")
    for result in (recalibrate(copied), certify(copied, "--ask-again")):
        is_refused(result, "train.csv is another file now")
    assert (copied / "manifest.json").read_bytes() == now


@pytest.mark.parametrize("key", ["seed", "calibrate"])
def test_the_same_data_divided_otherwise_would_certify_by_what_has_trained(copied: Path, key: str) -> None:
    recipe = copied.parent / "recipe.toml"
    before, after = {"seed": ("dev = 0.1", "dev = 0.1\nseed = 8"), "calibrate": ("calibrate = 0.3", "calibrate = 0.2")}[
        key
    ]
    recipe.write_text(recipe.read_text().replace(before, after))
    is_refused(recalibrate(copied), f"({key})", "what has trained it might certify it")


def test_nobody_says_later_that_what_has_trained_never_did(copied: Path) -> None:
    recipe, folder = copied.parent / "recipe.toml", copied.parent
    found = data.load(recipes.load(recipe))
    settings = recipe.read_text()
    recipe.write_text(settings.replace("dev = 0.1", 'dev = 0.1\nnever = ["test.csv"]'))
    for rows, problem in ((found.certify, ""), (found.train[:2], "2 questions of test.csv")):
        (folder / "test.csv").write_text("text\n" + "".join(f"{row.text.upper()}\n" for row in rows[:2]))
        result = recalibrate(copied)
        assert (result.exit_code, problem in result.output) == (2 if problem else 0, True), result.output


def test_the_card_of_a_bundle_that_is_there_tells_what_its_data_is_like(copied: Path) -> None:
    check = ["forge", "check", str(copied.parent / "recipe.toml"), "--into", str(copied)]
    before = bundles.load(copied)
    assert "checks" not in before.manifest.metrics
    result = CliRunner().invoke(cli, check)
    assert result.exit_code == 0, result.output
    after = bundles.load(copied)
    assert after.manifest.metrics["checks"]["sizes"]["certify"] == len(
        data.load(recipes.load(copied.parent / "recipe.toml")).certify
    )
    assert "## Data" in (copied / "CARD.md").read_text()
    assert after.uncertified == before.uncertified
    same = before.manifest.files.keys() - {"CARD.md"}
    assert {name: after.manifest.files[name] for name in same} == {name: before.manifest.files[name] for name in same}
    with (copied.parent / "train.csv").open("a") as file:
        file.write("one more,a\n")
    is_refused(CliRunner().invoke(cli, check), "train.csv is another file now")
    assert bundles.load(copied).manifest == after.manifest


def test_what_a_bundle_says_of_itself_names_no_place_on_the_machine(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = copied.parent.parent / "somebody" / "data"
    for name in ("one", "other"):
        (elsewhere / name).mkdir(parents=True)
        (elsewhere / name / "harvest.csv").write_text(f"text,category\nquestion {name},a\n")
    named = [str(elsewhere / name / "harvest.csv") for name in ("one", "other")]
    inside = str(copied.parent / "train.csv")
    recipe = recipes.load(
        copied.parent / "recipe.toml", {"parent": str(copied)}, {"questions": inside, "harvest": named}
    )
    said = lineage.said(recipe, data.load(recipe).hashes)
    assert str(copied.parent.parent) not in json.dumps(said)
    assert said["recipe"]["bundle"]["parent"] == "1"
    assert said["recipe"]["data"]["questions"] == "train.csv"
    assert said["recipe"]["data"]["harvest"] == ["harvest.csv", "other/harvest.csv"]
    assert list(said["data"]) == ["train.csv", "harvest.csv", "other/harvest.csv"]
    again = recipes.Recipe(source=recipe.source, **said["recipe"])
    shutil.copy(named[0], elsewhere)
    monkeypatch.setenv("GATEWAY_DATA", str(elsewhere))
    assert data.load(again) == dataclasses.replace(data.load(recipe), hashes=said["data"])
