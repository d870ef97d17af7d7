"""`gateway forge recalibrate`: what is fitted is fitted anew on the graphs that are there, and all that follows."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.forge import data, recipes
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
    hashes = data.load(recipes.load(folder / "recipe.toml")).hashes
    tiny.rewrite(bundle, tiny.manifest(bundle).model_copy(update={"data": hashes}))
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


def test_a_bundle_of_other_data_is_left_as_it_is(made: Path) -> None:
    now = (made / "manifest.json").read_bytes()
    with (made.parent / "train.csv").open("a") as file:
        file.write("one more,a\n")
    result = recalibrate(made)
    assert result.exit_code == 2
    assert "was not made from this recipe's data" in result.output
    assert (made / "manifest.json").read_bytes() == now
