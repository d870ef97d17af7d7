"""A whole turn of the flywheel in miniature: a real gateway, the real commands, and a bundle of random weights."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.main import cli
from gateway.forge import data, near, parity, recipes
from gateway.model import bundle as bundles
from gateway.model.bundle import LabelPart
from gateway.model.engine import Engine
from loadtest import flywheel, flywheel_turn
from loadtest.__main__ import main
from loadtest.flywheel_world import LAUNCHED
from tests import tiny
from tests.test_recipes import MINIMAL

NAMES = ("a", "b", "c")
LATER = tiny.WORDS[:6]
"""Words of what came after the bundle."""
THIRD = {*tiny.WORDS[6:9]}
RECIPE = MINIMAL.replace(
    'questions = "train.csv"',
    'questions = "train.csv"\nexclude_intents = "later.txt"\ndev = 0.1\ncalibrate = 0.2\ncertify = 0.3',
)
# A loose certificate: of so few questions, in an order that depends on who answered first, a strict one is luck.
SETTINGS = f'[student]\nmax_tokens = {tiny.MAX_TOKENS}\n[confidence]\nrisk = 0.49\n[knowledge]\ncollection = "docs"\n'
ARTICLE = "---\nid: {0}\ntitle: {1}\nuri: https://help.example/{0}\nupdated: 2026-01-01\nanswer: It is {0}.\n---\n{1}\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A recipe with documents for four intents, and in 1/ a bundle that knows three of them."""
    folder = tmp_path / "tiny"
    labels = tuple(LabelPart(name=name, document_id=name, content_hash="0" * 64) for name in NAMES)
    bundle = tiny.write(folder / "1", labels=labels, golden=())
    texts = [text for text in tiny.questions(700, seed=5) if not {*LATER} & {*text.split()}]
    best = Engine(bundles.load(bundle), "cpu").outputs(texts)[0].argmax(axis=1)
    rows = [("c" if THIRD & {*text.split()} else NAMES[one], text) for text, one in zip(texts, best, strict=True)]
    rows += [("d", f"{one} {other} {third}") for one in LATER for other in LATER for third in LATER[:4]]
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("category", "text"), *rows])
    (folder / "later.txt").write_text("d\n")
    (folder / "far.txt").write_text("\n".join(tiny.questions(12, seed=77)))
    (folder / "docs").mkdir()
    for name, words in (("a", tiny.WORDS[20:30]), ("b", tiny.WORDS[30:40]), ("c", tiny.WORDS[40:50]), ("d", LATER)):
        (folder / "docs" / f"{name}.md").write_text(ARTICLE.format(name, " ".join(words)))
    (folder / "recipe.toml").write_text(RECIPE + SETTINGS)
    recipe = recipes.load(folder / "recipe.toml")
    said = {"recipe": recipe.model_dump(mode="json", exclude={"source"}), "data": data.load(recipe).hashes}
    tiny.rewrite(bundle, tiny.manifest(bundle).model_copy(update=said))
    tiny.certify(bundle)
    return folder


def here(*arguments: str | Path, allowed: tuple[int, ...] = (0,)) -> str:
    """The commands in this process: sooner, and what is patched holds for them."""
    result = CliRunner().invoke(cli, [str(one) for one in arguments])
    assert result.exit_code in allowed, result.output
    return result.stdout


@pytest.mark.timeout(300)
def test_a_turn_goes_all_the_way_round(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flywheel_turn, "SHADOW_SECONDS", 1)
    monkeypatch.setattr(parity, "MIN_AGREEMENT", 0.8)  # random weights take rounding worse than trained ones
    # Made-up words differ in their numbers alone, which are all one to it.
    monkeypatch.setattr(near, "plain", lambda text: hashlib.sha256(text.encode()).hexdigest())
    for module in (flywheel, flywheel_turn):
        monkeypatch.setattr(module, "gateway", here)
    turned = tmp_path / "turn"
    given = ("--bundle", str(place / "1"), "--outliers", "far.txt", "--folder", str(turned), "--drawn", "0.5", "--json")
    result = CliRunner().invoke(main, ["flywheel", *given])
    assert result.exit_code in (0, 1), result.output
    found = json.loads(result.stdout)
    assert found["intents"] == 1
    assert found["review"]["proposals"] == 101 + 11, "what is new, each once"
    assert found["harvested"].startswith("101 questions of 1 categories")
    assert found["judged"] > 80
    before, after = found["before"], found["after"]
    assert (before["bundle"], after["bundle"], found["back"]["bundle"]) == ("tiny/1", "tiny/2", "tiny/1")
    assert (before["labels"], after["labels"]) == (3, 4)
    assert before["groups"][LAUNCHED]["right_by_route"].get("model", 0) == 0
    assert after["groups"][LAUNCHED]["routes"]["model"] > 0.5
    assert found["promotion"]["recorded"]
    assert found["back"]["is_as_before"]
    assert sorted(one.name for one in (turned / "models" / "tiny").iterdir() if one.is_dir()) == ["1", "2"]
