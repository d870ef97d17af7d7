"""Labels that may be wrong: those that were made wrong are found, and nothing is said where nothing can be."""

from __future__ import annotations

import random

import numpy as np
import pytest

from gateway.forge import label_noise
from gateway.forge.texts import Labelled

TOPICS = {
    "card": "card plastic chip swallowed frozen pin lost stolen replacement activate",
    "transfer": "transfer send wire recipient arrived pending abroad iban cancelled friend",
    "exchange": "exchange rate currency euro dollar converted markup weekend holiday spread",
}
COMMON = ["why", "is", "my", "the", "please", "how", "can", "i", "what", "when", "did"]


def questions(each: int, seed: int = 0) -> list[Labelled]:
    chance = random.Random(seed)
    found = []
    for label, words in TOPICS.items():
        for _ in range(each):
            picked = chance.sample(words.split(), 3) + chance.sample(COMMON, 4)
            chance.shuffle(picked)
            found.append(Labelled(" ".join(picked), label))
    return found


def with_wrong(rows: list[Labelled], count: int) -> tuple[list[Labelled], set[str]]:
    """`count` of them with the next label; and the texts of those."""
    names = list(TOPICS)
    changed = set(random.Random(1).sample(range(len(rows)), count))
    found = [
        Labelled(row.text, names[(names.index(row.category) + 1) % 3]) if number in changed else row
        for number, row in enumerate(rows)
    ]
    return found, {rows[number].text for number in changed}


def test_wrong_labels_are_suspects_with_the_right_one() -> None:
    rows, wrong = with_wrong(questions(100), 9)
    found = label_noise.find(rows)
    assert found.questions == 300
    assert len(found.suspects) >= 8
    assert {one.text for one in found.suspects} <= wrong
    right = {row.text: row.category for row in questions(100)}
    assert all(one.likely == right[one.text] for one in found.suspects)
    margins = [one.margin for one in found.suspects]
    assert margins == sorted(margins, reverse=True)


def test_right_labels_are_hardly_ever_suspects() -> None:
    found = label_noise.find(questions(100))
    assert found.accuracy > 0.98
    assert len(found.suspects) <= 3


def test_a_question_s_own_label_has_no_say() -> None:
    """Leave-one-out by the formula, and by leaving out."""
    features = label_noise._features([row.text for row in questions(20)])
    wanted = np.eye(3, dtype=np.float32)[np.repeat(np.arange(3), 20)]
    scores = label_noise._leave_one_out(features, wanted)
    for row in (0, 25, 59):
        rest = np.arange(60) != row
        gram = features[rest].T @ features[rest] + label_noise.RIDGE * np.eye(features.shape[1])
        expected = features[row] @ np.linalg.solve(gram, features[rest].T @ wanted[rest])
        np.testing.assert_allclose(scores[row], expected, atol=1e-4)


def test_of_few_questions_nothing_is_said() -> None:
    rows = [*questions(50), *(Labelled(f"rate of the weekend {n}", "rare") for n in range(label_noise.LEAST - 1))]
    found = label_noise.find(rows)
    assert found.questions == 150
    assert all("rare" not in (one.label, one.likely) for one in found.suspects)


def test_of_one_label_nothing_is_said() -> None:
    assert label_noise.find([Labelled(f"question {n}", "only") for n in range(20)]).suspects == ()


def test_texts_without_a_common_word_are_no_suspects() -> None:
    rows = [Labelled(chr(97 + n) * 3, "one" if n % 2 else "two") for n in range(20)]
    assert label_noise.find(rows).suspects == ()


def test_of_very_many_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_noise, "MOST", 100)
    assert label_noise.find(questions(100)).questions == 100
