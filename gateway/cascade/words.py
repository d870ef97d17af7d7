"""What is answered while the model does not run: by words alone, as meaning comes from the model's own pass."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from gateway.cascade.calibration import EVIDENCE_DEPTH
from gateway.cascade.policy import POLICIES, RetrievalSays, Thresholds
from gateway.cascade.tiers import WordTier
from gateway.deadline import Clock
from gateway.types import Answer, Hit, Question, Reason, Route

BIAS, COVERAGE_WEIGHT, LEAD_WEIGHT = -2.1, 1.9, 5.3
"""A logistic regression on 3,000 of BANKING77's training questions, which train no words: what it calls 0.5 and more is
right for 73 of 100, and that is 12 of 100 questions. Words alone say little, and this says so; of another collection it
is a guess. `gateway loadtest words` prints all of that."""


def confidence(documents: Sequence[tuple[str, float]]) -> float:
    """How sure the first of `documents`, with their coverages, best first, is the right one."""
    if not documents:
        return 0.0
    (_, first), (_, second) = (*documents[:2], ("", 0.0))[:2]
    return 1 / (1 + math.exp(-(BIAS + COVERAGE_WEIGHT * first + LEAD_WEIGHT * (first - second))))


def answer(
    knowledge: WordTier, question: Question, thresholds: Thresholds, bundle: str, clock: Clock = time.monotonic
) -> Answer:
    """The best document if its words are evidence enough, else the nearest ones to hand over: degraded in any case, and
    no certificate is claimed. Raises SearchFailed, UnknownCollection."""
    started = clock()
    ranking = knowledge.rank_by_words(question.collection, question.text, question.principal, EVIDENCE_DEPTH)
    says = RetrievalSays(ranking.documents[:EVIDENCE_DEPTH], confidence(ranking.documents))
    searched = clock()
    choice = POLICIES[question.policy](None, says, thresholds)

    def read(document_id: str, citations: int) -> Hit | None:
        return knowledge.read_by_words(question.collection, document_id, question.text, question.principal, citations)

    hit = read(choice.document_id, question.max_citations) if choice.document_id else None
    nearest = [] if hit else [one for name, _ in says.documents if (one := read(name, 1))]
    shown = hit.citations if hit else tuple(one.citations[0] for one in nearest if one.citations)
    return Answer(
        route=choice.route if hit else Route.ABSTAIN,
        reason=Reason.MODEL_UNAVAILABLE,
        policy=question.policy,
        confidence=choice.confidence,
        text=hit.document.answer if hit else "",
        document_id=hit.document.id if hit else "",
        citations=shown[: question.max_citations],
        suggestions=tuple(one.document.id for one in nearest),
        retrieval_confidence=says.confidence,
        knowledge_version=ranking.knowledge_version,
        bundle=bundle,
        timings={"search": searched - started, "render": clock() - searched},
    )
