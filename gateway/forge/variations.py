"""Variations of training questions: unlabelled texts near the data, for the teacher to label and the student to learn.

Three kinds, from what goes wrong in real questions: words left out, slips of the keyboard, and two questions in one.
The last kind lies between intents, where a small model is otherwise sure of itself for no reason.
"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence

STEP_VERSION = 1
"""Raised when a change of this code changes its texts, so that kept lessons are made again."""


def vary(questions: Sequence[str], each: int, seed: int) -> list[str]:
    """`each` variations of every question, without repeats, in a fixed order for a seed."""
    chance = random.Random(seed)
    found: dict[str, None] = {}
    for number in range(each):
        for index, question in enumerate(questions):
            kind = (_shorten, _splice, _mistype)[(number + index) % 3]
            found[kind(question, questions, chance)] = None
    known = set(questions)
    return [text for text in found if text and text not in known]


def _shorten(question: str, _questions: Sequence[str], chance: random.Random) -> str:
    """Leave out about one word in six, at least one."""
    words = question.split()
    kept = [word for word in words if chance.random() > 0.17]
    if len(kept) == len(words) and len(words) > 2:
        del kept[chance.randrange(len(kept))]
    return " ".join(kept)


def _splice(question: str, questions: Sequence[str], chance: random.Random) -> str:
    """The first part of one question and the last part of another."""
    first, second = question.split(), chance.choice(questions).split()
    return " ".join(first[: max(1, round(chance.uniform(0.3, 0.8) * len(first)))] + second[len(second) // 2 :])


def _mistype(question: str, questions: Sequence[str], chance: random.Random) -> str:
    """One to three letters dropped, doubled, exchanged or replaced; half of the time in lower case without marks."""
    letters = list(question)
    for _ in range(chance.randint(1, 3)):
        if len(letters) < 4:
            break
        at = chance.randrange(len(letters) - 1)
        match chance.randrange(4):
            case 0:
                del letters[at]
            case 1:
                letters.insert(at, letters[at])
            case 2:
                letters[at], letters[at + 1] = letters[at + 1], letters[at]
            case _:
                letters[at] = chance.choice(string.ascii_lowercase)
    text = "".join(letters)
    return text.lower().rstrip("?.!") if chance.random() < 0.5 else text
