"""The division of the data: no question serves two purposes, and every run divides alike."""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path

import pytest

from gateway.forge.data import Data, load
from gateway.forge.recipes import Recipe
from gateway.forge.recipes import load as load_recipe
from gateway.forge.texts import sha256
from tests.test_recipes import MINIMAL

PARTS = ("train", "dev", "calibrate", "certify", "unseen")
ROWS = [(f"Question {number} about {label}?", label) for label in ("card", "fees", "loan") for number in range(40)]


def recipe(folder: Path, rows: list[tuple[str, str]] = ROWS, data: str = "", seed: int = 7) -> Recipe:
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "category"), *rows])
    (folder / "recipe.toml").write_text(
        MINIMAL.replace('questions = "train.csv"', f'questions = "train.csv"\nseed = {seed}\n{data}')
    )
    return load_recipe(folder / "recipe.toml")


def texts(found: Data, part: str) -> set[str]:
    return {row.text for row in getattr(found, part)}


def excluding(folder: Path, *intents: str) -> str:
    (folder / "held_out.txt").write_text("\n".join(intents))
    return 'exclude_intents = "held_out.txt"'


def test_no_question_stands_in_two_parts(tmp_path: Path) -> None:
    found = load(recipe(tmp_path, data=excluding(tmp_path, "loan")))
    for one, other in combinations(PARTS, 2):
        assert not texts(found, one) & texts(found, other)
    assert sum(len(getattr(found, part)) for part in PARTS) == len(ROWS)


def test_every_known_intent_is_in_every_part(tmp_path: Path) -> None:
    found = load(recipe(tmp_path))
    for part in ("train", "dev", "calibrate", "certify"):
        assert {row.category for row in getattr(found, part)} == {"card", "fees", "loan"}
    assert [len(getattr(found, part)) for part in PARTS] == [3 * 33, 3 * 2, 3 * 2, 3 * 3, 0]


def test_excluded_intents_are_only_unseen(tmp_path: Path) -> None:
    found = load(recipe(tmp_path, data=excluding(tmp_path, "loan")))
    assert found.labels == ("card", "fees")
    assert {row.category for row in found.unseen} == {"loan"}
    assert len(found.unseen) == 40
    assert all(row.category != "loan" for part in PARTS[:-1] for row in getattr(found, part))


def test_the_same_question_in_other_letters_counts_once(tmp_path: Path) -> None:
    twice = [*ROWS, ("Question 1 about card?", "card"), ("QUESTION 1  about card?", "fees")]
    assert load(recipe(tmp_path, twice)).train == load(recipe(tmp_path, ROWS)).train


def test_a_tiny_intent_only_trains(tmp_path: Path) -> None:
    found = load(recipe(tmp_path, [*ROWS, *((f"Rare {number}", "rare") for number in range(7))]))
    assert sum(row.category == "rare" for row in found.train) == 7
    assert all(row.category != "rare" for part in PARTS[1:] for row in getattr(found, part))


def test_an_intent_of_eight_questions_is_divided(tmp_path: Path) -> None:
    found = load(recipe(tmp_path, [*ROWS, *((f"Rare {number}", "rare") for number in range(8))]))
    assert [sum(row.category == "rare" for row in getattr(found, part)) for part in PARTS] == [5, 1, 1, 1, 0]


def test_a_seed_divides_alike_each_time(tmp_path: Path) -> None:
    assert load(recipe(tmp_path)) == load(recipe(tmp_path))


def test_another_seed_divides_otherwise(tmp_path: Path) -> None:
    assert texts(load(recipe(tmp_path)), "certify") != texts(load(recipe(tmp_path, seed=8)), "certify")


def test_a_new_intent_moves_no_question_of_another(tmp_path: Path) -> None:
    before = load(recipe(tmp_path))
    after = load(recipe(tmp_path, [*ROWS, *((f"New {number}", "new") for number in range(20))]))
    assert texts(before, "certify") < texts(after, "certify")


def test_questions_without_a_label_are_left_out(tmp_path: Path) -> None:
    assert load(recipe(tmp_path, [*ROWS, ("No label", "")])).labels == ("card", "fees", "loan")


