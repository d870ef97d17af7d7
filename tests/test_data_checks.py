"""What is found in the data of a recipe: what is refused, what is reported, and that the card shows no text."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from gateway.cli.main import cli
from gateway.forge import data_checks, data_lines
from gateway.forge.data import load
from gateway.forge.data_checks import Findings
from gateway.forge.recipes import Recipe
from tests.test_data import recipe, texts
from tests.test_label_noise import questions

ROWS = [(row.text, row.category) for row in questions(40)]
NEVER = 'never = ["test.csv"]'


def checked(wanted: Recipe) -> Findings:
    return data_checks.check(wanted, load(wanted))


def measured_on(folder: Path, *rows: str) -> str:
    (folder / "test.csv").write_text("\n".join(["text,category", *(f"{row},card" for row in rows), ""]))
    return NEVER


def in_part(folder: Path, part: str) -> str:
    return min(texts(load(recipe(folder, ROWS)), part))


def test_sizes_are_those_of_the_division(tmp_path: Path) -> None:
    assert checked(recipe(tmp_path, ROWS)).sizes == {"train": 99, "dev": 6, "calibrate": 6, "certify": 9}


def test_a_text_with_several_labels_is_reported(tmp_path: Path) -> None:
    rows = [*ROWS, ("Why was it declined at the shop", "card"), ("why was it  declined at the SHOP", "transfer")]
    found = checked(recipe(tmp_path, rows))
    assert found.contradictions == {"why was it declined at the shop": ["card", "transfer"]}
    assert found.problems() == []


def test_nearly_the_same_with_another_label_is_reported(tmp_path: Path) -> None:
    twin = "my replacement card was swallowed by the machine downtown"
    found = checked(recipe(tmp_path, [*ROWS, (twin, "card"), (f"{twin}!", "transfer")]))
    (pair,) = found.disagreeing()
    assert {pair.first.label, pair.second.label} == {"card", "transfer"}
    assert found.summary()["near_with_other_labels"] == 1


def test_an_outlier_that_is_a_question_is_reported(tmp_path: Path) -> None:
    taught = in_part(tmp_path, "train")
    (tmp_path / "far.txt").write_text("\n".join([*(f"Sentence {n} of a town {n * n}" for n in range(40)), taught]))
    found = checked(recipe(tmp_path, ROWS, data='[[data.outliers]]\nfile = "far.txt"'))
    assert taught in {pair.first.text for pair in found.answered_outliers()}
    assert found.summary()["near_outliers"] == 1


def test_a_question_that_must_not_train_is_refused(tmp_path: Path) -> None:
    taught = in_part(tmp_path, "train")
    found = checked(recipe(tmp_path, ROWS, data=measured_on(tmp_path, taught.upper(), "Another one")))
    (problem,) = found.problems()
    assert problem.startswith("1 questions of test.csv, which [data] never names, are among those that train")
    assert found.summary()["leaks"] == {"same": {"train": 1}, "near": {}}


@pytest.mark.parametrize("part", ["dev", "calibrate", "certify"])
def test_where_it_does_not_train_it_is_reported(tmp_path: Path, part: str) -> None:
    held = in_part(tmp_path, part)
    found = checked(recipe(tmp_path, ROWS, data=measured_on(tmp_path, held)))
    assert found.problems() == []
    assert found.summary()["leaks"]["same"] == {part: 1}


def test_nearly_the_same_is_reported(tmp_path: Path) -> None:
    taught = in_part(tmp_path, "train")
    found = checked(recipe(tmp_path, ROWS, data=measured_on(tmp_path, f"{taught}s")))
    assert found.problems() == []
    assert found.summary()["leaks"] == {"same": {}, "near": {"train": 1}}


def test_a_file_that_must_not_train_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"names 'test\.csv', which is not there"):
        checked(recipe(tmp_path, ROWS, data=NEVER))


def test_few_questions_are_reported(tmp_path: Path) -> None:
    found = checked(recipe(tmp_path, [*ROWS, *((f"Rare one {word}", "rare") for word in "abcdefghi")]))
    assert found.few == {"rare": 9}
    assert "1 intents have fewer than 20 questions, first of all rare 9" in data_lines.of(found.summary())[0]


def test_numbers_go_into_the_card_and_no_text(tmp_path: Path) -> None:
    taught = in_part(tmp_path, "train")
    wanted = recipe(tmp_path, [*ROWS, ("twice", "card"), ("twice", "transfer")], measured_on(tmp_path, f"{taught}s"))
    summary = checked(wanted).summary()
    said = json.dumps(summary) + "\n".join(data_lines.of(summary))
    assert json.loads(json.dumps(summary)) == summary
    assert all(text not in said for text, _ in ROWS)
    assert "twice" not in said


def test_a_run_goes_on_with_what_is_reported(tmp_path: Path) -> None:
    said = io.StringIO()
    wanted = recipe(tmp_path, ROWS)
    summary = data_checks.passed(wanted, load(wanted), Console(file=said, width=200))
    assert summary["sizes"]["train"] == 99
    assert "Labels that may be wrong" in said.getvalue()


def test_a_run_ends_with_what_is_refused(tmp_path: Path) -> None:
    wanted = recipe(tmp_path, ROWS, data=measured_on(tmp_path, in_part(tmp_path, "train")))
    with pytest.raises(ValueError, match=r"recipe\.toml: 1 questions of test\.csv"):
        data_checks.passed(wanted, load(wanted), Console(file=io.StringIO()))


def test_the_files_that_must_not_train_move_no_question(tmp_path: Path) -> None:
    with_never = load(recipe(tmp_path, ROWS, data=measured_on(tmp_path, "x")))
    assert with_never == load(recipe(tmp_path, ROWS))


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["forge", "check", str(folder / "recipe.toml"), *arguments])


def test_the_command_shows_examples(tmp_path: Path) -> None:
    recipe(tmp_path, [*ROWS, ("my own words", "card"), ("My own words", "transfer")])
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    assert "- Texts: train 100," in result.output
    assert "my own words" in result.output


def test_the_command_fails_with_what_is_refused(tmp_path: Path) -> None:
    recipe(tmp_path, ROWS, data=measured_on(tmp_path, in_part(tmp_path, "train")))
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "refused: 1 questions of test.csv" in result.output
    result = run(tmp_path, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["refused"]
    assert found["leaking"][0]["first"]["part"] == "train"


def test_the_command_takes_other_questions(tmp_path: Path) -> None:
    recipe(tmp_path, ROWS[:40])
    (tmp_path / "train.csv").rename(tmp_path / "mine.csv")
    recipe(tmp_path, ROWS)
    result = run(tmp_path, "--data", str(tmp_path / "mine.csv"))
    assert result.exit_code == 2
    assert "1 intents with labels" in result.output


def test_bytes_that_are_not_utf_8_are_named_with_their_line(tmp_path: Path) -> None:
    recipe(tmp_path, ROWS)
    source = tmp_path / "train.csv"
    source.write_bytes(source.read_bytes() + "Wo ist das Café?,card\r\n".encode("latin-1"))
    result = run(tmp_path)
    assert result.exit_code == 2
    assert f"train.csv: line {len(ROWS) + 2}: the byte 0xE9 is not UTF-8" in result.output
