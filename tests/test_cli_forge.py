"""`gateway forge`: where things go, what a recipe becomes beside one's own data, and what is said of the result."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from gateway.cli import forge, settled
from gateway.errors import ConfigInvalid
from gateway.forge import recipes
from tests import tiny

MODELS = Path(__file__).parent.parent / "models"


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def console(said: io.StringIO) -> Console:
    return Console(file=said, width=400)


def test_a_bundle_goes_beside_its_recipe_or_to_its_name() -> None:
    recipe = recipes.load(MODELS / "banking" / "recipe.toml")
    assert settled.default_out(recipe, None) == MODELS / "banking" / "1"
    assert settled.default_out(recipe, "mine") == MODELS / "mine" / "1"
    assert settled.default_work(recipe) == Path("build/forge/banking")


def test_the_template_takes_a_name_and_data(console: Console, said: io.StringIO) -> None:
    recipe = settled.settled(MODELS / "template" / "recipe.toml", Path("my.csv"), "mine", "3", console)
    assert (recipe.bundle.name, recipe.student.layers) == ("mine", (3,))
    assert recipe.data.questions == str(Path("my.csv").absolute())
    assert settled.default_work(recipe) == Path("build/forge/mine")
    assert said.getvalue() == ""


def test_what_is_not_there_beside_other_data_is_a_warning(
    console: Console, said: io.StringIO, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(recipes.DATA_ROOT_VARIABLE, raising=False)
    recipe = settled.settled(MODELS / "banking" / "recipe.toml", Path("my.csv"), "mine", None, console)
    assert (recipe.data.exclude_intents, recipe.data.outliers) == ("", ())
    assert "names exclude_intents 'banking77/held_out_intents.txt', which is not there; left out" in said.getvalue()
    assert all("BANKING77" not in one and "CLINC150" not in one for one in recipe.attribution)


def test_layers_are_numbers(console: Console) -> None:
    with pytest.raises(ConfigInvalid, match="--layers 'six'"):
        settled.settled(MODELS / "template" / "recipe.toml", None, None, "six", console)


def insufficient(folder: Path) -> Path:
    tiny.write(folder)
    tiny.write_certificate(folder, tiny.insufficient(tiny.certificate(folder), "alone", 180))
    return folder


@pytest.mark.parametrize("is_json", [False, True])
def test_an_insufficient_certificate_is_said(
    tmp_path: Path, console: Console, said: io.StringIO, capsys: pytest.CaptureFixture[str], is_json: bool
) -> None:
    forge.report(insufficient(tmp_path / "tiny"), console, is_json)
    assert "24 certification questions" in said.getvalue()
    out = capsys.readouterr().out
    if is_json:
        assert "About 180 would be needed" in json.loads(out)["warnings"][0]
    else:
        assert out.startswith("try it: gateway serve --bundle ")
