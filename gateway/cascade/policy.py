"""The policies: pure functions from what the tiers said to what is answered. Every decision of a request is made here.

Each reads like the sentence that describes it. They know documents, confidences and thresholds; no time, no I/O.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gateway.types import Policy, Reason, Route, Standing


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a confidence must reach (>=) before its tier may answer. `weight` is the model's share in the ensemble."""

    answer: float
    evidence: float
    ensemble: float = 0.5
    weight: float = 0.5


@dataclass(frozen=True, slots=True)
class ModelSays:
    """The model's best label as a document, how sure it is, and how that document stands for this caller.

    `known` are the probabilities of all labels' documents, for the ensemble.
    """

    document_id: str
    confidence: float
    standing: Standing
    in_scope: bool
    known: dict[str, float]


@dataclass(frozen=True, slots=True)
class RetrievalSays:
    """The best documents with their similarities, best first, and how sure retrieval is of the first."""

    documents: tuple[tuple[str, float], ...]
    confidence: float

    @property
    def document_id(self) -> str:
        return self.documents[0][0] if self.documents else ""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which route answers with which document, and why. An abstention has no document."""

    route: Route
    reason: Reason
    confidence: float
    document_id: str = ""


NOT_ANSWERABLE = {
    Standing.CHANGED: Reason.ANSWER_CHANGED,
    Standing.WITHDRAWN: Reason.ANSWER_WITHDRAWN,
    Standing.FORBIDDEN: Reason.ANSWER_FORBIDDEN,
}


def doubt(model: ModelSays | None, thresholds: Thresholds) -> Reason | None:
    """Why the model may not answer by itself; None if it may."""
    if model is None:
        return Reason.MODEL_UNAVAILABLE
    if model.confidence < thresholds.answer:
        return Reason.LOW_CONFIDENCE if model.in_scope else Reason.OUT_OF_SCOPE
    return NOT_ANSWERABLE.get(model.standing)


def cascade(model: ModelSays | None, retrieval: RetrievalSays | None, thresholds: Thresholds) -> Choice:
    """The model if confident; else retrieval if the evidence is good enough; else nothing.

    `retrieval` is None where it was not asked: not needed, or no time left.
    """
    why = doubt(model, thresholds)
    if model and why is None:
        return Choice(Route.MODEL, Reason.CONFIDENT, model.confidence, model.document_id)
    if retrieval is None:
        return Choice(Route.ABSTAIN, Reason.BUDGET, 0.0)
    if model and why is Reason.ANSWER_CHANGED and retrieval.document_id == model.document_id:
        return Choice(Route.MODEL, Reason.CONFIDENT, model.confidence, model.document_id)
    if retrieval.confidence >= thresholds.evidence:
        return Choice(Route.RETRIEVAL, why or Reason.FORCED, retrieval.confidence, retrieval.document_id)
    return Choice(Route.ABSTAIN, Reason.NO_EVIDENCE, retrieval.confidence)


def parallel(model: ModelSays | None, retrieval: RetrievalSays | None, thresholds: Thresholds) -> Choice:
    """Both have run; the better calibrated one answers, if it reaches its own threshold."""
    why = doubt(model, thresholds)
    if retrieval is None:
        return cascade(model, None, thresholds)
    model_first = model is not None and model.confidence >= retrieval.confidence
    if model and why is None and (model_first or retrieval.confidence < thresholds.evidence):
        return Choice(Route.MODEL, Reason.CONFIDENT, model.confidence, model.document_id)
    if retrieval.confidence >= thresholds.evidence:
        return Choice(Route.RETRIEVAL, why or Reason.CONFIDENT, retrieval.confidence, retrieval.document_id)
    return Choice(Route.ABSTAIN, Reason.NO_EVIDENCE, max(retrieval.confidence, 0.0))


def ensemble(model: ModelSays | None, retrieval: RetrievalSays | None, thresholds: Thresholds) -> Choice:
    """One distribution over documents: weight * the model's + (1 - weight) * retrieval's; its best, if good enough.

    Each side's mass is its confidence, shared among its documents in proportion to its probabilities. A document that
    the caller may not have, or whose text has changed, gets nothing from the model.
    """
    if model is None or retrieval is None:
        return cascade(model, retrieval, thresholds)
    mass: dict[str, float] = {}
    if model.standing is Standing.CURRENT:
        for document_id, probability in model.known.items():
            mass[document_id] = thresholds.weight * model.confidence * probability
    for document_id, share in _shares(retrieval):
        mass[document_id] = mass.get(document_id, 0.0) + (1 - thresholds.weight) * retrieval.confidence * share
    best = max(mass, key=lambda one: mass[one], default="")
    if best and mass[best] >= thresholds.ensemble:
        return Choice(Route.ENSEMBLE, Reason.CONFIDENT, mass[best], best)
    return Choice(Route.ABSTAIN, Reason.NO_EVIDENCE, mass.get(best, 0.0))


def model_only(model: ModelSays | None, _retrieval: RetrievalSays | None, thresholds: Thresholds) -> Choice:
    """The model, or nothing."""
    why = doubt(model, thresholds)
    if model and why is None:
        return Choice(Route.MODEL, Reason.FORCED, model.confidence, model.document_id)
    return Choice(Route.ABSTAIN, why or Reason.FORCED, model.confidence if model else 0.0)


def retrieval_only(_model: ModelSays | None, retrieval: RetrievalSays | None, thresholds: Thresholds) -> Choice:
    """Retrieval, or nothing."""
    if retrieval is None:
        return Choice(Route.ABSTAIN, Reason.BUDGET, 0.0)
    if retrieval.confidence >= thresholds.evidence:
        return Choice(Route.RETRIEVAL, Reason.FORCED, retrieval.confidence, retrieval.document_id)
    return Choice(Route.ABSTAIN, Reason.NO_EVIDENCE, retrieval.confidence)


POLICIES = {
    Policy.CASCADE: cascade,
    Policy.PARALLEL: parallel,
    Policy.ENSEMBLE: ensemble,
    Policy.MODEL_ONLY: model_only,
    Policy.RETRIEVAL_ONLY: retrieval_only,
}
ALWAYS_RETRIEVES = frozenset({Policy.PARALLEL, Policy.ENSEMBLE, Policy.RETRIEVAL_ONLY})


def needs_retrieval(policy: Policy, model: ModelSays | None, thresholds: Thresholds) -> bool:
    """Whether this policy wants a search after the model has spoken."""
    if policy is Policy.CASCADE:
        return doubt(model, thresholds) is not None
    return policy in ALWAYS_RETRIEVES


def _shares(retrieval: RetrievalSays, sharpness: float = 20.0) -> list[tuple[str, float]]:
    """Retrieval's documents with shares that decay with the distance from the first, which has 1."""
    if not retrieval.documents:
        return []
    first = retrieval.documents[0][1]
    return [(one, math.exp(-sharpness * (first - similarity))) for one, similarity in retrieval.documents]
