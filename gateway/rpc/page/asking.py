"""POST /ask: a question from the page, by the very handler that gRPC calls: its checks, permits, errors, counts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
from aiohttp import web

from gateway.convert import POLICY_TO_PROTO, answer_from_proto, answer_keys, timeout_claim
from gateway.deadline import Clock
from gateway.rpc.guard import ASKING
from gateway.rpc.outside import Aborted, OutsideCall
from gateway.rpc.page.asked import PRIVATE, Asked, asked, refusal
from gateway.v1 import gateway_pb2 as pb


class Asking:
    """`handler` is that of Answers.Answer."""

    def __init__(self, handler: grpc.RpcMethodHandler[Any, Any], clock: Clock = time.monotonic) -> None:
        self._handler: Any = handler
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        return [web.post(ASKING, self.ask)]

    async def ask(self, request: web.Request) -> web.Response:
        """{"answer": ..., "seconds": ...}, with the keys of the API and the time that it took here; or a `refusal`."""
        wanted = await asked(request)
        started = self._clock()
        metadata = (*_metadata(wanted), *_credentials(request))
        call = OutsideCall(metadata, wanted.timeout_ms / 1000, self._clock)
        try:
            answer: pb.AnswerResponse = await self._handler.unary_unary(_message(wanted), call)
        except Aborted as refused:
            return refusal(refused.code.name, refused.message, refused.reason)
        found = {"answer": answer_keys(answer_from_proto(answer)), "seconds": self._clock() - started}
        return web.json_response(found, headers=PRIVATE)


def _message(wanted: Asked) -> pb.AnswerRequest:
    return pb.AnswerRequest(
        question=wanted.question,
        collection=wanted.collection,
        policy=pb.POLICY_UNSPECIFIED if wanted.policy is None else POLICY_TO_PROTO[wanted.policy],
        max_citations=wanted.max_citations,
    )


def _metadata(wanted: Asked) -> Iterator[tuple[str, str]]:
    yield timeout_claim(wanted.timeout_ms / 1000)
    if wanted.tenant:
        yield "x-tenant", wanted.tenant
    if wanted.groups:
        yield "x-groups", wanted.groups
    if wanted.criticality:
        yield "x-criticality", wanted.criticality.value


def _credentials(request: web.Request) -> Iterator[tuple[str, str]]:
    yield from (("authorization", value) for value in request.headers.getall("Authorization", ()))
