"""The cascade: one question through the tiers, in order, within its deadline. Decisions are the policy's alone."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from gateway.cascade.calibration import EVIDENCE_DEPTH, EvidenceCalibration, ModelCalibration
from gateway.cascade.policy import POLICIES, Choice, ModelSays, RetrievalSays, Thresholds, needs_retrieval
from gateway.cascade.tiers import KnowledgeTier, ModelTier
from gateway.deadline import Clock, Deadline
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
    """Answers questions by one bundle over one knowledge tier. Holds no state but the usual duration of a search."""

    def __init__(
        self, model: ModelTier, knowledge: KnowledgeTier, profile: Profile, clock: Clock = time.monotonic
    ) -> None:
        self.profile = profile
        self._model = model
        self._knowledge = knowledge
        self._clock = clock
        self._search_seconds = 0.0

    async def answer(self, question: Question, deadline: Deadline) -> Answer:
        """One answer. Raises DeadlineExceeded where even the model's pass does not fit, and the tiers' errors."""
        prediction = await self._model.predict(question.text, deadline)
        timings = dict(prediction.timings)
        started = self._clock()
        model = self._calibrate(prediction, question)
        timings["calibrate"] = self._clock() - started

        evidence: Evidence | None = None
        retrieval: RetrievalSays | None = None
        if needs_retrieval(question.policy, model, self.profile.thresholds) and self._has_time(deadline):
            started = self._clock()
            evidence = self._knowledge.search(
                question.collection,
                prediction.embedding,
                question.principal,
                EVIDENCE_DEPTH,
                question.max_citations,
            )
            retrieval = self._weigh(evidence)
            timings["search"] = self._clock() - started
            self._search_seconds += 0.1 * (timings["search"] - self._search_seconds)

        choice = POLICIES[question.policy](model, retrieval, self.profile.thresholds)
        started = self._clock()
        label = self._label_of(choice.document_id) if choice.route in (Route.MODEL, Route.ENSEMBLE) else None
        inline = label.text if label and not label.document_id else ""
        hit = None if inline else self._read(choice.document_id, evidence, prediction, question)
        if choice.document_id and not hit and not inline:  # gone since the policy chose it
            choice, label = Choice(Route.ABSTAIN, Reason.ANSWER_WITHDRAWN, choice.confidence), None
        answer = Answer(
            route=choice.route,
            reason=choice.reason,
            policy=question.policy,
            confidence=choice.confidence,
            text=hit.document.answer if hit else inline,
            label=label.name if label else "",
            document_id=hit.document.id if hit else "",
            citations=hit.citations if hit else (),
            model_confidence=model.confidence,
            retrieval_confidence=retrieval.confidence if retrieval else None,
            threshold=self.profile.thresholds.answer,
            certificate=self.profile.certificate,
            knowledge_version=evidence.knowledge_version if evidence else 0,
            bundle=self.profile.bundle,
            suggestions=tuple(hit.document.id for hit in evidence.hits)
            if evidence and choice.route is Route.ABSTAIN
            else (),
            batch_size=prediction.batch_size,
            timings=timings,
        )
        timings["render"] = self._clock() - started
        return answer

    def _has_time(self, deadline: Deadline) -> bool:
        return deadline.remaining() > SEARCH_MARGIN * self._search_seconds

    def _calibrate(self, prediction: Prediction, question: Question) -> ModelSays:
        calibration = self.profile.model
        logits, embedding = prediction.logits[None], prediction.embedding[None]
        features = calibration.features(logits, embedding)
        best = int(np.argmax(logits))
        label = self.profile.labels[best]
        standing = Standing.CURRENT
        if label.document_id:
            standing = self._knowledge.standing(
                question.collection, label.document_id, label.content_hash, question.principal
            )
        known: dict[str, float] = {}
        if question.policy is Policy.ENSEMBLE:  # the only policy that looks past the best label
            for one, probability in zip(
                self.profile.labels, calibration.probabilities(logits)[0].tolist(), strict=True
            ):
                key = one.document_id or one.name
                known[key] = known.get(key, 0.0) + probability
        return ModelSays(
            document_id=label.document_id or label.name,
            confidence=float(calibration.confidence(features)[0]),
            standing=standing,
            in_scope=bool(calibration.in_scope(features)[0]),
            known=known,
        )

    def _weigh(self, evidence: Evidence) -> RetrievalSays:
        found = tuple((hit.document.id, hit.similarity) for hit in evidence.hits)
        return RetrievalSays(found, self.profile.evidence.confidence([similarity for _, similarity in found]))

    def _read(
        self, document_id: str, evidence: Evidence | None, prediction: Prediction, question: Question
    ) -> Hit | None:
        """The chosen document: as found, or read afresh where the model chose it."""
        if not document_id:
            return None
        for hit in evidence.hits if evidence else ():
            if hit.document.id == document_id:
                return hit
        return self._knowledge.read(
            question.collection, document_id, prediction.embedding, question.principal, question.max_citations
        )

    def _label_of(self, document_id: str) -> Label | None:
        return next((one for one in self.profile.labels if document_id in (one.document_id, one.name)), None)
