"""A gateway without a model: it answers as a test tells it to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from gateway.deadline import Deadline
from gateway.knowledge.changes import Change, Receipt
from gateway.rpc.service import CollectionDescription, Description, Heard
from gateway.types import (
    Answer,
    CertificateStatus,
    Citation,
    Degradation,
    Document,
    DriftAlarm,
    Evidence,
    Forecast,
    Hit,
    Policy,
    Prediction,
    Principal,
    Question,
    Ranker,
    Reason,
    Route,
    Workload,
)

CITATION = Citation(
    document_id="card-arrival",
    title="When will my card arrive?",
    uri="https://help.example/card-arrival",
    updated="2026-01-02",
    start=0,
    end=5,
    quote="Cards",
    quote_sha256="0" * 64,
    similarity=0.75,
    version=5,
)

ANSWER = Answer(
    route=Route.MODEL,
    reason=Reason.CONFIDENT,
    policy=Policy.CASCADE,
    confidence=0.9375,
    text="Cards arrive within five days.",
    label="card_arrival",
    document_id="card-arrival",
    citations=(CITATION,),
    model_confidence=0.9375,
    retrieval_confidence=0.5,
    threshold=0.75,
    certificate=CertificateStatus.VALID,
    knowledge_version=7,
    bundle="banking/1",
    batch_size=2,
    timings={"tokenize": 0.0001, "infer": 0.002, "unheard-of": 0.001},
)

ABSTENTION = Answer(
    route=Route.ABSTAIN,
    reason=Reason.NO_EVIDENCE,
    policy=Policy.CASCADE,
    confidence=0.25,
    citations=(CITATION,),
    suggestions=("card-arrival",),
)

DOCUMENT = Document(
    id="card-arrival",
    title="When will my card arrive?",
    uri="https://help.example/card-arrival",
    updated="2026-01-02",
    answer="Within five days.",
    text="Cards arrive within five days.",
)

EVIDENCE = Evidence(
    (Hit(DOCUMENT, 0.75, (CITATION,), 1.25),), knowledge_version=7, timings={"infer": 0.002, "search": 0.001}
)


async def _confident(question: Question, deadline: Deadline) -> Answer:
    return ANSWER


class FakeGateway:
    """Records what it was asked; `behaviour` decides on the answer. Fits rpc.service.Gateway."""

    def __init__(self, behaviour: Callable[[Question, Deadline], Awaitable[Answer]] = _confident) -> None:
        self.behaviour = behaviour
        self.questions: list[Question] = []
        self.deadlines: list[Deadline] = []
        self.searches: list[tuple[str, str, Principal, int, Ranker]] = []
        self.is_closed = False
        self.next_forecast = Forecast(wait=0.0, backlog=0.0, service=0.002, cost=0.002)
        self.load = Workload(queued_seconds=0.25)
        self.degraded: Degradation | None = None
        self.stuck_seconds = 0.0
        self.can_answer = True
        self.drift_resets = 0
        self.doubts: list[tuple[str, str]] = []
        self.drift_heard: list[DriftAlarm] = []

    @property
    def default_collection(self) -> str:
        return "banking"

    def collections(self) -> Sequence[str]:
        return ("banking", "legal")

    async def answer(self, question: Question, deadline: Deadline) -> Answer:
        self.questions.append(question)
        self.deadlines.append(deadline)
        return await self.behaviour(question, deadline)

    def doubt(self, reason: str, by: str) -> None:
        self.doubts.append((reason, by))

    def reset_drift(self) -> None:
        self.drift_resets += 1

    def hear_drift(self, alarms: Sequence[DriftAlarm]) -> None:
        self.drift_heard += alarms

    async def predict(self, text: str, deadline: Deadline, tenant: str) -> Prediction:
        """Of each text another one, by its length."""
        return Prediction.alone(np.full(3, len(text), np.float32), np.arange(4, dtype=np.float32))

    async def search(
        self,
        text: str,
        collection: str,
        principal: Principal,
        limit: int,
        deadline: Deadline,
        ranker: Ranker = Ranker.HYBRID,
    ) -> Evidence:
        self.searches.append((text, collection, principal, limit, ranker))
        return EVIDENCE

    def waiting(self) -> int:
        return 5

    def forecast(self, characters: int, tenant: str, deadline: Deadline) -> Forecast:
        return self.next_forecast

    def workload(self) -> Workload:
        return self.load

    def describe(self) -> Description:
        return Description(
            bundle="banking/1",
            bundle_sha256="ab" * 32,
            manifest_sha256="cd" * 32,
            provider="CPUExecutionProvider",
            precision="int8",
            threshold=0.75,
            certificate=CertificateStatus.VALID,
            loaded=1_700_000_000.0,
            collections=(CollectionDescription("banking", documents=3, passages=9, version=7),),
            degraded=self.degraded,
            can_answer=self.can_answer,
            stuck_seconds=self.stuck_seconds,
        )

    def stored(self, tenant: str, name: str) -> str:
        return ""

    def collections_of(self, tenant: str) -> Sequence[CollectionDescription]:
        return ()

    async def write(
        self, place: tuple[str, str], changes: Sequence[Change], key: str = "", writer: Principal | None = None
    ) -> Receipt:
        raise NotImplementedError

    def version(self, collection: str) -> int:
        return 7

    def seen_by(self, principal: Principal, collection: str) -> CollectionDescription:
        return CollectionDescription(collection, documents=3, passages=9, version=7)

    async def catch_up(self) -> None:
        pass

    async def follow(self) -> None:
        pass

    def heard(self) -> Heard | None:
        return None

    async def record(self) -> None:
        pass

    def start(self) -> None:
        pass

    async def close(self) -> None:
        self.is_closed = True
