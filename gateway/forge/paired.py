"""Two bundles on the same questions: who is right where, with paired intervals, and which intents one has forgotten.

Each question goes through both as they are served, by the cascade with its certified thresholds over the same
documents. Both outcomes of a question are resampled together, so what is common to them cancels out.

An intent is *forgotten* where, of its questions, at least a fifth more are lost than won, and an exact sign test of
those that changed (McNemar's, one-sided) says that this is no chance at 5 %. Both are asked: with some dozens of
intents a test alone would find a few of them forgotten by every bundle, and a share alone those with few questions.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.cascade.cascade import Cascade
from gateway.deadline import Deadline
from gateway.forge.evaluate import PATIENCE, Case, Replay, cases, is_right
from gateway.forge.resampling import DRAWS, Estimate, estimate, weights
from gateway.forge.texts import Labelled
from gateway.knowledge.library import Library
from gateway.model.engine import Engine
from gateway.types import Answer, Prediction, Question, Route

Flags = NDArray[np.bool_]
LOST_SHARE = 0.2
"""Of an intent's questions, lost more than won, from which on it may be forgotten."""
LEVEL = 0.05
"""Of the sign test."""
ALL = "all"


@dataclass(frozen=True, slots=True)
class Intent:
    """How one intent's questions fare: `before` and `after` are how many the one and the other answer rightly; `won`
    and `lost` those that changed. `chance` is the p-value of losing so many if neither bundle were better."""

    name: str
    questions: int
    before: int
    after: int
    won: int
    lost: int

    @property
    def chance(self) -> float:
        return sign_test(self.lost, self.won)

    @property
    def is_forgotten(self) -> bool:
        return self.lost - self.won >= LOST_SHARE * self.questions and self.chance <= LEVEL


@dataclass(frozen=True, slots=True)
class Side:
    """What one bundle makes of the questions: shares of them, by outcome and by route."""

    right: float
    wrong: float
    abstained: float
    routes: dict[str, float]
    right_by_route: dict[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`before` and `after` by themselves, and what the second has more of: shares `right`, `wrong` and answered by the
    `model`, with paired intervals at 95 %. `intents` are those of the questions, most lost first."""

    questions: int
    before: Side
    after: Side
    right: Estimate
    wrong: Estimate
    model: Estimate
    won: int
    lost: int
    intents: tuple[Intent, ...]

    @property
    def forgotten(self) -> list[Intent]:
        return [one for one in self.intents if one.is_forgotten]


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions with the intents that they are of."""

    intents: tuple[str, ...]
    cases: tuple[Case, ...]


def asked(rows: Iterable[Labelled], engines: Sequence[Engine], documents: Sequence[str]) -> Asked:
    """What both can be asked: a label stands for the document that the last of the engines says, or one before it.

    ValueError where no question has a category or a document.
    """
    labels: dict[str, str] = {}
    for engine in engines:
        labels |= {label.name: label.document_id for label in engine.bundle.manifest.labels}
    found = [(row.category, case) for row in rows for case in cases([row], labels, documents)]
    if not found:
        raise ValueError("none of the questions has a category: a CSV with text,category is needed")
    return Asked(tuple(intent for intent, _ in found), tuple(case for _, case in found))


def answers(engine: Engine, library: Library | None, collection: str, wanted: Sequence[Case]) -> list[Answer]:
    """As they are served by `engine` over `library`, by the model alone where that is None; no time runs out."""
    cascade = Cascade(Replay([]), library, engine.profile())
    outputs = zip(*engine.outputs([case.text for case in wanted]), strict=True)
    return [
        cascade.decide(Prediction.alone(*output), Question(case.text, collection), Deadline.after(PATIENCE))
        for case, output in zip(wanted, outputs, strict=True)
    ]


def compare(
    wanted: Asked, before: Sequence[Answer], after: Sequence[Answer], draws: int = DRAWS, seed: int = 0
) -> Comparison:
    """Of two bundles' answers to `wanted`."""
    rights = _right(wanted.cases, before), _right(wanted.cases, after)
    routes = _routes(before), _routes(after)
    wrongs = [~right & (route != Route.ABSTAIN.value) for right, route in zip(rights, routes, strict=True)]
    by_model = [route == Route.MODEL.value for route in routes]
    drawn = weights(np.full(len(wanted.cases), ALL), {ALL: 1.0}, draws, seed)
    return Comparison(
        questions=len(wanted.cases),
        before=_side(rights[0], routes[0]),
        after=_side(rights[1], routes[1]),
        right=_more(drawn, *rights),
        wrong=_more(drawn, *wrongs),
        model=_more(drawn, *by_model),
        won=int((~rights[0] & rights[1]).sum()),
        lost=int((rights[0] & ~rights[1]).sum()),
        intents=_intents(wanted.intents, *rights),
    )


def sign_test(lost: int, won: int) -> float:
    """P(at least so many lost of those that changed), if either is as likely: exact, one-sided."""
    changed = lost + won
    return sum(math.comb(changed, count) for count in range(lost, changed + 1)) / 2**changed


def _right(wanted: Sequence[Case], given: Sequence[Answer]) -> Flags:
    return np.array([is_right(case, answer) for case, answer in zip(wanted, given, strict=True)])


def _routes(given: Sequence[Answer]) -> NDArray[np.str_]:
    return np.array([answer.route.value for answer in given])


def _more(drawn: NDArray[np.float64], before: Flags, after: Flags) -> Estimate:
    return estimate(drawn @ (after.astype(np.float64) - before))


def _side(right: Flags, routes: NDArray[np.str_]) -> Side:
    shares = {route: count / len(routes) for route, count in sorted(Counter(routes.tolist()).items())}
    return Side(
        right=float(right.mean()),
        wrong=float((~right & (routes != Route.ABSTAIN.value)).mean()),
        abstained=shares.get(Route.ABSTAIN.value, 0.0),
        routes=shares,
        right_by_route={route: float(right[routes == route].mean()) for route in shares},
    )


def _intents(names: Sequence[str], before: Flags, after: Flags) -> tuple[Intent, ...]:
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        rows[name].append(row)
    found = []
    for name, some in rows.items():
        was, now = before[some], after[some]
        won, lost = int((~was & now).sum()), int((was & ~now).sum())
        found.append(Intent(name, len(some), int(was.sum()), int(now.sum()), won, lost))
    return tuple(sorted(found, key=lambda one: (one.won - one.lost, one.name)))
