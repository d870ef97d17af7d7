"""Why a question was answered as it was: every number that the decision rests on, and which tiers were tried.

The decision is the cascade's own. What is told of it is what went through the knowledge tier while it was made, and
what the same functions give once more for the same prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.cascade import rivals
from gateway.cascade.calibration import KNOWLEDGE_FEATURES, MODEL_FEATURES
from gateway.cascade.cascade import Cascade, Label, Profile
from gateway.cascade.policy import NEVER, SEARCHES
from gateway.cascade.standing import CertificateStanding, Terms
from gateway.cascade.tiers import KnowledgeTier, ModelTier
from gateway.deadline import Deadline
from gateway.errors import SearchFailed
from gateway.types import (
    Answer,
    CertificateStatus,
    Hit,
    Lookup,
    Policy,
    Prediction,
    Principal,
    Question,
    Ranking,
    Route,
    Standing,
)

TOP = 5
"""Labels and documents that are shown."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a tier: `has_run`, whether it `answered`, and why or why not, in a sentence."""

    tier: str
    has_run: bool
    answered: bool
    why: str


@dataclass(frozen=True, slots=True)
class Promised:
    """The certificate of the threshold in force, and the threshold that takes over when it goes stale."""

    status: CertificateStatus
    group: str
    risk: float
    oos_share: float
    stale_threshold: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """`labels` are the likeliest with their probabilities, `features` what the confidence is made of, `documents` the
    nearest with their similarities. `alone` is the confidence without a search, `confidence` the one that met the
    `threshold`. `scope_floor` is the similarity to the nearest prototype under which a question is another subject."""

    answer: Answer
    tried: tuple[Tried, ...]
    labels: tuple[tuple[str, float], ...]
    standing: Standing
    features: dict[str, float]
    scope_floor: float
    alone: float
    confidence: float
    is_informed: bool
    threshold: float
    certificate: Promised
    documents: tuple[tuple[str, float], ...]
    evidence: float | None
    evidence_threshold: float


@dataclass(slots=True)
class Witness:
    """A knowledge tier that passes on to another one, and keeps what it said about a question."""

    inner: KnowledgeTier
    found: Ranking | Lookup | None = None
    has_searched: bool = False
    standings: dict[str, Standing] = field(default_factory=dict)
    fault: str = ""

    def rank(
        self, collection: str, prediction: Prediction, principal: Principal, least: int, also: Sequence[str] = ()
    ) -> Ranking:
        self.has_searched = True
        try:
            found = self.inner.rank(collection, prediction, principal, least, also)
        except SearchFailed as error:
            self.fault = str(error)
            raise
        self.found = found
        return found

    def look(self, collection: str, text: str, prediction: Prediction, principal: Principal) -> Lookup | None:
        self.has_searched = True
        try:
            found = self.inner.look(collection, text, prediction, principal)
        except SearchFailed as error:
            self.fault = str(error)
            raise
        self.found = found
        return found

    def standing(self, collection: str, document_id: str, known_hash: str, principal: Principal) -> Standing:
        found = self.inner.standing(collection, document_id, known_hash, principal)
        self.standings[document_id] = found
        return found

    def read(
        self, collection: str, document_id: str, prediction: Prediction, principal: Principal, citations: int
    ) -> Hit | None:
        return self.inner.read(collection, document_id, prediction, principal, citations)


async def explain(
    model: ModelTier,
    knowledge: KnowledgeTier | None,
    profile: Profile,
    question: Question,
    deadline: Deadline,
    standing: CertificateStanding | None = None,
) -> Explanation:
    """Ask once, and tell all about it; `standing` is that of the certificate. Raises as `Cascade.answer`."""
    witness = Witness(knowledge) if knowledge else None
    cascade = Cascade(model, witness, profile, standing=standing)
    prediction = await model.predict(question.text, deadline, question.principal.tenant)
    answer = cascade.decide(prediction, question, deadline)
    return _told(cascade, prediction, question, answer, witness)


