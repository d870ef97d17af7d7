"""`gateway forge outlook`: what a search promises goes into a bundle, and nothing that is certified changes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.forge import data, lineage, recipes
from gateway.model import bundle as bundles
from gateway.model.bundle import LabelPart
from tests import tiny
from tests.test_assembly import ARTICLE
from tests.test_recipes import MINIMAL

NAMES = ("a", "b", "c")


def made(folder: Path, has_documents: bool) -> Path:
    """A bundle whose labels stand for articles, or for texts of their own, with its recipe and data beside it."""
    (folder / "articles").mkdir()
    for name in NAMES:
        (folder / "articles" / f"{name}.md").write_text(ARTICLE.format(id=name))
    document = {name: name if has_documents else "" for name in NAMES}
    labels = tuple(LabelPart(name=one, document_id=document[one], text="" if document[one] else one) for one in NAMES)
    changes = {"labels": labels, "golden": ()}
    bundle = tiny.write(folder / "1", **changes)
    with (folder / "train.csv").open("w", newline="") as file:
        names = np.random.default_rng(0).choice(NAMES, 300).tolist()
        csv.writer(file).writerows([("text", "category"), *zip(tiny.questions(300, seed=5), names, strict=True)])
    settings = 'questions = "train.csv"\ndev = 0.1\ncalibrate = 0.3\n'
    knowledge = '[knowledge]\ncollection = "articles"\n[student_base]' if has_documents else "[student_base]"
    recipe = MINIMAL.replace('questions = "train.csv"', settings).replace("[student_base]", knowledge)
    (folder / "recipe.toml").write_text(recipe)
    loaded = recipes.load(folder / "recipe.toml")
    said = lineage.said(loaded, data.load(loaded).hashes)
    tiny.rewrite(bundle, tiny.manifest(bundle).model_copy(update=said))
    return bundle


def outlook(bundle: Path) -> Result:
    return CliRunner().invoke(cli, ["forge", "outlook", str(bundle.parent / "recipe.toml"), str(bundle)])


def test_what_a_search_promises_is_written_and_the_rest_stays(tmp_path: Path) -> None:
    bundle = made(tmp_path, has_documents=True)
    before = tiny.manifest(bundle)
    assert bundles.load(bundle).profile("int8").outlook is None
    result = outlook(bundle)
    assert result.exit_code == 0, result.output
    found = bundles.load(bundle).profile("int8").outlook
    assert found is not None
    assert np.isfinite(found.right.weights).all()
    after = tiny.manifest(bundle)
    assert {name: one.model_copy(update={"outlook": None}) for name, one in after.variants.items()} == before.variants
    assert after.files == before.files


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_the_certificate_stands_as_it_stood(tmp_path: Path, precision: str) -> None:
    bundle = made(tmp_path, has_documents=True)
    before = bundles.load(bundle).manifest
    assert outlook(bundle).exit_code == 0
    after = bundles.load(bundle).manifest
    assert bundles.hashes(after, precision) == bundles.hashes(before, precision)  # type: ignore[arg-type]


def test_without_documents_there_is_nothing_to_search(tmp_path: Path) -> None:
    result = outlook(made(tmp_path, has_documents=False))
    assert result.exit_code == 2
    assert "a search promises nothing" in result.output
