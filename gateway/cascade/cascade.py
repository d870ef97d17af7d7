"""The cascade: one question through the tiers, in order, within its deadline. Decisions are the policy's alone."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import cast

from gateway.cascade import rivals
from gateway.cascade.calibration import (
    EVIDENCE_DEPTH,
    EvidenceCalibration,
    InformedCalibration,
    ModelCalibration,
)
from gateway.cascade.durations import SearchDurations
from gateway.cascade.outlook import Outlook
from gateway.cascade.policy import (
    LISTENS,
    POLICIES,
    SEARCHES,
    Choice,
    ModelSays,
    Retrieval,
    RetrievalSays,
    Thresholds,
    is_worth_a_search,
)
from gateway.cascade.rivals import Rivalry
from gateway.cascade.standing import CertificateStanding, Promise, Terms
from gateway.cascade.tiers import KnowledgeTier, ModelTier
from gateway.deadline import Clock, Deadline
from gateway.errors import SearchFailed, SearchSuspended
from gateway.types import (
    Answer,
    Citation,
    Hit,
    Lookup,
    Policy,
    Prediction,
    Question,
    Ranking,
    Reason,
    Route,
    Standing,
    Vector,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Label:
    """What one of the model's labels stands for: a document as it was at training time, or a text of its own."""

    name: str
    document_id: str = ""
    content_hash: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a bundle tells the cascade: its labels, how its numbers become probabilities, and what they must reach.

    `informed` is None where no label stands for a document; `informed_certificate` is of its threshold. `back_off` are
    the terms for a certificate that has gone stale, with stricter thresholds; None: the model then answers nothing.
    `outlook` is what a search promises, None where no label stands for a document.
    """

    bundle: str
    labels: tuple[Label, ...]
    model: ModelCalibration
    evidence: EvidenceCalibration
    thresholds: Thresholds
    certificate: Promise
    informed: InformedCalibration | None = None
    informed_certificate: Promise = Promise()  # noqa: RUF009 - frozen
    back_off: Terms | None = None
    outlook: Outlook | None = None

    @property
    def terms(self) -> Terms:
        """Of a certificate that is fresh."""
        return Terms(self.thresholds, self.certificate, self.informed_certificate)


@dataclass(frozen=True, slots=True)
class Content:
    """What an answer shows: its document's text with what proves it; for an abstention, what came nearest."""

    text: str = ""
    label: str = ""
    document_id: str = ""
    citations: tuple[Citation, ...] = ()
    suggestions: tuple[str, ...] = ()


