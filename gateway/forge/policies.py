"""The policies side by side on the same outputs of the model: how well each ranks its answers, what it gets right where
its thresholds stand, what it costs.

Each question is decided by every way in turn, twice. As it is served: right, wrong or abstained, with the search that
was or was not made. And with every threshold but the model's certified one open, so that each question has an answer
and a confidence: that is what risk-coverage curves are made of.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gateway.cascade.cascade import Cascade, Profile
from gateway.deadline import Deadline
from gateway.forge import ranking
from gateway.forge.evaluate import ALWAYS, IN_SCOPE, PATIENCE, RISK, UNSEEN, Case, Replay, is_right
from gateway.forge.ranking import Flags, Floats
from gateway.forge.resampling import Estimate, estimate, weights
from gateway.knowledge.library import Library
from gateway.model.engine import Engine
from gateway.types import Answer, Matrix, Policy, Prediction, Question, Route

FAR = "far"
SHARES = {IN_SCOPE: 0.585, UNSEEN: 0.315, FAR: 0.1}
"""Of all questions. A tenth is about other subjects, as the shipped certificate allows for; of the others so many are
of unseen intents as in the test split of BANKING77-OOS, 1,080 of 3,080."""
BASELINE = "threshold"
"""The textbook's cascade: the model above its threshold, else retrieval above its own, each for itself."""
CURVE_POINTS = 200
FORWARD_PASSES = 200


@dataclass(frozen=True, slots=True)
class Way:
    """A policy with the profile that it decides by, and what a second of a search has to bring (`routing` alone)."""

    policy: Policy
    profile: Profile
    price: float = 0.0


def ways(profile: Profile, price: float) -> dict[str, Way]:
    """By name: BASELINE, then every policy."""
    alone = {BASELINE: Way(Policy.CASCADE, replace(profile, informed=None))}
    return alone | {policy.value: Way(policy, profile, price) for policy in Policy}


@dataclass(frozen=True, slots=True)
class Taken:
    """What one way made of the questions: `answered`, `right`, `searched` [n] as it is served, `seconds` [n] of each
    decision; `sure` [n] and `best_right` [n] of its best answers, thresholds open."""

    answered: Flags
    right: Flags
    searched: Flags
    seconds: Floats
    sure: Matrix
    best_right: Flags


def take(
    compared: Mapping[str, Way],
    library: Library,
    collection: str,
    cases: Sequence[Case],
    outputs: tuple[Matrix, Matrix],
) -> dict[str, Taken]:
    """Every way's decisions on `cases`, whose (logits, embeddings) are `outputs`.

    Question by question, the ways in turns, so that a slow second of the machine is slow for all of them.
    """
    served = {name: _cascade(way, library) for name, way in compared.items()}
    opened = {name: _cascade(replace(way, profile=_open(way)), library) for name, way in compared.items()}
    rows: dict[str, list[tuple[Answer, float, Answer]]] = {name: [] for name in compared}
    names = list(compared)
    for number, case in enumerate(cases):
        for at in range(len(names)):
            name = names[(number + at) % len(names)]
            question = Question(case.text, collection, policy=compared[name].policy)
            answer, seconds = _decide(served[name], question, outputs, number)
            best, _ = _decide(opened[name], question, outputs, number)
            rows[name].append((answer, seconds, best))
    return {name: _taken(cases, some) for name, some in rows.items()}


def _cascade(way: Way, library: Library) -> Cascade:
    return Cascade(Replay([]), library, way.profile, price=way.price)


def _open(way: Way) -> Profile:
    """With the thresholds open that no certificate is for; a tier that is alone has nothing to be compared with."""
    thresholds = replace(way.profile.thresholds, evidence=ALWAYS, ensemble=ALWAYS)
    if way.policy is Policy.MODEL_ONLY:
        thresholds = replace(thresholds, answer=ALWAYS, informed=ALWAYS)
    return replace(way.profile, thresholds=thresholds)


def _decide(cascade: Cascade, question: Question, outputs: tuple[Matrix, Matrix], row: int) -> tuple[Answer, float]:
    """With a pass of its own: nobody has searched for it yet."""
    prediction = Prediction.alone(outputs[0][row], outputs[1][row])
    started = time.perf_counter()
    answer = cascade.decide(prediction, question, Deadline.after(PATIENCE))
    return answer, time.perf_counter() - started


def _taken(cases: Sequence[Case], rows: Sequence[tuple[Answer, float, Answer]]) -> Taken:
    answered = [answer.route is not Route.ABSTAIN for answer, _, _ in rows]
    return Taken(
        answered=np.array(answered),
        right=np.array([is_right(case, answer) for case, (answer, _, _) in zip(cases, rows, strict=True)]),
        searched=np.array(["search" in answer.timings for answer, _, _ in rows]),
        seconds=np.array([seconds for _, seconds, _ in rows]),
        sure=np.array([best.confidence for _, _, best in rows], np.float32),
        best_right=np.array(
            [_answers(case, best) for case, (_, _, best) in zip(cases, rows, strict=True)],
        ),
    )


