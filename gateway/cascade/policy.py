"""The policies: pure functions from what the tiers said to what is answered. Every decision of a request is made here.

Each reads like the sentence that describes it. They know documents, confidences and thresholds; no time, no I/O.
`model` is None where the model is down: `words` then has retrieval speak, by words alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gateway.cascade.outlook import Prospect, Quality, expected_best
from gateway.types import Policy, Reason, Route, Standing

NEVER = 2.0
"""A threshold that no confidence reaches."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a confidence must reach (>=) before its tier may answer.

    `answer` is the model's own, `informed` the one for a confidence that a search had a part in: each has a certificate
    of its own. `evidence` is retrieval's by the bundle, `collection` the one for a confidence that was fitted for the
    very collection. `weight` is the model's share in the ensemble. `fresh` are those that held until the certificate
    went stale, where these are the stricter ones.
    """

    answer: float
    evidence: float
    ensemble: float = 0.5
    weight: float = 0.5
    informed: float = NEVER
    collection: float = NEVER
    fresh: Thresholds | None = None

    def of(self, tier: ModelSays | RetrievalSays) -> float:
        """What this confidence of the tier must reach."""
        if isinstance(tier, ModelSays):
            return self.informed if tier.is_informed else self.answer
        return self.collection if tier.is_by_collection else self.evidence

    def stricter(self, answer: float = NEVER, informed: float = NEVER) -> Thresholds:
        """These, with the model's own for a certificate that is stale. By default it then answers nothing."""
        return replace(self, answer=answer, informed=informed, fresh=self)


@dataclass(frozen=True, slots=True)
class ModelSays:
    """The model's best label as a document, how sure it is, and how that document stands for this caller.

    `known` are the probabilities of all documents that labels stand for and this caller may have as they are, for the
    ensemble. A label with a text of its own counts as a document under a key that no document has. `is_informed` says
    that the confidence has heard what a search found, wherever that had something to say about the label's document.
    """

    document_id: str
    confidence: float
    standing: Standing
    in_scope: bool
    known: dict[str, float]
    label: str = ""
    is_informed: bool = False


@dataclass(frozen=True, slots=True)
class RetrievalSays:
    """The best documents with their similarities, best first, and how sure retrieval is of the first.

    In the cascade the first is the better of the model's document and its nearest rival, where both are known.
    `is_by_collection` says that the confidence is the collection's own, and the documents are with their scores.
    """

    documents: tuple[tuple[str, float], ...]
    confidence: float
    is_by_collection: bool = False

    @property
    def document_id(self) -> str:
        return self.documents[0][0] if self.documents else ""


Retrieval = RetrievalSays | Reason
"""What retrieval said, or why it said nothing: BUDGET or RETRIEVAL_UNAVAILABLE."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which route answers with which document, and why; `label` is the model's, if it predicted that document.

    An abstention has no document, and the confidence of the best answer that was not given.
    """

    route: Route
    reason: Reason
    confidence: float
    document_id: str = ""
    label: str = ""


NOT_ANSWERABLE = {
    Standing.CHANGED: Reason.ANSWER_CHANGED,
    Standing.WITHDRAWN: Reason.ANSWER_WITHDRAWN,
    Standing.FORBIDDEN: Reason.ANSWER_FORBIDDEN,
}


def doubt(model: ModelSays | None, thresholds: Thresholds) -> Reason | None:
    """Why the model may not answer by itself; None if it may."""
    if model is None:
        return Reason.MODEL_UNAVAILABLE
    if model.confidence < thresholds.of(model):
        if thresholds.fresh and model.confidence >= thresholds.fresh.of(model):
            return Reason.CERTIFICATE_STALE
        return Reason.LOW_CONFIDENCE if model.in_scope else Reason.OUT_OF_SCOPE
    return NOT_ANSWERABLE.get(model.standing)


def cascade(model: ModelSays | None, retrieval: Retrieval, thresholds: Thresholds) -> Choice:
    """The model if confident; else retrieval if the evidence is good enough; else nothing."""
    why = doubt(model, thresholds)
    if model and why is None:
        return _by_model(model)
    if isinstance(retrieval, Reason):
        return _nothing(retrieval, model)
    if model and why is Reason.ANSWER_CHANGED and retrieval.document_id == model.document_id:
        return _by_model(model)
    if why and retrieval.confidence >= thresholds.of(retrieval):
        label = model.label if model and model.document_id == retrieval.document_id else ""
        return Choice(Route.RETRIEVAL, why, retrieval.confidence, retrieval.document_id, label)
    return _nothing(Reason.NO_EVIDENCE, model, retrieval)


def routing(model: ModelSays | None, retrieval: Retrieval, thresholds: Thresholds) -> Choice:
    """The plan is made anew after each tier. After the model's pass, `is_worth_a_search` says whether to search.

    After that, as the cascade; but where both may answer and not with the same document, the surer one does.
    """
    if model and isinstance(retrieval, RetrievalSays) and doubt(model, thresholds) is None:
        is_surer = retrieval.confidence > model.confidence and retrieval.confidence >= thresholds.of(retrieval)
        if is_surer and retrieval.document_id != model.document_id:
            return Choice(Route.RETRIEVAL, Reason.CONFIDENT, retrieval.confidence, retrieval.document_id)
    return cascade(model, retrieval, thresholds)