def test_one_intent_is_nothing_to_classify(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.csv: 1 intents with labels; a classifier needs at least 2"):
        load(recipe(tmp_path, data=excluding(tmp_path, "card", "fees")))


def test_too_few_questions_are_counted(tmp_path: Path) -> None:
    few = [(text, label) for text, label in ROWS if label != "loan" and int(text.split()[1]) < 10]
    with pytest.raises(
        ValueError, match=r"20 questions of 2 intents .* dev 2 \(needed: 4\), calibrate 2 \(needed: 4\)"
    ):
        load(recipe(tmp_path, few))


@pytest.mark.parametrize("count", range(10, 30))
def test_large_shares_leave_some_to_train(tmp_path: Path, count: int) -> None:
    rows = [(text, label) for text, label in ROWS if int(text.split()[1]) < count]
    found = load(recipe(tmp_path, rows, "dev = 0.3\ncalibrate = 0.3\ncertify = 0.15"))
    assert {row.category for row in found.train} == {"card", "fees", "loan"}


def test_shares_that_leave_nothing_to_train_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"may take 0\.75 together"):
        recipe(tmp_path, data="dev = 0.3\ncalibrate = 0.3\ncertify = 0.3")


def outliers(folder: Path, count: int = 100, more: str = "") -> str:
    (folder / "far.txt").write_text("\n".join(f"Sentence {number}." for number in range(count)))
    return f'[[data.outliers]]\nfile = "far.txt"\n{more}'


def outlier_parts(found: Data) -> tuple[tuple[str, ...], ...]:
    return found.outliers_train, found.outliers_calibrate, found.outliers_certify


def test_outliers_are_halved_and_quartered(tmp_path: Path) -> None:
    parts = outlier_parts(load(recipe(tmp_path, data=outliers(tmp_path))))
    assert [len(one) for one in parts] == [50, 25, 25]
    assert len(set().union(*parts)) == 100


def test_outliers_are_thinned_and_bounded(tmp_path: Path) -> None:
    parts = outlier_parts(load(recipe(tmp_path, data=outliers(tmp_path, more="every = 2\noffset = 1\nlimit = 30"))))
    found = [one for part in parts for one in part]
    assert len(found) == 30
    assert all(int(one.split()[1].rstrip(".")) % 2 == 1 for one in found)


def test_outliers_are_chosen_by_intent(tmp_path: Path) -> None:
    (tmp_path / "far.json").write_text('{"train": [["a", "x"], ["b", "y"], ["c", "z"], ["d", "x"]]}')
    section = '[[data.outliers]]\nfile = "far.json"\nsplit = "train"\n'
    some = outlier_parts(load(recipe(tmp_path, data=section + 'only = ["x", "y"]\nexclude = ["y"]')))
    assert sorted(one for part in some for one in part) == ["a", "d"]


def test_an_outlier_of_two_files_stands_in_one_part(tmp_path: Path) -> None:
    twice = outliers(tmp_path) + outliers(tmp_path)
    parts = outlier_parts(load(recipe(tmp_path, data=twice)))
    assert sum(map(len, parts)) == 100


def test_every_file_is_vouched_for(tmp_path: Path) -> None:
    found = load(recipe(tmp_path, data=excluding(tmp_path, "loan") + "\n" + outliers(tmp_path)))
    assert found.hashes == {name: sha256(tmp_path / name) for name in ("train.csv", "held_out.txt", "far.txt")}


