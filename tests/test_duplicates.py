"""What stands twice in the data, by the parts that it stands in."""

from __future__ import annotations

from pathlib import Path

from gateway.forge import duplicates
from gateway.forge.data import load
from gateway.forge.duplicates import Pair, Placed
from gateway.forge.texts import Labelled
from tests.test_data import ROWS, outliers, recipe

TRAINED = Placed("train", "why was my card payment declined abroad", "declined")
CERTIFIES = Placed("certify", "Why was my card payment declined abroad?!", "declined")
OTHER = Placed("certify", "why was my card payment declined abroad", "fees")
OUTLIER = Placed("outliers_train", "why was my card payment declined abroad")
FAR = Placed("certify", "what is the limit of a transfer", "limits")


def test_pairs_are_the_same_or_nearly_so() -> None:
    found = duplicates.find(
        [TRAINED, FAR, CERTIFIES, Placed("dev", "WHY was my card  payment declined abroad", "declined")]
    )
    assert [(pair.first, pair.second.part, pair.is_same) for pair in found] == [
        (TRAINED, "certify", False),
        (TRAINED, "dev", True),
        (CERTIFIES, "dev", False),
    ]


def test_only_labels_can_disagree() -> None:
    assert Pair(TRAINED, OTHER, True).disagrees
    assert not Pair(TRAINED, CERTIFIES, False).disagrees
    assert not Pair(TRAINED, OUTLIER, True).disagrees


def test_texts_are_counted_once_for_each_part_that_they_are_nearly_in() -> None:
    again = Placed("train", "why was my card payment declined abroad now", "declined")
    pairs = [Pair(TRAINED, CERTIFIES, False), Pair(again, CERTIFIES, False), Pair(TRAINED, again, False)]
    assert duplicates.across([*pairs, Pair(OUTLIER, FAR, False)]) == {
        "outliers_train": {"certify": 1},
        "train": {"certify": 1},
    }


def test_everything_is_placed(tmp_path: Path) -> None:
    found = duplicates.placed(load(recipe(tmp_path, data=outliers(tmp_path))))
    assert len(found) == len(ROWS) + 100
    assert {one.part for one in found if one.label} == {"train", "dev", "calibrate", "certify"}
    assert {one.part for one in found if not one.label} == set(duplicates.OUTLIERS)


def test_a_text_contradicts_itself_with_another_label_alone() -> None:
    rows = [
        Labelled("One", "a"),
        Labelled("one ", "a"),
        Labelled("Two", "a"),
        Labelled("TWO", "b"),
        Labelled("two", "a"),
    ]
    assert duplicates.contradictions(rows) == {"two": ["a", "b"]}
