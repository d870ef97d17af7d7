"""The methods of the API: a checked request in, the gateway asked once, a message out."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from gateway.audit.log import AuditLog
from gateway.convert import answer_to_proto, evidence_to_proto
from gateway.deadline import Clock
from gateway.errors import KnowledgeBehind
from gateway.rpc.admission import Admission, Ticket
from gateway.rpc.handler import Call, Method, only_the_caller_cancels, refused
from gateway.rpc.service import Gateway
from gateway.rpc.streams import StreamMethod
from gateway.rpc.validate import Rules, items_of, lookup_of, question_of
from gateway.telemetry.metrics import Metrics
from gateway.types import Policy, Question
from gateway.v1 import gateway_pb2 as pb

ANSWERS = "gateway.v1.Answers"
KNOWLEDGE = "gateway.v1.Knowledge"

GRACE, GRACE_SHARE = 0.02, 0.1
"""Seconds, and the most of what is left, that a batch keeps for sending what its items came to."""


class Answers:
    """gateway.v1.Answers. `audit`: None where no log of answers is kept."""

    def __init__(
        self,
        gateway: Gateway,
        rules: Rules,
        admission: Admission,
        metrics: Metrics,
        clock: Clock = time.monotonic,
        audit: AuditLog | None = None,
    ) -> None:
        self._audit = audit
        self._gateway = gateway
        self._rules = rules
        self._admission = admission
        self._metrics = metrics
        self._clock = clock

    def methods(self) -> list[Method[Any, Any]]:
        return [
            Method(ANSWERS, "Answer", pb.AnswerRequest, self.answer),
            Method(
                ANSWERS, "AnswerBatch", pb.AnswerBatchRequest, self.answer_batch, lambda batch: len(items_of(batch))
            ),
        ]

    def streams(self) -> list[StreamMethod[Any, Any]]:
        return [
            StreamMethod(
                ANSWERS,
                "AnswerStream",
                pb.AnswerStreamRequest,
                self.answer_streamed,
                lambda request: request.timeout_ms / 1000 or None,
                lambda request, refusal, _: pb.AnswerStreamResponse(
                    request_id=request.question.request_id, error=refusal.to_proto()
                ),
            )
        ]

    async def answer(self, request: pb.AnswerRequest, call: Call) -> pb.AnswerResponse:
        return await self.answered(request, call, "")

    async def answer_batch(self, request: pb.AnswerBatchRequest, call: Call) -> pb.AnswerBatchResponse:
        # A little earlier than the call's own: an item that is late is then an item's error, and not the whole batch's.
        left = call.deadline.remaining()
        call = replace(call, deadline=replace(call.deadline, at=call.deadline.at - min(GRACE, left * GRACE_SHARE)))
        results = await asyncio.gather(
            *(self._item(item, call, f"items[{i}].") for i, item in enumerate(request.items))
        )
        return pb.AnswerBatchResponse(items=results)

    async def _item(self, request: pb.AnswerRequest, call: Call, path: str) -> pb.AnswerBatchItem:
        try:
            with only_the_caller_cancels():
                return pb.AnswerBatchItem(answer=await self.answered(request, call, path))
        except Exception as error:  # noqa: BLE001  # an item fails alone, whatever it is
            return pb.AnswerBatchItem(error=refused(self._metrics, error, call.caller).to_proto())

    async def answer_streamed(self, request: pb.AnswerStreamRequest, call: Call) -> pb.AnswerStreamResponse:
        answer = await self.answered(request.question, call, "question.")
        return pb.AnswerStreamResponse(request_id=request.question.request_id, answer=answer)

    async def answered(self, request: pb.AnswerRequest, call: Call, path: str) -> pb.AnswerResponse:
        """One question, in whatever call it came. `path` goes before names of its fields in errors."""
        started = self._clock()
        try:
            await self._gateway.follow()
            question = question_of(request, call.caller.principal, self._rules, path)
            _check_seen(self._gateway, question.collection, request.min_knowledge_version)
            with self._admission.admit(call.caller, len(question.text), call.deadline) as ticket:
                answer = await self._gateway.answer(_within(question, ticket), call.deadline)
        except Exception:
            self._metrics.observe_failure(self._clock() - started)
            raise
        seconds = self._clock() - started
        self._metrics.observe(answer, seconds)
        response = answer_to_proto(answer, request.request_id)
        if self._audit and (mark := self._audit.offer(question, answer, request.request_id, seconds)):
            response.audit_id, response.audited, response.audit_propensity = mark
        return response


def _within(question: Question, ticket: Ticket) -> Question:
    """The question as the ticket lets it in. Where retrieval alone is asked, a search is nothing to save."""
    if ticket.may_search or question.policy is Policy.RETRIEVAL_ONLY:
        return question
    return replace(question, may_search=False)


def _check_seen(gateway: Gateway, collection: str, wanted: int) -> None:
    """Raise KnowledgeBehind if the collection is not seen up to that version. Answers that are kept need no such check:
    they are of the version that is seen."""
    if wanted and (version := gateway.version(collection)) < wanted:
        raise KnowledgeBehind(version, wanted)


class Knowledge:
    """gateway.v1.Knowledge."""

    def __init__(self, gateway: Gateway, rules: Rules, admission: Admission, metrics: Metrics) -> None:
        self._gateway = gateway
        self._rules = rules
        self._admission = admission
        self._metrics = metrics

    def methods(self) -> list[Method[Any, Any]]:
        return [Method(KNOWLEDGE, "Search", pb.SearchRequest, self.search)]

    async def search(self, request: pb.SearchRequest, call: Call) -> pb.SearchResponse:
        await self._gateway.follow()
        lookup = lookup_of(request, call.caller.principal.tenant, self._rules)
        _check_seen(self._gateway, lookup.collection, request.min_knowledge_version)
        with self._admission.admit(call.caller, len(lookup.text), call.deadline):
            evidence = await self._gateway.search(
                lookup.text, lookup.collection, call.caller.principal, lookup.limit, call.deadline, lookup.ranker
            )
        self._metrics.observe_stages(evidence.timings)
        return evidence_to_proto(evidence)
