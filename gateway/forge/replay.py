"""What another policy or bundle would have done with the questions of an audit log, beside what is done now.

Both ways answer every question that was logged with its text, today, from the same documents. So what differs is the
way alone; how much has changed since the log was written is told by itself. Deadlines are left out: nothing is skipped
for want of time. Questions that were asked in the same words are no independent evidence, so intervals come from a
bootstrap that draws whole groups of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.audit.cases import Verdict
from gateway.audit.reading import Record
from gateway.types import Answer, Policy, Principal, Question, Route

DRAWS = 2000
LEVEL = 0.95
SEED = 7
ROUTES = tuple(Route)
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of the log, as it was asked, and what was answered: its `route`, and document or label."""

    id: str
    group: str
    question: Question
    route: Route
    given: str
    drawn: bool
    propensity: float


@dataclass(frozen=True, slots=True)
class Prices:
    """What answers cost, in any one unit: a wrong one, one that is handed over, and a second of work."""

    wrong: float = 1.0
    handoff: float = 0.25
    second: float = 0.0


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with what is answered `now`, and what the other way would answer. Seconds are of its stages."""

    asked: Asked
    now: Answer
    other: Answer


def asked(records: Iterable[Record]) -> tuple[list[Asked], int]:
    """Those whose text is there, and how many there are without."""
    found, without = [], 0
    for record in records:
        if "text" not in record:
            without += 1
            continue
        principal = Principal(record["tenant"], frozenset(record["groups"]))
        question = Question(record["text"], record["collection"], principal, Policy(record["policy"]))
        found.append(
            Asked(
                id=record["id"],
                group=record["text_hash"],
                question=question,
                route=Route(record["route"]),
                given=record["document"] or record["label"],
                drawn=record["drawn"],
                propensity=record["propensity"],
            )
        )
    return found, without


def compared(
    pairs: Sequence[Pair], verdicts: Mapping[str, Verdict], prices: Prices, seed: int = SEED
) -> dict[str, Any]:
    """Shares of routes, moves between them, and costs, each with its interval; and how often each way is right, by
    what was said of drawn answers. Of no questions at all: ValueError."""
    if not pairs:
        raise ValueError("there is no question to replay")
    boot = _Bootstrap([one.asked.group for one in pairs], seed)
    moves = Counter((one.now.route.value, one.other.route.value) for one in pairs)
    return {
        "questions": len(pairs),
        "different_questions": boot.groups,
        "changed_since": {
            "route": _mean([one.now.route is not one.asked.route for one in pairs]),
            "answer": _mean([_given(one.now) != one.asked.given for one in pairs]),
        },
        "routes": {route.value: _both(boot, pairs, partial(_goes, route)) for route in ROUTES},
        "moves": [{"from": a, "to": b, "questions": count} for (a, b), count in moves.most_common() if a != b],
        "other_route": boot.mean([one.now.route is not one.other.route for one in pairs]),
        "other_answer": boot.mean([_given(one.now) != _given(one.other) for one in pairs]),
        "cost": _both(boot, pairs, lambda answer: _cost(answer, prices)),
        "milliseconds": _both(boot, pairs, lambda answer: 1e3 * _work(answer)),
        "judged": _judged(pairs, verdicts, seed),
    }


def _judged(pairs: Sequence[Pair], verdicts: Mapping[str, Verdict], seed: int) -> dict[str, Any]:
    """Of drawn answers, by what somebody has said of them, weighted by 1 / propensity. Not all verdicts tell whether
    another answer is right; where one way's is not known, the question is left out for both."""
    known: list[tuple[Pair, bool, bool]] = []
    for one in pairs:
        verdict = verdicts.get(one.asked.id)
        if verdict is None or not one.asked.drawn:
            continue
        rights = _is_right(one.now, one.asked, verdict), _is_right(one.other, one.asked, verdict)
        if rights[0] is not None and rights[1] is not None:
            known.append((one, rights[0], rights[1]))
    if not known:
        return {"questions": 0}
    boot = _Bootstrap([pair.asked.group for pair, _, _ in known], seed)
    weights = [1 / pair.asked.propensity for pair, _, _ in known]
    now, other = [right for _, right, _ in known], [right for _, _, right in known]
    return {
        "questions": len(known),
        "right": {
            "now": boot.mean(now, weights),
            "other": boot.mean(other, weights),
            "difference": boot.mean([float(b) - float(a) for a, b in zip(now, other, strict=True)], weights),
        },
    }


def _is_right(answer: Answer, asked: Asked, verdict: Verdict) -> bool | None:
    """By what was said of the answer that was given then; None where that does not tell."""
    given = _given(answer)
    if not verdict.is_wrong:
        return given == asked.given
    if verdict.no_answer:
        return answer.route is Route.ABSTAIN
    if verdict.document or verdict.label:
        return answer.route is not Route.ABSTAIN and (
            verdict.document == answer.document_id if verdict.document else verdict.label == answer.label
        )
    return False if given == asked.given else None


def _given(answer: Answer) -> str:
    """What a caller gets to see, of which there may be none."""
    return answer.document_id or answer.label


def _goes(route: Route, answer: Answer) -> bool:
    return answer.route is route


def _cost(answer: Answer, prices: Prices) -> float:
    """What is expected of it, by its own confidence."""
    risk = prices.handoff if answer.route is Route.ABSTAIN else prices.wrong * (1 - answer.confidence)
    return risk + prices.second * _work(answer)


def _work(answer: Answer) -> float:
    """Seconds of its stages but waiting."""
    return sum(seconds for stage, seconds in answer.timings.items() if stage != "queue")


def _both(boot: _Bootstrap, pairs: Sequence[Pair], value: Callable[[Answer], float]) -> dict[str, Any]:
    now, other = [float(value(one.now)) for one in pairs], [float(value(one.other)) for one in pairs]
    return {
        "now": boot.mean(now),
        "other": boot.mean(other),
        "difference": boot.mean([b - a for a, b in zip(now, other, strict=True)]),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


class _Bootstrap:
    """Resamples of questions by group, the same for all that is measured on them."""

    def __init__(self, groups: Sequence[str], seed: int) -> None:
        names, self._group_of = np.unique(np.array(groups), return_inverse=True)
        self.groups = len(names)
        chance = np.random.default_rng(seed)
        # How often each group is drawn: [draws, groups], small numbers.
        self._times = chance.multinomial(self.groups, np.full(self.groups, 1 / self.groups), DRAWS).astype(np.uint16)

    def mean(self, values: Sequence[float], weights: Sequence[float] | None = None) -> dict[str, float]:
        """The weighted mean, and where it is in LEVEL of the resamples."""
        each = np.asarray(values, np.float64)
        weight = np.ones_like(each) if weights is None else np.asarray(weights, np.float64)
        sums = np.bincount(self._group_of, each * weight, self.groups)
        totals = np.bincount(self._group_of, weight, self.groups)
        drawn = (self._times @ sums) / (self._times @ totals)
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return {"value": float(sums.sum() / totals.sum()), "low": float(low), "high": float(high)}
