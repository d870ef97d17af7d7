"""POST /ask: a question from the page, by the very handler that gRPC calls: its checks, permits, errors, counts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import grpc
from aiohttp import web
from google.rpc import error_details_pb2, status_pb2

from gateway.deadline import Clock
from gateway.rpc.convert import POLICY_TO_PROTO, answer_from_proto, answer_keys, timeout_claim
from gateway.rpc.guard import ASKING
from gateway.rpc.page.asked import PRIVATE, Asked, asked, refusal
from gateway.v1 import gateway_pb2 as pb

DETAILS = "grpc-status-details-bin"


class _Aborted(Exception):
    """What gRPC would have sent instead of an answer."""

    def __init__(self, code: grpc.StatusCode, message: str, trailers: Mapping[str, str | bytes]) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.trailers = trailers


class _Context:
    """As much of a call as the handler sees of one."""

    def __init__(self, metadata: tuple[tuple[str, str], ...], timeout: float, clock: Clock) -> None:
        self._metadata = metadata
        self._until = clock() + timeout
        self._clock = clock

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def auth_context(self) -> Mapping[str, Any]:
        """No certificate comes this way."""
        return {}

    def time_remaining(self) -> float:
        return max(0.0, self._until - self._clock())

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """A page has no trace to go on with."""

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Any = ()) -> NoReturn:
        raise _Aborted(code, details, dict(trailing_metadata))


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
        context = _Context(metadata, wanted.timeout_ms / 1000, self._clock)
        try:
            answer: pb.AnswerResponse = await self._handler.unary_unary(_message(wanted), context)
        except _Aborted as refused:
            return refusal(refused.code.name, refused.message, _reason(refused.trailers))
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


def _reason(trailers: Mapping[str, str | bytes]) -> str:
    info, details = error_details_pb2.ErrorInfo(), trailers.get(DETAILS, b"")
    for detail in status_pb2.Status.FromString(details if isinstance(details, bytes) else b"").details:
        if detail.Unpack(info):
            return str(info.reason)
    return ""
