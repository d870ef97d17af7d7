"""The real gateway: one engine, one library, one cascade over both; `assembly` makes it of settings."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.cascade import words
from gateway.cascade.breaker import Breaker
from gateway.cascade.cache import AnswerCache, Key
from gateway.cascade.calibration import EVIDENCE_DEPTH
from gateway.cascade.cascade import Cascade
from gateway.cascade.guarded import GuardedKnowledge
from gateway.cascade.standing import CertificateStanding
from gateway.deadline import Deadline
from gateway.drifting import UNWATCHED, Monitoring, Watch
from gateway.errors import CircuitOpen, InferenceFailed, SearchFailed, Unavailable
from gateway.knowledge.base import SEPARATOR, KnowledgeBase, key
from gateway.knowledge.changes import Change, Receipt
from gateway.knowledge.library import Library
from gateway.knowledge.probe import Probe
from gateway.model.engine import Engine
from gateway.model.session import Session
from gateway.rpc.service import CollectionDescription, Description, Heard
from gateway.telemetry.drift.watch import DriftWatch
from gateway.types import (
    Answer,
    Doubter,
    DriftAlarm,
    Evidence,
    Forecast,
    Policy,
    Prediction,
    Principal,
    Question,
    Ranker,
    Tier,
    Workload,
)

log = logging.getLogger(__name__)

REHEARSAL_SECONDS = 60.0
"""The deadline of a rehearsed question: long enough for every step to be taken."""


@dataclass(frozen=True, slots=True)
class Side:
    """What one session's predictions are answered with: the calibration and thresholds of its precision, and passages
    embedded by it. Across precisions cosines are alike, but not alike enough: other passages come first for some
    questions, and no certificate was made with that."""

    session: Session
    library: Library
    knowledge: GuardedKnowledge
    cascade: Cascade
    watch: DriftWatch | None

    @classmethod
    def of(
        cls,
        engine: Engine,
        session: Session,
        library: Library,
        standing: CertificateStanding,
        watch: Watch,
        price: float,
        breaker: Breaker,
    ) -> Side:
        knowledge, profile = GuardedKnowledge(library, breaker), engine.bundle.profile(session.precision)
        cascade = Cascade(engine, knowledge, profile, standing=standing, price=price)
        return cls(session, library, knowledge, cascade, watch(engine.bundle, session.precision, standing))

    def decide(self, prediction: Prediction, question: Question, deadline: Deadline) -> Answer:
        """Which is watched."""
        answer = self.cascade.decide(prediction, question, deadline)
        if self.watch is not None:
            self.watch.note(prediction, answer, question)
        return answer

    def rehearse(self, engine: Engine, collection: str) -> None:
        """Decide on a question under each policy: numpy's first calls take milliseconds, better now than of a caller's
        time."""
        text = next((one.text for one in engine.bundle.manifest.golden), "")
        logits, embeddings = engine.outputs([text], self.session)
        prediction = Prediction.alone(logits[0], embeddings[0])
        for policy in Policy:
            question = Question(text, collection, policy=policy)
            self.cascade.decide(prediction, question, Deadline.after(REHEARSAL_SECONDS))


class Assembled:
    """The real gateway: one engine, one library, one cascade over both. See `rpc.service.Gateway`.

    A library without collections is no knowledge base: `default_collection` is then empty. `spare_library` holds the
    same documents for the engine's spare session, where it has one. `base`: of stored collections, which are in both.
    `standing` is of the bundle's certificate, for whoever watches what comes in: both sessions go by it.
    `monitoring`: of each session's questions, for drift. `price`: see `Cascade`.
    """

    def __init__(
        self,
        engine: Engine,
        library: Library,
        default_collection: str,
        cache: AnswerCache | None = None,
        spare_library: Library | None = None,
        base: KnowledgeBase | None = None,
        probe: Probe | None = None,
        monitoring: Monitoring = UNWATCHED,
        price: float = 0.0,
        standing: CertificateStanding | None = None,
    ) -> None:
        self.engine = engine
        self._probe = probe or Probe(0)
        self._monitoring = monitoring
        self._base = base
        self._cache = cache
        self.default_collection = default_collection
        assert (engine.spare is None) == (spare_library is None)
        self.standing = standing or CertificateStanding()
        self._breakers = {tier: Breaker(tier) for tier in Tier}

        def side(session: Session, library: Library) -> Side:
            breaker = self._breakers[Tier.KNOWLEDGE]
            return Side.of(engine, session, library, self.standing, monitoring.watch, price, breaker)

        self._first = side(engine.session, library)
        self._spare = side(engine.spare, spare_library) if engine.spare and spare_library else None
        self._loaded = time.time()
        for each in self._sides():
            each.rehearse(engine, default_collection)

    def _sides(self) -> list[Side]:
        return [self._first, self._spare] if self._spare else [self._first]

    @property
    def library(self) -> Library:
        """That of the session which answers now."""
        return self._side(by_spare=self.engine.degraded is not None).library

    def _side(self, *, by_spare: bool) -> Side:
        return self._spare if by_spare and self._spare else self._first

    def collections(self) -> Sequence[str]:
        """Those that are configured."""
        return tuple(name for name in self.library.names() if SEPARATOR not in name)

    def stored(self, tenant: str, name: str) -> str:
        found = key(tenant, name)
        return found if self._base and found in self.library.names() else ""

    def collections_of(self, tenant: str) -> Sequence[CollectionDescription]:
        prefix = key(tenant, "")
        return [
            replace(self._describe_collection(name), name=name.removeprefix(prefix), version=self.version(name))
            for name in self.library.names()
            if name.startswith(prefix)
        ]

    async def write(
        self, place: tuple[str, str], changes: Sequence[Change], key: str = "", writer: Principal | None = None
    ) -> Receipt:
        assert self._base is not None
        return await self._base.write(place, changes, key, writer.groups if writer else None)

    async def follow(self) -> None:
        if self._base is not None:
            await self._base.follow()

    def heard(self) -> Heard | None:
        return Heard(self._base.encoder, self._base.switched) if self._base else None

    async def record(self) -> None:
        if self._base is not None:
            await self._base.record()

    def version(self, collection: str) -> int:
        tenant, is_stored, name = collection.partition(SEPARATOR)
        if is_stored and self._base:
            return self._base.seen((tenant, name))
        return self.library.generation(collection).version if collection else 0

    def seen_by(self, principal: Principal, collection: str) -> CollectionDescription:
        documents, passages = self.library.counts(collection, principal)
        described = self._describe_collection(collection)
        return replace(described, documents=documents, passages=passages, version=self.version(collection))

    async def catch_up(self) -> None:
        if self._base is not None:
            await self._base.catch_up()

    async def answer(self, question: Question, deadline: Deadline) -> Answer:
        if self._cache is None:
            return await self._answer(question, deadline)
        key = Key(question, 0, is_stale=self.standing.is_stale_for(question))
        if name := question.collection:
            key = replace(
                key,
                knowledge_version=self.library.generation(name).version,
                since=self.library.since(name),
                serial=self.library.serial(name),
            )
        return await self._cache.answer(key, deadline, lambda: self._answer(question, deadline))

    async def _answer(self, question: Question, deadline: Deadline) -> Answer:
        try:
            prediction = await self.predict(question.text, deadline, question.principal.tenant)
        except (InferenceFailed, CircuitOpen):
            if not question.collection:
                raise
            return self._answer_by_words(question)
        # Of the session that made this very prediction: the device may be lost between two questions.
        answer = self._side(by_spare=prediction.by_spare).decide(prediction, question, deadline)
        if answer.knowledge_version or not question.collection:
            return answer
        return replace(answer, knowledge_version=self.library.generation(question.collection).version)

    async def predict(self, text: str, deadline: Deadline, tenant: str) -> Prediction:
        """Raises CircuitOpen where the model has failed again and again or hangs, InferenceFailed where it fails this
        once, and as `ModelTier.predict`."""
        if self.engine.is_stuck or not self._breakers[Tier.MODEL].allows():
            raise CircuitOpen
        try:
            prediction = await self.engine.predict(text, deadline, tenant)
        except InferenceFailed as error:
            self._breakers[Tier.MODEL].failed()
            log.error("the model failed a question", exc_info=error)
            raise
        self._breakers[Tier.MODEL].succeeded()
        return prediction

    def _answer_by_words(self, question: Question) -> Answer:
        profile = self._first.cascade.profile
        try:
            return words.answer(self._first.knowledge, question, profile.thresholds, profile.bundle)
        except SearchFailed as error:
            raise CircuitOpen from error

    async def search(
        self,
        text: str,
        collection: str,
        principal: Principal,
        limit: int,
        deadline: Deadline,
        ranker: Ranker = Ranker.HYBRID,
    ) -> Evidence:
        self.library.generation(collection)  # an unknown one costs no inference
        started = time.perf_counter()
        try:
            prediction = await self.predict(text, deadline, principal.tenant)
        except (InferenceFailed, CircuitOpen):
            if ranker is not Ranker.LEXICAL:
                raise
            evidence = self.library.search_by_words(collection, text, principal, limit, EVIDENCE_DEPTH)
            return replace(evidence, timings={"search": time.perf_counter() - started})
        started = time.perf_counter()
        library = self._side(by_spare=prediction.by_spare).library
        evidence = library.search(collection, text, prediction, principal, limit, EVIDENCE_DEPTH, ranker)
        return replace(evidence, timings=prediction.timings | {"search": time.perf_counter() - started})

    def start(self) -> None:
        """Begin to take questions, on the running event loop."""
        self.engine.start()
        if self._base is not None:
            self._base.start()

    def waiting(self) -> int:
        return self.engine.waiting

    def forecast(self, characters: int, tenant: str, deadline: Deadline) -> Forecast:
        return self.engine.forecast(characters, tenant, deadline)

    def workload(self) -> Workload:
        return self.engine.workload()

    def describe(self) -> Description:
        engine, bundle = self.engine, self.engine.bundle
        side = self._side(by_spare=engine.degraded is not None)
        profile, terms = side.cascade.profile, side.cascade.terms
        is_informed = profile.informed is not None and bool(self.collections())
        promise = terms.promise(is_informed)
        return Description(
            bundle=profile.bundle,
            bundle_sha256=bundle.outputs_sha256(engine.precision),
            manifest_sha256=bundle.manifest_sha256,
            provider=engine.provider,
            precision=engine.precision,
            threshold=terms.threshold(is_informed),
            certificate=promise.status,
            certificate_reason=bundle.uncertified or self.standing.reason,
            stale_parts={str(part): reason for part, reason in self.standing.parts.items()},
            certified_risk=promise.risk,
            certified_oos_share=promise.oos_share,
            loaded=self._loaded,
            collections=tuple(self._describe_collection(name) for name in self.collections()),
            stored=self._base.figures() if self._base else None,
            probe=self._probe.figures,
            fallback=f"{engine.spare.precision} on {engine.spare.provider}" if engine.spare else "",
            degraded=engine.degraded,
            drift=side.watch.figures if side.watch else None,
            can_answer=engine.is_up,
            breakers=tuple(one.figures for one in self._breakers.values()),
            stuck_seconds=engine.stuck_seconds,
        )

    def _describe_collection(self, name: str) -> CollectionDescription:
        now = self.library.generation(name)
        found = CollectionDescription(name, *now.counts(), now.version, len(now.parts))
        if self._base is None or SEPARATOR not in name:
            return found
        if (held := now.confidence) is not None:
            found = replace(found, confidence=held.fitted, is_confidence_used=held.calibration is not None)
        return replace(found, scored_by=self._base.scored_by)

    def doubt(self, reason: str, by: Doubter) -> None:
        self.standing.mark_stale(reason, by)

    def reset_drift(self) -> None:
        """See `rpc.service.Replaceable`."""
        watches = [side.watch for side in self._sides() if side.watch]
        if not watches:
            raise Unavailable(
                f"questions are not watched for drift: drift.mode is off, or {self.engine.bundle.id} has no "
                "reference, which `gateway forge reference` makes"
            )
        for watch in watches:
            watch.restart()
        self.standing.renew(Doubter.DRIFT)

    def hear_drift(self, alarms: Sequence[DriftAlarm]) -> None:
        """See `rpc.service.Preparable`."""
        for alarm in alarms:
            self._monitoring.act(self.standing, alarm)

    async def close(self) -> None:
        self._probe.close()
        for side in self._sides():
            if side.watch is not None:
                side.watch.close()
        await asyncio.to_thread(self.standing.settle)
        if self._base is not None:
            await self._base.close()
        await self.engine.close()