def test_files_of_one_name_are_both_vouched_for(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        outliers(tmp_path / folder, 10 if folder == "a" else 20)
    both = "".join(f'[[data.outliers]]\nfile = "{folder}/far.txt"\n' for folder in ("a", "b"))
    assert {"a/far.txt", "b/far.txt"} <= load(recipe(tmp_path, data=both)).hashes.keys()


def harvest(folder: Path, rows: list[tuple[str, str]], name: str = "harvest.csv") -> str:
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows([("text", "category"), *rows])
    return name


def test_a_harvest_leaves_the_division_of_the_others_as_it_was(tmp_path: Path) -> None:
    """Whatever it says of labels that there are, and of those that were excluded."""
    without = load(recipe(tmp_path, data=excluding(tmp_path, "loan")))
    rows = [(f"Harvested {label} {number}", label) for label in ("card", "loan") for number in range(30)]
    some = f'{excluding(tmp_path, "loan")}\nharvest = ["{harvest(tmp_path, rows)}"]'
    found = load(recipe(tmp_path, data=some))
    assert found.labels == ("card", "fees", "loan")
    for part in ("train", "dev", "calibrate", "certify"):
        more = texts(found, part) - texts(without, part)
        assert texts(without, part) <= texts(found, part)
        assert more
        assert more <= {text for text, _ in rows}
    assert found.unseen == ()
    assert found.hashes["harvest.csv"] == sha256(tmp_path / "harvest.csv")


def test_what_is_known_is_not_harvested_again(tmp_path: Path) -> None:
    rows = [("QUESTION 1 about card?", "fees"), ("New", "fees"), ("new", "card")]
    second = harvest(tmp_path, [("NEW", "loan")], "second.csv")
    found = load(recipe(tmp_path, data=f'harvest = ["{harvest(tmp_path, rows)}", "{second}"]'))
    assert [(row.text, row.category) for row in found.train if row.text.lower() == "new"] == [("New", "fees")]
    assert sum(row.text.lower() == "new" for part in PARTS for row in getattr(found, part)) == 1
    assert sum(row.text.lower() == "question 1 about card?" for part in PARTS for row in getattr(found, part)) == 1


def test_what_a_bundle_is_measured_on_is_not_harvested(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("text,category\nHarvested  LOAN 3,loan\n")
    rows = [(f"Harvested loan {number}", "loan") for number in range(30)]
    found = load(recipe(tmp_path, data=f'harvest = ["{harvest(tmp_path, rows)}"]\nnever = ["test.csv"]'))
    assert {text for text, _ in rows} - {text for part in PARTS for text in texts(found, part)} == {"Harvested loan 3"}


def test_what_must_not_be_harvested_leaves_the_division_as_it_was(tmp_path: Path) -> None:
    """Else a longer test file would make questions certify that have trained."""
    rows = [(f"Harvested loan {number}", "loan") for number in range(30)]
    (tmp_path / "far.jsonl").write_text("".join(f'{{"text": "far {number}"}}\n' for number in range(40)))
    named = f'harvest = ["{harvest(tmp_path, rows)}"]\nharvest_outliers = ["far.jsonl"]'
    before = load(recipe(tmp_path, data=named))
    never = {*(text for text, _ in rows[::3]), *(f"far {number}" for number in range(0, 40, 3))}
    (tmp_path / "test.csv").write_text("text,category\n" + "".join(f"{text},loan\n" for text in never))
    after = load(recipe(tmp_path, data=f'{named}\nnever = ["test.csv"]'))
    for part in ("train", "dev", "calibrate", "certify"):
        assert texts(after, part) == texts(before, part) - never
    for part in ("outliers_train", "outliers_calibrate", "outliers_certify"):
        assert {*getattr(after, part)} == {*getattr(before, part)} - never
    assert after.division == before.division


def test_what_a_bundle_is_measured_on_need_not_be_there_where_nothing_is_harvested(tmp_path: Path) -> None:
    found = load(recipe(tmp_path, data='never = ["test.csv"]'))
    assert found.labels == ("card", "fees", "loan")


def test_a_harvest_of_outliers_is_divided_by_itself(tmp_path: Path) -> None:
    (tmp_path / "far.txt").write_text("".join(f"far {number}\n" for number in range(40)))
    (tmp_path / "more.jsonl").write_text("".join(f'{{"text": "far {number}"}}\n' for number in range(30, 60)))
    named = '[[data.outliers]]\nfile = "far.txt"'
    without = load(recipe(tmp_path, data=named))
    found = load(recipe(tmp_path, data=f'harvest_outliers = ["more.jsonl"]\n{named}'))
    for part in ("outliers_train", "outliers_calibrate", "outliers_certify"):
        assert set(getattr(without, part)) < set(getattr(found, part))
    everything = [*found.outliers_train, *found.outliers_calibrate, *found.outliers_certify]
    assert len(everything) == len(set(everything)) == 60