def _answers(case: Case, answer: Answer) -> bool:
    """Whether it is given, and right: with its thresholds open, no way is right by abstaining."""
    return bool(case.document_id) and is_right(case, answer)


@dataclass(frozen=True, slots=True)
class Measured:
    """One way on all questions, mixed by SHARES. `less_augrc` and the like are BASELINE's minus its own, or its own
    minus BASELINE's where more is better: above 0 it is better. Milliseconds are of the decision, p50 and p99."""

    augrc: Estimate
    coverage: Estimate
    gain: Estimate
    right: Estimate
    wrong: Estimate
    less_augrc: Estimate
    more_coverage: Estimate
    more_gain: Estimate
    searched: float
    milliseconds: tuple[float, float, float]
    curve: tuple[tuple[float, float], ...]


def forward_ms(engine: Engine, texts: Sequence[str]) -> float:
    """A forward pass in the mean, tokenising included: FORWARD_PASSES questions, one at a time."""
    engine.outputs(texts[:1])
    started = time.perf_counter()
    for text in texts[:FORWARD_PASSES]:
        engine.outputs([text])
    return 1e3 * (time.perf_counter() - started) / len(texts[:FORWARD_PASSES])


def measure(groups: Sequence[str], taken: Mapping[str, Taken], draws: int, seed: int) -> dict[str, Measured]:
    """Every way on the same resamples. A gain is the share that is right minus the share that is wrong: a wrong answer
    costs what a right one is worth. For a question that nothing answers, an abstention is right, and no gain."""
    weight = weights(np.array(groups), SHARES, draws, seed)
    weight /= weight.sum(axis=1, keepdims=True)
    found = {name: _figures(one, weight) for name, one in taken.items()}
    base = found[BASELINE]
    return {
        name: Measured(
            augrc=estimate(one["augrc"]),
            coverage=estimate(one["coverage"]),
            gain=estimate(one["gain"]),
            right=estimate(one["right"]),
            wrong=estimate(one["wrong"]),
            less_augrc=estimate(base["augrc"] - one["augrc"]),
            more_coverage=estimate(one["coverage"] - base["coverage"]),
            more_gain=estimate(one["gain"] - base["gain"]),
            searched=float(weight[0] @ taken[name].searched),
            milliseconds=_milliseconds(taken[name].seconds, weight[0]),
            curve=_curve(taken[name], weight[0]),
        )
        for name, one in found.items()
    }


def _figures(taken: Taken, weight: Floats) -> dict[str, Floats]:
    wrong = taken.answered & ~taken.right
    return {
        "augrc": ranking.augrc(taken.sure, ~taken.best_right, weight),
        "coverage": ranking.coverage_at_risk(taken.sure, ~taken.best_right, weight, RISK),
        "right": weight @ taken.right,
        "wrong": weight @ wrong,
        "gain": weight @ (taken.answered & taken.right) - weight @ wrong,
    }


def _milliseconds(seconds: Floats, weight: Floats) -> tuple[float, float, float]:
    """(mean, p50, p99)."""
    order = np.argsort(seconds)
    below = np.cumsum(weight[order])
    p50, p99 = (float(seconds[order][np.searchsorted(below, share * below[-1])]) for share in (0.5, 0.99))
    return 1e3 * float(weight @ seconds), 1e3 * p50, 1e3 * p99


def _curve(taken: Taken, weight: Floats) -> tuple[tuple[float, float], ...]:
    """(coverage, risk among what is answered) at CURVE_POINTS of its confidences."""
    coverage, joint = ranking.generalised(taken.sure, ~taken.best_right, weight)
    at = np.unique(np.linspace(1, len(coverage) - 1, CURVE_POINTS).astype(int))
    return tuple((float(coverage[one]), float(joint[one] / coverage[one])) for one in at)


def by_group(groups: Sequence[str], taken: Mapping[str, Taken]) -> dict[str, dict[str, Any]]:
    """{way: {group: right, wrong and abstained}}, as served."""
    found: dict[str, dict[str, Any]] = {}
    for name, one in taken.items():
        found[name] = {}
        for group in dict.fromkeys(groups):
            rows = np.array(groups) == group
            answered, right = one.answered[rows], one.right[rows]
            found[name][group] = {
                "questions": int(rows.sum()),
                "right": float(right.mean()),
                "wrong": float((answered & ~right).mean()),
                "abstained": float((~answered).mean()),
            }
    return found
