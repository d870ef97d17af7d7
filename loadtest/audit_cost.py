"""What the audit log costs a question: the same method of the API with it and without, in turn, in one process."""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.audit.log import AuditLog, Terms
from gateway.audit.marks import Marker
from gateway.deadline import Deadline
from gateway.rpc.admission import Admission, Caller
from gateway.rpc.admission import Terms as AdmissionTerms
from gateway.rpc.handler import Call
from gateway.rpc.servicers import Answers
from gateway.rpc.validate import Rules
from gateway.telemetry.metrics import Metrics
from gateway.types import (
    Answer,
    CertificateStatus,
    Citation,
    Forecast,
    Policy,
    Principal,
    Question,
    Reason,
    Route,
)
from gateway.v1 import gateway_pb2 as pb

SHARE = 0.01
STAGES = ("tokenize", "queue", "infer", "search", "calibrate", "render")
TEXT = "My card payment was declined and I do not know why, what should I do now?"
CALLER = Principal("acme", frozenset({"staff"}))
ATTEMPTS = 100
"""Looks at whether all was written, 50 ms apart."""


@dataclass(frozen=True, slots=True)
class Block:
    """Microseconds a question: of the thread that answers, and of the whole process until all was written."""

    answering: float
    process: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Medians over the blocks, in microseconds a question. `without` an audit log and `with_` one."""

    without: Block
    with_: Block
    record_bytes: float

    @property
    def hot_path(self) -> float:
        """What the log adds to the thread that answers."""
        return self.with_.answering - self.without.answering

    @property
    def aside(self) -> float:
        """What it adds in its own thread."""
        return self.with_.process - self.without.process - self.hot_path


def measure(questions: int, blocks: int, keeps_text: bool) -> Costs:
    """`questions` in each of so many `blocks`, every other one with a log. `keeps_text`: questions' texts too."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        terms = Terms(waiting=questions, text_tenants=frozenset({"*"} if keeps_text else ()))
        log = AuditLog(folder, 0, Marker(bytes(32), SHARE), terms)
        try:
            found = asyncio.run(_measured(log, questions, blocks))
        finally:
            log.close()
        records = log.figures()
    with_, without = found[True], found[False]
    return Costs(_median(without), _median(with_), records.bytes / records.written)


def _median(blocks: Sequence[Block]) -> Block:
    return Block(statistics.median(one.answering for one in blocks), statistics.median(one.process for one in blocks))


async def _measured(log: AuditLog, questions: int, blocks: int) -> dict[bool, list[Block]]:
    ways = {True: _answering(log), False: _answering(None)}
    for ask in ways.values():
        await block(ask, log, questions)
    found: dict[bool, list[Block]] = {True: [], False: []}
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for number in range(2 * blocks):
            has_log = bool(number % 2)
            found[has_log].append(await block(ways[has_log], log, questions))
    finally:
        gc.enable()
        gc.unfreeze()
    return found


async def block(ask: Callable[[], Awaitable[object]], log: AuditLog, questions: int) -> Block:
    """So many questions one after the other, until all of them are written."""
    began, began_here = time.process_time(), time.thread_time()
    for _ in range(questions):
        await ask()
    here = time.thread_time() - began_here
    for _ in range(ATTEMPTS):
        if not log.figures().waiting:
            break
        await asyncio.sleep(0.05)
    else:
        raise RuntimeError("the log was not written in time")
    whole = time.process_time() - began
    return Block(1e6 * here / questions, 1e6 * whole / questions)


def _answering(log: AuditLog | None) -> Callable[[], Awaitable[object]]:
    """Answers.Answer behind gRPC, with everything that is not the tiers."""
    metrics = Metrics()
    gateway: Any = Instant()
    rules = Rules(("banking",), "banking", Policy.CASCADE, 2000)
    admission = Admission(AdmissionTerms(permits=1024), lambda *_: Forecast(0.0, 0.0, 0.002, 0.002))
    answers = Answers(gateway, rules, admission, metrics, audit=log)
    request = pb.AnswerRequest(question=TEXT, request_id="r-1")
    call = Call(Caller(CALLER), Deadline.after(3600.0))
    return lambda: answers.answer(request, call)


class Instant:
    """A gateway whose answer is there already: of the usual kind, with three citations."""

    def __init__(self) -> None:
        cited = [
            Citation(f"article-{number}", "A title", "https://help.example", "", 0, 9, "some text", "0" * 64, 0.75, 12)
            for number in range(3)
        ]
        self._answer = Answer(
            route=Route.MODEL,
            reason=Reason.CONFIDENT,
            policy=Policy.CASCADE,
            confidence=0.9731455,
            text="Tap the declined payment in Home to see the reason.",
            label="declined_card_payment",
            document_id="article-0",
            citations=tuple(cited),
            model_confidence=0.9731455,
            retrieval_confidence=0.8114337,
            threshold=0.920,
            certificate=CertificateStatus.VALID,
            knowledge_version=141,
            bundle="banking/1",
            batch_size=1,
            timings={stage: 0.000123456 * number for number, stage in enumerate(STAGES, 1)},
        )

    async def follow(self) -> None:
        return

    async def answer(self, question: Question, deadline: Deadline) -> Answer:
        return self._answer