def _told(
    cascade: Cascade, prediction: Prediction, question: Question, answer: Answer, witness: Witness | None
) -> Explanation:
    profile, terms = cascade.profile, cascade.terms
    reading = profile.model.read(prediction.forward)
    best = profile.labels[reading.best[prediction.row]]
    own = reading.features[prediction.row]
    found = witness.found if witness else None
    ranking = found.ranking if isinstance(found, Lookup) else found
    standing = _standing(best, witness)
    listens = profile.informed is not None and ranking is not None and question.policy is Policy.CASCADE
    rivalry = _rivalry(profile, best, ranking) if listens and ranking and standing is Standing.CURRENT else None
    probabilities = reading.probabilities[prediction.row]
    evidence = found.threshold if isinstance(found, Lookup) else terms.thresholds.evidence
    return Explanation(
        answer=answer,
        tried=(_model(answer, standing), _retrieval(answer, question, witness, evidence)),
        labels=tuple(
            (profile.labels[at].name, float(probabilities[at])) for at in (-probabilities).argsort()[:TOP].tolist()
        ),
        standing=standing,
        features=dict(zip(MODEL_FEATURES, own, strict=True))
        | (dict(zip(KNOWLEDGE_FEATURES, rivalry.features, strict=True)) if rivalry else {}),
        scope_floor=profile.model.scope_floor,
        alone=profile.model.confidence.of(own)[0],
        confidence=answer.model_confidence or 0.0,
        is_informed=rivalry is not None,
        threshold=answer.threshold,
        certificate=_promised(profile, terms, answer, listens),
        documents=ranking.documents[:TOP] if ranking else (),
        evidence=answer.retrieval_confidence,
        evidence_threshold=evidence,
    )


def _rivalry(profile: Profile, best: Label, ranking: Ranking) -> rivals.Rivalry | None:
    """As the cascade compares them: None where the label's document was not ranked."""
    stood_for = {label.document_id for label in profile.labels if label.document_id}
    return rivals.compare(ranking.documents, best.document_id, stood_for)


def _standing(best: Label, witness: Witness | None) -> Standing:
    if not best.document_id:
        return Standing.CURRENT
    return witness.standings.get(best.document_id, Standing.WITHDRAWN) if witness else Standing.WITHDRAWN


def _promised(profile: Profile, terms: Terms, answer: Answer, is_informed: bool) -> Promised:
    stale = profile.back_off or terms.closed()
    return Promised(
        status=answer.certificate,
        group=answer.certificate_group,
        risk=answer.certified_risk,
        oos_share=answer.certified_oos_share,
        stale_threshold=stale.threshold(is_informed),
    )


def _model(answer: Answer, standing: Standing) -> Tried:
    answered = answer.route is Route.MODEL
    sure, needed = answer.model_confidence or 0.0, answer.threshold
    if needed >= NEVER:
        why = "no threshold of it is certified, so it answers nothing"
    elif sure < needed:
        why = f"its confidence {sure:.3f} is below {needed:.3f}"
    elif standing is not Standing.CURRENT:
        why = f"its confidence {sure:.3f} reaches {needed:.3f}, but its document is {standing.value}"
    elif answered:
        why = f"its confidence {sure:.3f} reaches {needed:.3f}"
    else:
        why = f"its confidence {sure:.3f} reaches {needed:.3f}, but the policy {answer.policy.value} preferred another"
    return Tried("model", True, answered, why)


def _retrieval(answer: Answer, question: Question, witness: Witness | None, needed: float) -> Tried:
    def skipped(why: str) -> Tried:
        return Tried("retrieval", False, False, why)

    if question.policy not in SEARCHES:
        return skipped("the policy asks the model alone")
    if witness is None or not question.collection:
        return skipped("there is no collection to search")
    if not witness.has_searched:
        return skipped("there was no time left for a search")
    if witness.fault:
        return Tried("retrieval", True, False, f"the search failed: {witness.fault}")
    sure = answer.retrieval_confidence or 0.0
    answered = answer.route is Route.RETRIEVAL
    if answer.route is Route.MODEL:
        why = f"the model answered; what was found had a part in its confidence (its own was {sure:.3f})"
    elif answered or sure >= needed:
        why = f"its confidence {sure:.3f} reaches {needed:.3f}"
    else:
        why = f"its confidence {sure:.3f} is below {needed:.3f}"
    return Tried("retrieval", True, answered, why)
