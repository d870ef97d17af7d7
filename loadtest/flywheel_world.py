"""Who asks what in the story of the flywheel: traffic, which is harvested, and frozen questions, which never are.

Of each held-out intent some questions are frozen and the others arrive. In scope, the recipe's own division says: its
development and certification questions are frozen, its calibration questions arrive, and as many that trained.
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.forge import data, recipes, texts
from gateway.forge.recipes import Recipe
from gateway.forge.texts import Labelled
from gateway.knowledge.documents import slug
from gateway.types import Answer, Route

LAUNCHED, IN_SCOPE, OUTLIERS = "launched later", "in scope", "out of scope"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, what it is about (empty: nothing that there is), and of which group it is."""

    text: str
    category: str
    group: str

    @property
    def document(self) -> str:
        """What answers it."""
        return slug(self.category) if self.category else ""

    def is_right(self, answer: Answer) -> bool:
        """Whether that is its answer, or, where there is none, an abstention."""
        return answer.route is Route.ABSTAIN if not self.category else answer.document_id == self.document


@dataclass(frozen=True, slots=True)
class World:
    """`traffic` in the order in which it arrives; `known` are the questions that the owner of the bundle has already,
    by text."""

    recipe: Recipe
    frozen: tuple[Asked, ...]
    traffic: tuple[Asked, ...]
    known: tuple[Labelled, ...]

    @property
    def intents(self) -> set[str]:
        """Those that were launched later."""
        return {one.category for one in self.traffic if one.group == LAUNCHED}


def load(recipe_path: Path, outliers: Sequence[str], frozen: float, seed: int) -> World:
    """`outliers` arrive too; `frozen` is the share of each held-out intent's questions that does not arrive."""
    recipe = recipes.load(recipe_path)
    divided = data.load(recipe)
    kept, arriving = divide(divided.unseen, frozen, seed)
    chance = random.Random(seed)  # noqa: S311 - a sample, no secret
    trained = chance.sample(divided.train, min(len(divided.calibrate), len(divided.train)))
    traffic = [
        *_asked(arriving, LAUNCHED),
        *_asked((*divided.calibrate, *trained), IN_SCOPE),
        *(Asked(text, "", OUTLIERS) for text in outliers),
    ]
    chance.shuffle(traffic)
    return World(
        recipe,
        (*_asked(kept, LAUNCHED), *_asked((*divided.dev, *divided.certify), IN_SCOPE)),
        tuple(traffic),
        (*divided.train, *divided.dev, *divided.calibrate, *divided.certify),
    )


def divide(rows: Iterable[Labelled], share: float, seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """(that share of each intent's, the others)."""
    by_intent = defaultdict(list)
    for row in rows:
        by_intent[row.category].append(row)
    first: list[Labelled] = []
    rest: list[Labelled] = []
    for intent, some in sorted(by_intent.items()):
        random.Random(f"{seed}:{intent}").shuffle(some)  # noqa: S311
        stop = round(share * len(some))
        first += some[:stop]
        rest += some[stop:]
    return first, rest


def test_questions(file: Path, launched: set[str]) -> tuple[Asked, ...]:
    """Of a file with text,category."""
    return tuple(
        Asked(row.text, row.category, LAUNCHED if row.category in launched else IN_SCOPE) for row in texts.read(file)
    )


def write(path: Path, rows: Iterable[Asked | Labelled]) -> None:
    """As CSV with text,category."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "category"), *((row.text, row.category) for row in rows)])


def _asked(rows: Iterable[Labelled], group: str) -> tuple[Asked, ...]:
    return tuple(Asked(row.text, row.category, group) for row in rows)