class Cascade:
    """Answers questions by one bundle over one knowledge tier. Holds no state but how long searches take.

    `standing` says whether the bundle's certificate still holds; whoever watches it marks it stale. Without a knowledge
    tier nothing is searched, labels that stand for documents count as withdrawn, and those with a text of their own
    answer. `price` is what a second of a search has to bring in P(right), for the routing policy.
    """

    def __init__(
        self,
        model: ModelTier,
        knowledge: KnowledgeTier | None,
        profile: Profile,
        clock: Clock = time.monotonic,
        standing: CertificateStanding | None = None,
        price: float = 0.0,
    ) -> None:
        self.profile = profile
        self._price = price
        self.standing = standing or CertificateStanding()
        self._fresh = profile.terms
        self._stale = profile.back_off or profile.terms.closed()
        self._model = model
        self._knowledge = knowledge
        self._clock = clock
        self._durations = SearchDurations()
        self._inline = {_key(label): label for label in profile.labels if not label.document_id}
        self._labels_of: dict[str, list[int]] = {}  # the numbers of the labels that stand for a document
        for number, label in enumerate(profile.labels):
            if label.document_id:
                self._labels_of.setdefault(label.document_id, []).append(number)
        self._stood_for = self._labels_of.keys()

    @property
    def terms(self) -> Terms:
        """Those in force, for questions of which no part has gone stale by itself."""
        return self._stale if self.standing.is_stale else self._fresh

    async def answer(self, question: Question, deadline: Deadline) -> Answer:
        """One answer. Raises DeadlineExceeded where even the model's pass does not fit, and the model tier's errors."""
        prediction = await self._model.predict(question.text, deadline, question.principal.tenant)
        return self.decide(prediction, question, deadline)

    def decide(self, prediction: Prediction, question: Question, deadline: Deadline) -> Answer:
        """The answer for a prediction that is there, and that this profile is for.

        A search that fails is logged, and the model then decides alone.
        """
        timings = dict(prediction.timings)
        started = self._clock()
        label = self._label(prediction)
        standing = self._standing(label, question)
        terms = self._stale if self.standing.is_stale_for(question) else self._fresh  # once: it may change meanwhile
        wants_search = self._wants_search(label, standing, prediction, terms.thresholds, question)
        calibrating = self._clock() - started

        found: Ranking | Lookup | None = None
        unheard: Retrieval = RetrievalSays((), 0.0)
        knowledge = self._tier(question)
        if knowledge and wants_search:
            unheard = Reason.BUDGET
            if question.may_search and self._durations.fit_into(deadline.remaining()):
                started = self._clock()
                found = self._search(knowledge, label, standing, prediction, question)
                unheard = Reason.RETRIEVAL_UNAVAILABLE
                timings["search"] = self._clock() - started
                self._durations.note(timings["search"])

        started = self._clock()
        model, retrieval = self._calibrate(label, standing, prediction, found, unheard, question)
        timings["calibrate"] = calibrating + self._clock() - started

        ranking, thresholds = _ranking(found), terms.thresholds
        if isinstance(found, Lookup):
            thresholds = replace(thresholds, collection=found.threshold)
        choice, promise = POLICIES[question.policy](model, retrieval, thresholds), terms.promise(model.is_informed)
        started = self._clock()
        choice, content = self._read_choice(choice, ranking, prediction, question)
        timings["render"] = self._clock() - started
        return Answer(
            route=choice.route,
            reason=choice.reason,
            policy=question.policy,
            confidence=choice.confidence,
            model_confidence=model.confidence,
            retrieval_confidence=retrieval.confidence if ranking and isinstance(retrieval, RetrievalSays) else None,
            threshold=thresholds.of(model),
            certificate=promise.status,
            certificate_group=promise.group(self._best(prediction)),
            certified_risk=promise.risk,
            certified_oos_share=promise.group_oos_share(self._best(prediction)),
            knowledge_version=ranking.knowledge_version if ranking else 0,
            bundle=self.profile.bundle,
            batch_size=prediction.batch_size,
            timings=timings,
            text=content.text,
            label=content.label,
            document_id=content.document_id,
            citations=content.citations,
            suggestions=content.suggestions,
        )

    def _read_choice(
        self, choice: Choice, ranking: Ranking | None, prediction: Prediction, question: Question
    ) -> tuple[Choice, Content]:
        """The choice, an abstention where its document cannot be read after all, and what it shows."""
        if inline := self._inline.get(choice.document_id):
            return choice, Content(inline.text, inline.name)
        if choice.document_id:
            try:
                hit = self._read(choice.document_id, prediction, question, question.max_citations)
                gone = Reason.ANSWER_WITHDRAWN  # since the policy chose it
            except SearchFailed as error:
                _note_failure("reading from", question, error)
                hit, gone = None, Reason.RETRIEVAL_UNAVAILABLE
            if hit:
                return choice, Content(hit.document.answer, choice.label, hit.document.id, hit.citations)
            choice = Choice(Route.ABSTAIN, gone, choice.confidence)
        nearest = self._nearest(ranking, prediction, question)
        return choice, Content(
            citations=tuple(one.citations[0] for one in nearest if one.citations)[: question.max_citations],
            suggestions=tuple(one.document.id for one in nearest),
        )

    def _tier(self, question: Question) -> KnowledgeTier | None:
        """Nothing for a question to no collection."""
        return self._knowledge if question.collection else None

    def _wants_search(
        self, label: Label, standing: Standing, prediction: Prediction, thresholds: Thresholds, question: Question
    ) -> bool:
        """Whether the policy does. Where the bundle does not say what to expect of a search, it is worth it."""
        outlook = self.profile.outlook
        if question.policy is not Policy.ROUTING or outlook is None:
            return question.policy in SEARCHES
        model = self._says(label, standing, prediction, question, self._confidence(prediction))
        price = self._price * self._durations.cost
        if is_worth_a_search(model, thresholds, outlook.of(self._features(prediction), model.confidence, price)):
            return True
        self._durations.not_worth_it()
        return False

    def _search(
        self, knowledge: KnowledgeTier, label: Label, standing: Standing, prediction: Prediction, question: Question
    ) -> Ranking | Lookup | None:
        """By the collection's own confidence, if it has one and no current document of it is the model's answer. Else a
        ranking: where tiers listen, with the label's document, however far. None, and a line in the log, if it failed.
        """
        also = (label.document_id,) if question.policy in LISTENS and label.document_id else ()
        try:
            if not (label.document_id and standing is Standing.CURRENT):
                looked = knowledge.look(question.collection, question.text, prediction, question.principal)
                if looked is not None:
                    return looked
            return knowledge.rank(question.collection, prediction, question.principal, EVIDENCE_DEPTH, also)
        except SearchFailed as error:
            _note_failure("searching", question, error)
            return None

    def _calibrate(
        self,
        label: Label,
        standing: Standing,
        prediction: Prediction,
        found: Ranking | Lookup | None,
        unheard: Retrieval,
        question: Question,
    ) -> tuple[ModelSays, Retrieval]:
        """What each tier says; in the policies that listen, having heard the other. `unheard` is what retrieval says
        where nothing was found out.

        Each speaks for itself where the label's document is not to be had as it was: the model's word is then no
        longer about it. The threshold is that of a confidence which searched all the same, as it was certified. How
        sure retrieval is, the collection's own confidence says, if it has one.
        """
        informed, ranking = self.profile.informed, _ranking(found)
        listens = question.policy in LISTENS and informed is not None and ranking is not None
        if informed and listens and ranking and standing is Standing.CURRENT:
            rivalry = rivals.compare(ranking.documents, label.document_id, self._stood_for)
            if rivalry:
                confidence, for_label = informed.confidence.of((*self._features(prediction), *rivalry.features))
                retrieval = self._blend(informed, rivalry, for_label, prediction)
                return self._says(label, standing, prediction, question, confidence, is_informed=True), retrieval
        confidence = self._confidence(prediction)
        alone = self._says(label, standing, prediction, question, confidence, is_informed=listens)
        if ranking is None:
            return alone, unheard
        best = ranking.documents[:EVIDENCE_DEPTH]
        if isinstance(found, Lookup):
            return alone, RetrievalSays(best, found.confidence, is_by_collection=True)
        return alone, RetrievalSays(best, self.profile.evidence.confidence([similarity for _, similarity in best]))

    def _says(
        self,
        label: Label,
        standing: Standing,
        prediction: Prediction,
        question: Question,
        confidence: float,
        is_informed: bool = False,
    ) -> ModelSays:
        return ModelSays(
            document_id=_key(label),
            confidence=confidence,
            standing=standing,
            in_scope=self.profile.model.in_scope(self._features(prediction)),
            known=self._known(prediction, question) if question.policy is Policy.ENSEMBLE else {},
            label=label.name,
            is_informed=is_informed,
        )

    def _confidence(self, prediction: Prediction) -> float:
        """The model's, by itself."""
        return self.profile.model.confidence.of(self._features(prediction))[0]

    def _features(self, prediction: Prediction) -> list[float]:
        """MODEL_FEATURES."""
        return self.profile.model.read(prediction.forward).features[prediction.row]

    def _blend(
        self, informed: InformedCalibration, rivalry: Rivalry, for_label: float, prediction: Prediction
    ) -> RetrievalSays:
        """The better of the model's document and the nearest rival, and how sure both tiers together are of it."""
        share = self._probabilities(prediction)
        probability = sum(float(share[number]) for number in self._labels_of[rivalry.document_id])
        ranked = rivals.candidates(rivalry, for_label, probability, informed.sharpness)
        return RetrievalSays(
            tuple((one.document_id, one.similarity) for one in ranked),
            informed.blended(ranked[0].mass, ranked[0].similarity),
        )

    def _known(self, prediction: Prediction, question: Question) -> dict[str, float]:
        """Probabilities of all documents that labels stand for and that are current: only the ensemble asks."""
        known: dict[str, float] = {}
        for one, probability in zip(self.profile.labels, self._probabilities(prediction).tolist(), strict=True):
            if self._standing(one, question) is Standing.CURRENT:
                known[_key(one)] = known.get(_key(one), 0.0) + probability
        return known

    def _label(self, prediction: Prediction) -> Label:
        """The model's best."""
        return self.profile.labels[self._best(prediction)]

    def _best(self, prediction: Prediction) -> int:
        """Its number."""
        return self.profile.model.read(prediction.forward).best[prediction.row]

    def _probabilities(self, prediction: Prediction) -> Vector:
        """[labels]"""
        return cast(Vector, self.profile.model.read(prediction.forward).probabilities[prediction.row])

    def _standing(self, label: Label, question: Question) -> Standing:
        if not label.document_id:
            return Standing.CURRENT
        knowledge = self._tier(question)
        if knowledge is None:
            return Standing.WITHDRAWN
        return knowledge.standing(question.collection, label.document_id, label.content_hash, question.principal)

    def _nearest(self, ranking: Ranking | None, prediction: Prediction, question: Question) -> list[Hit]:
        """The nearest documents, to hand over. None of them where reading fails: an abstention needs no reasons."""
        ids = [one for one, _ in ranking.documents[:EVIDENCE_DEPTH]] if ranking else []
        try:
            return [hit for one in ids if (hit := self._read(one, prediction, question, 1))]
        except SearchFailed as error:
            _note_failure("reading from", question, error)
            return []

    def _read(self, document_id: str, prediction: Prediction, question: Question, citations: int) -> Hit | None:
        """A document with its passages that are nearest to the question."""
        knowledge = self._tier(question)
        if knowledge is None:
            return None
        return knowledge.read(question.collection, document_id, prediction, question.principal, citations)


def _note_failure(doing: str, question: Question, error: SearchFailed) -> None:
    """In the log; not of searches that are not made, which would fill it."""
    if not isinstance(error, SearchSuspended):
        log.error("%s collection %s failed", doing, question.collection, exc_info=error)


def _ranking(found: Ranking | Lookup | None) -> Ranking | None:
    return found.ranking if isinstance(found, Lookup) else found


def _key(label: Label) -> str:
    """What the policies know the label's answer by: a label with a text of its own is no document of the same name."""
    return label.document_id or f"label\0{label.name}"
