"""Measuring a bundle on questions with known answers: the model alone, and every policy end to end.

The cascade that is measured is the one that serves. Each question goes through the model once, timed; the policies are
then compared on those same outputs, replayed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.cascade.calibration import PROTOTYPE, energy
from gateway.cascade.cascade import Cascade, Profile
from gateway.cascade.measures import auroc, expected_calibration_error
from gateway.deadline import Deadline
from gateway.forge import refusal
from gateway.forge.outcomes import Outcomes, Part
from gateway.forge.texts import Labelled
from gateway.knowledge.documents import slug
from gateway.knowledge.library import Library
from gateway.model.engine import Engine
from gateway.types import Answer, Matrix, Policy, Prediction, Question, Route

PATIENCE = 60.0
"""Seconds; measuring is not the place to shed."""
WARM_UP = 50
RISK = 0.05
PERCENTILES = (50, 99)

IN_SCOPE, UNSEEN = "in scope", "unseen"
ALWAYS = -1.0
"""A threshold that every confidence reaches."""


@dataclass(frozen=True, slots=True)
class Case:
    """A question, the group that it belongs to, its label if the bundle has it, and the document that is right.

    No document: nothing answers, and abstaining is right.
    """

    text: str
    group: str
    label: str = ""
    document_id: str = ""


def cases(rows: Iterable[Labelled], labels: dict[str, str], documents: Sequence[str]) -> list[Case]:
    """Questions of known intents (IN_SCOPE) and of others (UNSEEN). `labels` maps labels to their documents.

    A document that a row names is the right one, whatever its category. Else an unseen intent's is the one that its
    slug names. Rows that have neither are of no use and left out.
    """
    known = set(documents)
    found = []
    for row in rows:
        if row.document:
            is_known = row.category in labels
            found.append(
                Case(row.text, IN_SCOPE if is_known else UNSEEN, row.category if is_known else "", row.document)
            )
        elif row.category in labels:
            found.append(Case(row.text, IN_SCOPE, row.category, labels[row.category] or row.category))
        elif slug(row.category) in known:
            found.append(Case(row.text, UNSEEN, document_id=slug(row.category)))
        elif row.category:
            found.append(Case(row.text, UNSEEN))
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """A case with what the model made of it, and how long the whole answer took, in seconds by stage."""

    case: Case
    prediction: Prediction
    timings: dict[str, float]


class Replay:
    """A model tier that repeats what it was told."""

    def __init__(self, seen: Sequence[Seen]) -> None:
        self._predictions = {one.case.text: one.prediction for one in seen}

    async def predict(self, text: str, deadline: Deadline, tenant: str = "default") -> Prediction:
        return self._predictions[text]


def look(engine: Engine, library: Library | None, collection: str, wanted: Sequence[Case]) -> list[Seen]:
    """Ask the serving path each question, one at a time, by the default policy.

    The model alone where `library` is None.
    """

    async def ask_all() -> list[Seen]:
        keeper = _Keeper(engine)
        cascade = Cascade(keeper, library, engine.profile()) if library else None

        async def ask(text: str) -> dict[str, float]:
            deadline = Deadline.after(PATIENCE)
            if cascade is None:
                return (await keeper.predict(text, deadline)).timings
            return (await cascade.answer(Question(text, collection), deadline)).timings

        engine.start()
        for case in wanted[:WARM_UP]:
            await ask(case.text)
        seen = []
        for case in wanted:
            started = time.perf_counter()
            timings = await ask(case.text)
            seen.append(Seen(case, keeper.last, timings | {"total": time.perf_counter() - started}))
        await engine.stop()
        return seen

    return asyncio.run(ask_all())


class _Keeper:
    """Passes on to the engine and keeps its last word."""

    last: Prediction

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def predict(self, text: str, deadline: Deadline, tenant: str = "default") -> Prediction:
        self.last = await self._engine.predict(text, deadline, tenant)
        return self.last


def model_measures(
    profile: Profile,
    seen: Sequence[Seen],
    served: Matrix | None = None,
    developed: Outcomes | None = None,
    oos_share: float = 0.0,
) -> dict[str, Any]:
    """Accuracy in scope, coverage at RISK, and AUROC in scope against each other group by several scores.

    `served` [seen] is the confidence that the cascade gives the model's answers, having searched; without documents it
    is the model's own, which otherwise is shown beside it as `alone`. With outcomes to develop by, of which `oos_share`
    is weighed as out of scope, also what is refused at the threshold that does best on them.
    """
    rows = {group: _rows_of(seen, group) for group in dict.fromkeys(one.case.group for one in seen)}
    names = [label.name for label in profile.labels]
    scores = {group: _scores(profile, seen, served, some) for group, some in rows.items()}
    found: dict[str, Any] = {"questions": {group: len(some) for group, some in rows.items()}}
    if IN_SCOPE in rows:
        inside = [seen[row] for row in rows[IN_SCOPE]]
        right = np.array([names[int(one.prediction.logits.argmax())] == one.case.label for one in inside])
        found["accuracy"] = float(right.mean())
        found |= _coverage(scores, "confidence", right, _threshold(profile, served))
        if served is not None:
            alone = _coverage(scores, "alone", right, profile.thresholds.answer)
            found |= {f"alone_{name}": value for name, value in alone.items()}
        found["auroc"] = {
            group: {score: auroc(scores[IN_SCOPE][score], scores[group][score]) for score in scores[group]}
            for group in rows
            if group != IN_SCOPE
        }
        others = {group: scores[group]["confidence"] for group in rows if group != IN_SCOPE}
        if developed and others:
            name = "alone" if served is None or profile.informed is None else "informed"
            at = refusal.threshold(developed.sample(name, Part.DEV, Part.CALIBRATE, Part.CERTIFY), oos_share)
            found["refusal"] = refusal.measure(at, scores[IN_SCOPE]["confidence"], right, others)
    return found


def _rows_of(seen: Sequence[Seen], group: str) -> list[int]:
    return [row for row, one in enumerate(seen) if one.case.group == group]


def _threshold(profile: Profile, served: Matrix | None) -> float:
    return profile.thresholds.answer if served is None or profile.informed is None else profile.thresholds.informed


def _coverage(
    scores: dict[str, dict[str, Matrix]], name: str, right: NDArray[np.bool_], threshold: float
) -> dict[str, float]:
    """How much one confidence lets the model answer in scope, and how well it tells right from wrong."""
    sure = scores[IN_SCOPE][name]
    accepted = sure >= threshold
    found = {
        "coverage_at_5_risk": coverage_at_risk(sure, right),
        "threshold": threshold,
        "coverage_at_threshold": float(accepted.mean()),
        "risk_at_threshold": float((~right[accepted]).mean()) if accepted.any() else 0.0,
        "ece": expected_calibration_error(sure, right),
    }
    if UNSEEN in scores:
        everything = np.concatenate([sure, scores[UNSEEN][name]])
        all_right = np.concatenate([right, np.zeros(len(scores[UNSEEN][name]), bool)])
        found["coverage_at_5_risk_with_unseen"] = coverage_at_risk(everything, all_right)
    return found


def _scores(profile: Profile, seen: Sequence[Seen], served: Matrix | None, rows: list[int]) -> dict[str, Matrix]:
    logits = np.stack([seen[row].prediction.logits for row in rows])
    embedding = np.stack([seen[row].prediction.embedding for row in rows])
    features = profile.model.features(logits, embedding)
    alone = profile.model.confidence(features)
    sure = {"confidence": alone} if served is None else {"confidence": served[rows], "alone": alone}
    return sure | {
        "energy": energy(logits, profile.model.temperature),
        "max_probability": profile.model.probabilities(logits).max(axis=1),
        "prototype": features[:, PROTOTYPE],
    }


def coverage_at_risk(confidence: Matrix, right: NDArray[np.bool_], risk: float = RISK) -> float:
    """The largest share that can be answered, surest first, with at most `risk` of it wrong."""
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    within = np.flatnonzero(wrong <= risk)
    return float((within[-1] + 1) / len(order)) if len(within) else 0.0


def end_to_end(profile: Profile, library: Library, collection: str, seen: Sequence[Seen]) -> dict[str, Any]:
    """{way: {group: measures}} for each policy, and for the two tiers alone when they answer everything."""
    ways = {policy.value: (policy, profile) for policy in Policy}
    open_profile = replace(profile, thresholds=replace(profile.thresholds, answer=ALWAYS, evidence=ALWAYS))
    ways["model_always"] = (Policy.MODEL_ONLY, open_profile)
    ways["retrieval_always"] = (Policy.RETRIEVAL_ONLY, open_profile)
    order = ("model_always", "retrieval_always", "model_only", "retrieval_only", "cascade", "parallel", "ensemble")
    return {way: _end_to_end(*ways[way], library, collection, seen) for way in order}


def served_confidence(profile: Profile, library: Library, collection: str, seen: Sequence[Seen]) -> Matrix:
    """[seen]: the confidence of the model's answers in the cascade."""
    answers = _answers(Policy.CASCADE, profile, library, collection, seen)
    return np.array([answer.model_confidence for answer in answers], np.float32)


