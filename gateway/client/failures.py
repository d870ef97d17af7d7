"""What a call of the clients ends with other than an answer: one class for each thing that its caller can do."""

from __future__ import annotations

from typing import cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from gateway.v1 import gateway_pb2 as pb


class CallFailed(Exception):
    """A call ended with a status other than OK. `code` is gRPC's name of it, `reason` the gateway's, or empty.

    `field`: the path of what is wrong in the request, if that is it. `retry_after`: seconds until it is welcome again,
    None where the server has not said so. What the clients raise is one of the classes below.
    """

    def __init__(
        self, code: str, message: str, reason: str = "", field: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.reason = reason
        self.field = field
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type[CallFailed], tuple[str, str, str, str, float | None]]:
        """So that it goes from one process to another: by default an exception is made again of its text alone."""
        return type(self), (self.code, self.message, self.reason, self.field, self.retry_after)


class TryLater(CallFailed):
    """Nobody is there, or too much is asked, or that version is not seen yet: the same call may do in a moment. gRPC
    has tried again already, as often as the deadline and the server allowed."""


class TooLate(CallFailed):
    """The deadline has passed, or would have: allow more time, or go on without. A write may have been done."""


class NotLetIn(CallFailed):
    """Other credentials are needed, or a scope, a tenant or a group that these do not have."""


class WrongRequest(CallFailed):
    """The request is wrong, or what it names is not there: it fails again however often it is sent."""


class Conflict(CallFailed):
    """The server's state is another than the request takes it for: read again, and decide anew."""


class ServerFailed(CallFailed):
    """It is the server's fault, and its log says why: tell its operator what the message says."""


KINDS: dict[str, type[CallFailed]] = {
    "UNAVAILABLE": TryLater,
    "RESOURCE_EXHAUSTED": TryLater,
    "CANCELLED": TryLater,
    "DEADLINE_EXCEEDED": TooLate,
    "UNAUTHENTICATED": NotLetIn,
    "PERMISSION_DENIED": NotLetIn,
    "INVALID_ARGUMENT": WrongRequest,
    "NOT_FOUND": WrongRequest,
    "OUT_OF_RANGE": WrongRequest,
    "UNIMPLEMENTED": WrongRequest,
    "ABORTED": Conflict,
    "ALREADY_EXISTS": Conflict,
    "FAILED_PRECONDITION": Conflict,
}
"""Code -> what it is; any other is ServerFailed."""
KINDS_BY_REASON: dict[str, type[CallFailed]] = {
    "KNOWLEDGE_BEHIND": TryLater,
    "DISK_FULL": ServerFailed,
    "NOT_CONFIGURED": ServerFailed,
}
"""The gateway's reasons that say more than their codes."""


def failed(code: str, message: str, reason: str = "", field: str = "", retry_after: float | None = None) -> CallFailed:
    """Of the class that fits."""
    kind = KINDS_BY_REASON.get(reason) or KINDS.get(code, ServerFailed)
    return kind(code, message, reason, field, retry_after)


def failure(error: grpc.RpcError) -> CallFailed:
    """Both kinds of RpcError know their code and trailers; grpc's hints say so of neither."""
    call = cast("grpc.Call", error)
    status = rpc_status.from_call(call)
    info, request, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    retry_after = None
    for detail in status.details if status is not None else ():
        if detail.Unpack(retry):
            retry_after = retry.retry_delay.ToMicroseconds() / 1e6
        else:
            detail.Unpack(info)
            detail.Unpack(request)
    field = request.field_violations[0].field if request.field_violations else ""
    return failed(call.code().name, call.details() or "", info.reason, field, retry_after)


def failure_of(error: pb.Error) -> CallFailed:
    """Of one item of a call that went on."""
    codes = {code.value[0]: code.name for code in grpc.StatusCode}
    return failed(codes.get(error.code, "UNKNOWN"), error.message, error.reason)
