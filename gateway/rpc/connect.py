"""The API as JSON over HTTP, by the Connect protocol: POST /gateway.v1.Answers/Answer, and every other unary method.

curl, fetch, `buf curl` and Connect's own clients speak it (https://connectrpc.com/docs/protocol). Each call goes to the
handler that gRPC calls, with its checks, credentials, permits, deadlines, errors and counts.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import grpc
from aiohttp import web
from google.protobuf import any_pb2, json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from gateway.rpc.handler import Malformed, Method
from gateway.rpc.outside import DETAILS, Aborted, OutsideCall
from gateway.rpc.page.asked import PRIVATE
from gateway.rpc.page.visitors import Visitors
from gateway.rpc.validate import CLAIMS

JSON, PROTO = "application/json", "application/proto"
TIMEOUT = "Connect-Timeout-Ms"
STATUSES = {
    "canceled": 499,
    "invalid_argument": 400,
    "deadline_exceeded": 504,
    "not_found": 404,
    "already_exists": 409,
    "permission_denied": 403,
    "resource_exhausted": 429,
    "failed_precondition": 400,
    "aborted": 409,
    "out_of_range": 400,
    "unimplemented": 501,
    "unavailable": 503,
    "unauthenticated": 401,
}
"""Connect's code -> HTTP status; 500 for all others."""
SAID = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.QuotaFailure,
    error_details_pb2.RetryInfo,
)
"""Kinds of details that are shown in words, too."""
LONGEST = 300
"""Characters of what is wrong with JSON."""

Handlers = Iterable[tuple[Method[Any, Any], Any]]
"""Methods with what gRPC calls for them."""


class Connect:
    """`visitors` says which pages of others may call."""

    def __init__(self, handlers: Handlers, visitors: Visitors) -> None:
        self._handlers = {f"/{method.service}/{method.name}": (method.request, handler) for method, handler in handlers}
        self._visitors = visitors

    def routes(self) -> list[web.RouteDef]:
        calls = [web.post(path, self.call) for path in self._handlers]
        return calls + [web.options(path, self.preflight) for path in self._handlers]

    async def preflight(self, request: web.Request) -> web.Response:
        """What a browser asks before a page of others may call."""
        self._visitors.check_calling(request)
        allowed = {
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": ", ".join(
                ("Content-Type", "Connect-Protocol-Version", TIMEOUT, *sorted(CLAIMS))
            ),
            "Access-Control-Max-Age": "7200",
        }
        return web.Response(status=204, headers=self._headers(request) | allowed)

    async def call(self, request: web.Request) -> web.Response:
        self._visitors.check_calling(request)
        headers = self._headers(request)
        if request.content_type not in (JSON, PROTO):
            return web.Response(status=415, headers=headers | {"Accept-Post": f"{JSON}, {PROTO}"})
        kind, handler = self._handlers[request.path]
        try:
            call = OutsideCall(list(_metadata(request)), _timeout(request))
            message = await _message(request, kind, handler)
            response: Message = await handler.unary_unary(message, call)
        except Aborted as refused:
            return _refusal(refused, headers)
        headers |= _trailers(call.trailers.items())
        if request.content_type == PROTO:
            return web.Response(body=response.SerializeToString(), content_type=PROTO, headers=headers)
        text = json_format.MessageToJson(response, indent=None, ensure_ascii=False)
        return web.Response(text=text, content_type=JSON, headers=headers)

    def _headers(self, request: web.Request) -> dict[str, str]:
        return PRIVATE | self._visitors.shown_to(request)


def _metadata(request: web.Request) -> Iterator[tuple[str, str]]:
    """What the caller says of itself; what it says twice comes twice, and is refused as it is of gRPC."""
    for name, value in request.headers.items():
        if name.lower() in CLAIMS:
            yield name.lower(), value


def _timeout(request: web.Request) -> float | None:
    """In seconds. Raises Aborted."""
    said = request.headers.get(TIMEOUT)
    if said is None:
        return None
    if not (said.isascii() and said.isdigit() and len(said) <= 10):
        raise _invalid(f"{TIMEOUT}: must be a whole number of milliseconds, of at most 10 digits")
    return int(said) / 1000


async def _message(request: web.Request, kind: type[Message], handler: Any) -> Message | Malformed:
    """Raises Aborted for JSON that is no such message: it says where, which `Malformed` could not."""
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise Aborted(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error.text), {}) from None
    if request.content_type == PROTO:
        found: Message | Malformed = handler.request_deserializer(body)
        return found
    try:
        return json_format.Parse(body.decode() or "{}", kind(), max_recursion_depth=20)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise _invalid(f"request: is not a valid {kind.__name__}: {str(error)[:LONGEST]}") from None


def _invalid(message: str) -> Aborted:
    return Aborted(grpc.StatusCode.INVALID_ARGUMENT, message, {})


def _refusal(refused: Aborted, headers: dict[str, str]) -> web.Response:
    code = "canceled" if refused.code is grpc.StatusCode.CANCELLED else refused.code.name.lower()
    found = {"code": code, "message": refused.message, "details": _details(refused.details)}
    headers |= _trailers(refused.trailers.items())
    return web.json_response(found, status=STATUSES.get(code, 500), headers=headers)


def _details(details: Sequence[any_pb2.Any]) -> list[dict[str, object]]:
    found = []
    for one in details:
        value = base64.b64encode(one.value).decode().rstrip("=")
        shown: dict[str, object] = {"type": one.type_url.rpartition("/")[2], "value": value}
        for kind in SAID:
            if one.Unpack(message := kind()):
                shown["debug"] = json.loads(json_format.MessageToJson(message, indent=None))
        found.append(shown)
    return found


def _trailers(trailers: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """As Connect sends them: headers of other names."""
    return {f"Trailer-{name}": str(value) for name, value in trailers if name != DETAILS and isinstance(value, str)}
