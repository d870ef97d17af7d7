"""Recipes: what is checked before hours of work begin, and where files are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.forge import recipes
from gateway.forge.recipes import load

MINIMAL = f"""
[bundle]
name = "tiny"
[data]
questions = "train.csv"
[student_base]
name = "small"
sha256 = "{"0" * 64}"
[teacher_base]
name = "large"
sha256 = "{"1" * 64}"
"""
SHIPPED = sorted((Path(__file__).parent.parent / "models").glob("*/recipe.toml"))


def written(folder: Path, text: str = MINIMAL) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_a_recipe_has_defaults_for_all_but_names_and_data(tmp_path: Path) -> None:
    recipe = load(written(tmp_path))
    assert recipe.source == tmp_path / "recipe.toml"
    assert (recipe.bundle.version, recipe.data.seed, recipe.confidence.risk) == ("1", 7, 0.05)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_shipped_recipes_are_valid(path: Path) -> None:
    assert load(path).bundle.name == path.parent.name


def test_data_and_student_are_laid_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL + "[student]\nlayers = [6]\nbatch = 16\n")
    recipe = load(path, {"name": "mine"}, {"questions": "mine.csv"}, {"layers": (2,)})
    assert recipe.bundle.name == "mine"
    assert (recipe.data.questions, recipe.student.layers, recipe.student.batch) == ("mine.csv", (2,), 16)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("[student]\nlayers = []\n", "student.layers"),
        ("[student]\nlayers = [3, 0]\n", "student.layers.1"),
        ("[student]\nlayer = [3]\n", "student.layer: Extra inputs"),
        ("[studnet]\n", "studnet: Extra inputs"),
        ("[confidence]\nrisk = 0.6\n", "confidence.risk: Input should be less than 0.5"),
        ("[[data.outliers]]\nfile = 'x'\nevery = 0\n", "data.outliers.0.every"),
        ("[student]\nlayers = [", "recipe.toml"),
    ],
)
def test_errors_name_the_recipe_and_the_key(tmp_path: Path, change: str, problem: str) -> None:
    path = written(tmp_path, MINIMAL + change)
    with pytest.raises(ValueError, match=problem) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["Tiny", "../tiny", "", "-tiny"])
def test_a_bundle_s_name_is_fit_for_a_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"bundle\.name"):
        load(written(tmp_path, MINIMAL.replace('"tiny"', f'"{name}"')))


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such recipe"):
        load(tmp_path / "recipe.toml")


def test_files_are_looked_for_beside_the_recipe_then_in_the_data_folder_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load(written(tmp_path / "recipe"))
    for name in ("here", "data", "recipe"):
        (tmp_path / name).mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("GATEWAY_DATA", str(tmp_path / "data"))
    for name in ("here", "data", "recipe"):
        (tmp_path / name / "train.csv").touch()
        assert recipe.locate("train.csv") == tmp_path / name / "train.csv"


def test_a_file_that_is_nowhere_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load(written(tmp_path))
    monkeypatch.setenv("GATEWAY_DATA", str(tmp_path / "data"))
    with pytest.raises(FileNotFoundError) as caught:
        recipe.locate("absent.csv")
    for part in (
        "'absent.csv'",
        str(tmp_path / "absent.csv"),
        str(tmp_path / "data" / "absent.csv"),
        "Set GATEWAY_DATA",
    ):
        assert part in str(caught.value)


def test_the_template_is_ready_for_other_questions() -> None:
    template = load(SHIPPED[0].parent.parent / "template" / "recipe.toml")
    assert (template.data.questions, template.data.outliers, template.knowledge.collection) == ("train.csv", (), "")
    other = next(load(path) for path in SHIPPED if path.parent.name == "banking")
    assert template.student_base == other.student_base
    assert template.teacher_base == other.teacher_base


CREDITED = MINIMAL.replace('questions = "train.csv"', 'questions = "train.csv"\nattribution = ["questions"]').replace(
    'name = "small"', 'name = "small"\nattribution = ["small base"]'
).replace("[student_base]", 'exclude_intents = "gone.txt"\n[student_base]') + "".join(
    f'[[data.outliers]]\nfile = "{name}"\nattribution = ["far {name}"]\n' for name in ("here.txt", "away.txt")
)


def test_everything_is_credited_once(tmp_path: Path) -> None:
    recipe = load(written(tmp_path, CREDITED.replace("away.txt", "here.txt")))
    assert recipe.attribution == ("questions", "far here.txt", "small base")


def test_other_questions_leave_out_what_is_not_there_and_its_credit(tmp_path: Path) -> None:
    (tmp_path / "here.txt").touch()
    recipe, left_out = load(written(tmp_path, CREDITED)).with_questions("/mine.csv")
    assert recipe.data.questions == "/mine.csv"
    assert recipe.data.exclude_intents == ""
    assert [one.file for one in recipe.data.outliers] == ["here.txt"]
    assert recipe.attribution == ("far here.txt", "small base")
    assert left_out == ["exclude_intents 'gone.txt'", "outliers 'away.txt'"]


def test_links_are_named_as_links(tmp_path: Path) -> None:
    recipe = load(written(tmp_path))
    (tmp_path / "blob").touch()
    (tmp_path / "train.csv").symlink_to(tmp_path / "blob")
    assert recipe.locate("train.csv") == tmp_path / "train.csv"


def test_files_of_a_command_line_are_looked_for_here_and_then_in_gateway_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("GATEWAY_DATA", str(there))
    (there / "test.json").touch()
    assert recipes.named("test.json#val") == (there / "test.json", "val")
    (here / "test.json").touch()
    assert recipes.named("test.json") == (here / "test.json", "")
    assert recipes.named("none.csv") == (Path("none.csv"), "")