def _answers(policy: Policy, profile: Profile, library: Library, collection: str, seen: Sequence[Seen]) -> list[Answer]:
    cascade = Cascade(Replay(seen), library, profile)

    async def answer_all() -> list[Answer]:
        deadline = Deadline.after(PATIENCE * 60)
        return [await cascade.answer(Question(one.case.text, collection, policy=policy), deadline) for one in seen]

    return asyncio.run(answer_all())


def _end_to_end(
    policy: Policy, profile: Profile, library: Library, collection: str, seen: Sequence[Seen]
) -> dict[str, Any]:
    answered = list(zip([one.case for one in seen], _answers(policy, profile, library, collection, seen), strict=True))
    groups: dict[str, list[tuple[Case, Answer]]] = {}
    for case, answer in answered:
        groups.setdefault(case.group, []).append((case, answer))
    if {IN_SCOPE, UNSEEN} <= groups.keys():
        groups[f"{IN_SCOPE} + {UNSEEN}"] = groups[IN_SCOPE] + groups[UNSEEN]
    groups["all"] = answered
    return {group: _tally(some) for group, some in groups.items()}


def is_right(case: Case, answer: Answer) -> bool:
    """The right document (or label, where labels stand for themselves).

    For a question that nothing answers, abstaining.
    """
    if not case.document_id:
        return answer.route is Route.ABSTAIN
    return answer.route is not Route.ABSTAIN and case.document_id in (answer.document_id, answer.label)


def _tally(answered: Sequence[tuple[Case, Answer]]) -> dict[str, Any]:
    right = np.array([is_right(case, answer) for case, answer in answered])
    routes = np.array([answer.route.value for _, answer in answered])
    shares = {route: float((routes == route).mean()) for route in sorted(set(routes.tolist()))}
    return {
        "questions": len(answered),
        "accuracy": float(right.mean()),
        "abstained": shares.get(Route.ABSTAIN.value, 0.0),
        "wrong_answers": float((~right & (routes != Route.ABSTAIN.value)).mean()),
        "share": shares,
        "accuracy_by_route": {route: float(right[routes == route].mean()) for route in shares},
    }


def stages(seen: Sequence[Seen]) -> dict[str, dict[str, float]]:
    """Milliseconds by stage at each percentile, over the questions that went through the stage."""
    names = list(dict.fromkeys(name for one in seen for name in one.timings))
    return {
        name: {
            f"p{percentile}": float(
                1e3 * np.percentile([one.timings[name] for one in seen if name in one.timings], percentile)
            )
            for percentile in PERCENTILES
        }
        for name in names
    }