def is_worth_a_search(model: ModelSays, thresholds: Thresholds, prospect: Prospect) -> bool:
    """Whether the best answer is expected to be better with a search than without by more than that costs.

    Without one the model answers, if it may by its certificate alone; else nobody does, which is worth as much as an
    answer that retrieval may just give.
    """
    now = prospect.model if doubt(model, thresholds) is None else Quality(thresholds.evidence)
    return expected_best(now, prospect.search, prospect.correlation) - prospect.price > now.mean


def parallel(model: ModelSays | None, retrieval: Retrieval, thresholds: Thresholds) -> Choice:
    """Both have run; the better calibrated one answers, if it reaches its own threshold.

    Where retrieval said nothing, the model alone decides, as in the cascade.
    """
    if isinstance(retrieval, Reason):
        return cascade(model, retrieval, thresholds)
    why = doubt(model, thresholds)
    has_evidence = retrieval.confidence >= thresholds.of(retrieval)
    if model and why is None and (model.confidence >= retrieval.confidence or not has_evidence):
        return _by_model(model)
    if has_evidence:
        return Choice(Route.RETRIEVAL, why or Reason.CONFIDENT, retrieval.confidence, retrieval.document_id)
    return _nothing(Reason.NO_EVIDENCE, model, retrieval)


def ensemble(model: ModelSays | None, retrieval: Retrieval, thresholds: Thresholds) -> Choice:
    """One distribution over documents: weight * the model's + (1 - weight) * retrieval's; its best, if good enough.

    Each side's mass is its confidence, shared among its documents in proportion to its probabilities. A document that
    the caller may not have, or whose text has changed, gets nothing from the model. Where one side said nothing, the
    other alone decides, as in the cascade; the best answer not given is otherwise the best of the blend.
    """
    if model is None or isinstance(retrieval, Reason):
        return cascade(model, retrieval, thresholds)
    mass = {
        document_id: thresholds.weight * model.confidence * probability
        for document_id, probability in model.known.items()
    }
    for document_id, share in _shares(retrieval):
        mass[document_id] = mass.get(document_id, 0.0) + (1 - thresholds.weight) * retrieval.confidence * share
    best = max(mass, key=lambda one: mass[one], default="")
    if best and mass[best] >= thresholds.ensemble:
        label = model.label if best == model.document_id else ""
        return Choice(Route.ENSEMBLE, Reason.CONFIDENT, mass[best], best, label)
    return Choice(Route.ABSTAIN, Reason.NO_EVIDENCE, mass.get(best, 0.0))


def model_only(model: ModelSays | None, _retrieval: Retrieval, thresholds: Thresholds) -> Choice:
    """The model, or nothing."""
    why = doubt(model, thresholds)
    if why is not None:
        return _nothing(why, model)
    assert model is not None
    return Choice(Route.MODEL, Reason.FORCED, model.confidence, model.document_id, model.label)


def retrieval_only(_model: ModelSays | None, retrieval: Retrieval, thresholds: Thresholds) -> Choice:
    """Retrieval, or nothing. Whatever the model says is no answer here, not even one that is not given."""
    if isinstance(retrieval, Reason):
        return Choice(Route.ABSTAIN, retrieval, 0.0)
    if retrieval.confidence >= thresholds.of(retrieval):
        return Choice(Route.RETRIEVAL, Reason.FORCED, retrieval.confidence, retrieval.document_id)
    return Choice(Route.ABSTAIN, Reason.NO_EVIDENCE, retrieval.confidence)


def _by_model(model: ModelSays) -> Choice:
    return Choice(Route.MODEL, Reason.CONFIDENT, model.confidence, model.document_id, model.label)


def _nothing(reason: Reason, *tiers: ModelSays | RetrievalSays | None) -> Choice:
    return Choice(Route.ABSTAIN, reason, max((tier.confidence for tier in tiers if tier), default=0.0))


POLICIES = {
    Policy.CASCADE: cascade,
    Policy.PARALLEL: parallel,
    Policy.ENSEMBLE: ensemble,
    Policy.ROUTING: routing,
    Policy.MODEL_ONLY: model_only,
    Policy.RETRIEVAL_ONLY: retrieval_only,
}
SEARCHES = frozenset(Policy) - {Policy.MODEL_ONLY}
"""The policies that want a search, ROUTING where it is worth it. The cascade does although the model may turn out to be
sure: it costs a seventh of the forward pass, and the model's confidence is worth far more with it."""
LISTENS = frozenset({Policy.CASCADE, Policy.ROUTING})
"""The policies in which each tier is heard by the other before either is asked how sure it is."""


def _shares(retrieval: RetrievalSays, sharpness: float = 20.0) -> list[tuple[str, float]]:
    """Retrieval's documents with shares that decay with the distance from the first, which has 1."""
    if not retrieval.documents:
        return []
    first = retrieval.documents[0][1]
    return [(one, math.exp(-sharpness * (first - similarity))) for one, similarity in retrieval.documents]
