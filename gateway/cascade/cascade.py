"""The cascade: one question through the tiers, in order, within its deadline. Decisions are the policy's alone."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

import numpy as np

from gateway.cascade.calibration import EVIDENCE_DEPTH, EvidenceCalibration, ModelCalibration
from gateway.cascade.policy import (
    POLICIES,
    Choice,
    ModelSays,
    Retrieval,
    RetrievalSays,
    Thresholds,
    needs_retrieval,
)
from gateway.cascade.tiers import KnowledgeTier, ModelTier
from gateway.deadline import Clock, Deadline
from gateway.errors import SearchFailed
from gateway.types import (
    Answer,
    CertificateStatus,
    Evidence,
    Hit,
    Policy,
    Prediction,
    Question,
    Reason,
    Route,
    Standing,
)

log = logging.getLogger(__name__)

SEARCH_MARGIN = 3.0
"""A search starts only if this many times its usual duration is left."""


@dataclass(frozen=True, slots=True)
class Label:
    """What one of the model's labels stands for: a document as it was at training time, or a text of its own."""

    name: str
    document_id: str = ""
    content_hash: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a bundle tells the cascade: its labels, how its numbers become probabilities, and what they must reach."""

    bundle: str
    labels: tuple[Label, ...]
    model: ModelCalibration
    evidence: EvidenceCalibration
    thresholds: Thresholds
    certificate: CertificateStatus


class Cascade:
    """Answers questions by one bundle over one knowledge tier. Holds no state but the usual duration of a search.

    Without a knowledge tier nothing is searched, labels that stand for documents count as withdrawn, and those with a
    text of their own answer.
    """

    def __init__(
        self, model: ModelTier, knowledge: KnowledgeTier | None, profile: Profile, clock: Clock = time.monotonic
    ) -> None:
        self.profile = profile
        self._model = model
        self._knowledge = knowledge
        self._clock = clock
        self._search_seconds = 0.0
        self._inline = {_key(label): label for label in profile.labels if not label.document_id}

    async def answer(self, question: Question, deadline: Deadline) -> Answer:
        """One answer. Raises DeadlineExceeded where even the model's pass does not fit, and the model tier's errors.

        A search that fails is logged, and the model then decides alone.
        """
        prediction = await self._model.predict(question.text, deadline)
        timings = dict(prediction.timings)
        started = self._clock()
        model = self._calibrate(prediction, question)
        timings["calibrate"] = self._clock() - started

        evidence: Evidence | None = None
        retrieval: Retrieval = Reason.BUDGET  # of no effect where no search is needed
        if needs_retrieval(question.policy, model, self.profile.thresholds):
            if self._knowledge is None:
                retrieval = RetrievalSays((), 0.0)
            elif self._has_time(deadline):
                started = self._clock()
                evidence = self._search(self._knowledge, prediction, question)
                retrieval = self._weigh(evidence) if evidence else Reason.RETRIEVAL_UNAVAILABLE
                timings["search"] = self._clock() - started
                self._search_seconds += 0.1 * (timings["search"] - self._search_seconds)

        choice = POLICIES[question.policy](model, retrieval, self.profile.thresholds)
        started = self._clock()
        answer = self._render(choice, evidence, prediction, question)
        timings["render"] = self._clock() - started
        return replace(
            answer,
            model_confidence=model.confidence,
            retrieval_confidence=retrieval.confidence if evidence and isinstance(retrieval, RetrievalSays) else None,
            timings=timings,
        )

    def _render(self, choice: Choice, evidence: Evidence | None, prediction: Prediction, question: Question) -> Answer:
        """The choice as an answer, with its document's text; an abstention with what came nearest."""
        inline = self._inline.get(choice.document_id)
        hit: Hit | None = None
        if choice.document_id and not inline:
            try:
                hit = self._read(choice.document_id, evidence, prediction, question)
                gone = None if hit else Reason.ANSWER_WITHDRAWN  # since the policy chose it
            except SearchFailed:
                log.exception("reading from collection %s failed", question.collection)
                gone = Reason.RETRIEVAL_UNAVAILABLE
            if gone:
                choice = Choice(Route.ABSTAIN, gone, choice.confidence)
        answer = Answer(
            route=choice.route,
            reason=choice.reason,
            policy=question.policy,
            confidence=choice.confidence,
            threshold=self.profile.thresholds.answer,
            certificate=self.profile.certificate,
            knowledge_version=evidence.knowledge_version if evidence else 0,
            bundle=self.profile.bundle,
            batch_size=prediction.batch_size,
        )
        if inline:
            return replace(answer, text=inline.text, label=inline.name)
        if hit:
            document = hit.document
            return replace(
                answer, text=document.answer, label=choice.label, document_id=document.id, citations=hit.citations
            )
        nearest = evidence.hits if evidence else ()
        return replace(
            answer,
            citations=tuple(one.citations[0] for one in nearest if one.citations)[: question.max_citations],
            suggestions=tuple(one.document.id for one in nearest),
        )

    def _has_time(self, deadline: Deadline) -> bool:
        return deadline.remaining() > SEARCH_MARGIN * self._search_seconds

    def _calibrate(self, prediction: Prediction, question: Question) -> ModelSays:
        calibration = self.profile.model
        logits, embedding = prediction.logits[None], prediction.embedding[None]
        features = calibration.features(logits, embedding)
        label = self.profile.labels[int(np.argmax(logits))]
        known: dict[str, float] = {}
        if question.policy is Policy.ENSEMBLE:  # the only policy that looks past the best label
            probabilities = calibration.probabilities(logits)[0].tolist()
            for one, probability in zip(self.profile.labels, probabilities, strict=True):
                if self._standing(one, question) is Standing.CURRENT:
                    known[_key(one)] = known.get(_key(one), 0.0) + probability
        return ModelSays(
            document_id=_key(label),
            confidence=float(calibration.confidence(features)[0]),
            standing=self._standing(label, question),
            in_scope=bool(calibration.in_scope(features)[0]),
            known=known,
            label=label.name,
        )

    def _standing(self, label: Label, question: Question) -> Standing:
        if not label.document_id:
            return Standing.CURRENT
        if self._knowledge is None:
            return Standing.WITHDRAWN
        return self._knowledge.standing(question.collection, label.document_id, label.content_hash, question.principal)

    def _search(self, knowledge: KnowledgeTier, prediction: Prediction, question: Question) -> Evidence | None:
        """None where the search failed, which the log explains."""
        try:
            return knowledge.search(
                question.collection,
                prediction.embedding,
                question.principal,
                EVIDENCE_DEPTH,
                question.max_citations,
            )
        except SearchFailed:
            log.exception("searching collection %s failed", question.collection)
            return None

    def _weigh(self, evidence: Evidence) -> RetrievalSays:
        found = tuple((hit.document.id, hit.similarity) for hit in evidence.hits)
        return RetrievalSays(found, self.profile.evidence.confidence([similarity for _, similarity in found]))

    def _read(
        self, document_id: str, evidence: Evidence | None, prediction: Prediction, question: Question
    ) -> Hit | None:
        """The chosen document: as found, or read afresh where the model chose it."""
        for hit in evidence.hits if evidence else ():
            if hit.document.id == document_id:
                return hit
        if self._knowledge is None:
            return None
        return self._knowledge.read(
            question.collection, document_id, prediction.embedding, question.principal, question.max_citations
        )


def _key(label: Label) -> str:
    """What the policies know the label's answer by: a label with a text of its own is no document of the same name."""
    return label.document_id or f"label\0{label.name}"
