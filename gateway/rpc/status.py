"""The one table from errors to gRPC codes, and what of an error a caller may see."""

from __future__ import annotations

import logging
import math
import random
import secrets
from dataclasses import dataclass
from functools import lru_cache

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from gateway import errors
from gateway.telemetry.metrics import Rejection
from gateway.v1 import gateway_pb2 as pb

DOMAIN = "gateway.v1"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
PUSHBACK_MS = (100.0, 1000.0)
"""When a caller who was refused for load may come back, at shed levels 0 and 1; more or less a half, so that callers do
not come back together."""
HOPELESS = 0.8
"""The shed level above which they are told not to come back by themselves."""
PUSHBACK_STEP = 10
"""Milliseconds. Finer ones would only make refusals differ that could be the same bytes."""
REMEMBERED = 512
"""Refusals whose trailers are kept."""
NEVER_MS = -1
"""To gRPC's retries."""

log = logging.getLogger(__name__)

Trailers = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """`shown`: the error's own text reaches the caller. If not, it is logged, and the caller gets an id to quote."""

    code: grpc.StatusCode
    reason: str
    shown: bool


TABLE: dict[type[errors.GatewayError], Row] = {
    errors.AccessDenied: Row(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", shown=True),
    errors.Unauthenticated: Row(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", shown=True),
    errors.PermissionDenied: Row(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", shown=True),
    errors.InvalidQuestion: Row(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_QUESTION", shown=True),
    errors.UnknownCollection: Row(grpc.StatusCode.NOT_FOUND, "UNKNOWN_COLLECTION", shown=True),
    errors.UnknownModel: Row(grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL", shown=True),
    errors.VersionConflict: Row(grpc.StatusCode.ABORTED, "VERSION_CONFLICT", shown=True),
    errors.HiddenDocuments: Row(grpc.StatusCode.ABORTED, "VERSION_CONFLICT", shown=True),
    errors.KnowledgeBehind: Row(grpc.StatusCode.FAILED_PRECONDITION, "KNOWLEDGE_BEHIND", shown=True),
    errors.KnowledgeCleared: Row(grpc.StatusCode.FAILED_PRECONDITION, "KNOWLEDGE_CLEARED", shown=True),
    errors.KeyReused: Row(grpc.StatusCode.ALREADY_EXISTS, "KEY_REUSED", shown=True),
    errors.UnknownDocument: Row(grpc.StatusCode.NOT_FOUND, "UNKNOWN_DOCUMENT", shown=True),
    errors.UnknownAnswer: Row(grpc.StatusCode.NOT_FOUND, "UNKNOWN_ANSWER", shown=True),
    errors.NoAuditLog: Row(grpc.StatusCode.FAILED_PRECONDITION, "NO_AUDIT_LOG", shown=True),
    errors.QuotaExceeded: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", shown=True),
    # UNAVAILABLE rather than RESOURCE_EXHAUSTED: load balancers try it elsewhere, which is what should happen.
    errors.Overloaded: Row(grpc.StatusCode.UNAVAILABLE, "OVERLOADED", shown=True),
    errors.Shed: Row(grpc.StatusCode.UNAVAILABLE, "OVERLOADED", shown=True),
    errors.DeadlineExceeded: Row(grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", shown=True),
    errors.DeadlineUnmeetable: Row(grpc.StatusCode.DEADLINE_EXCEEDED, "BUDGET", shown=True),
    errors.Unavailable: Row(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", shown=True),
    errors.CircuitOpen: Row(grpc.StatusCode.UNAVAILABLE, "CIRCUIT_OPEN", shown=True),
    errors.Draining: Row(grpc.StatusCode.UNAVAILABLE, "DRAINING", shown=True),
    errors.InferenceFailed: Row(grpc.StatusCode.INTERNAL, "INTERNAL", shown=False),
    errors.DeviceLost: Row(grpc.StatusCode.INTERNAL, "INTERNAL", shown=False),
    errors.SearchFailed: Row(grpc.StatusCode.INTERNAL, "INTERNAL", shown=False),
    errors.SearchSuspended: Row(grpc.StatusCode.UNAVAILABLE, "CIRCUIT_OPEN", shown=True),
    # Nothing was written, and what the disk refuses now it may take in a moment.
    errors.StoreFailed: Row(grpc.StatusCode.UNAVAILABLE, "STORE_FAILED", shown=False),
    errors.StoreDamaged: Row(grpc.StatusCode.DATA_LOSS, "DATA_LOSS", shown=False),
    errors.StoreFull: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, "DISK_FULL", shown=True),
    errors.BundleInvalid: Row(grpc.StatusCode.FAILED_PRECONDITION, "NOT_CONFIGURED", shown=False),
    errors.DocumentInvalid: Row(grpc.StatusCode.FAILED_PRECONDITION, "NOT_CONFIGURED", shown=False),
    errors.ConfigInvalid: Row(grpc.StatusCode.FAILED_PRECONDITION, "NOT_CONFIGURED", shown=False),
    errors.DeviceUnavailable: Row(grpc.StatusCode.FAILED_PRECONDITION, "NOT_CONFIGURED", shown=False),
}
UNEXPECTED = Row(grpc.StatusCode.INTERNAL, "INTERNAL", shown=False)

REJECTIONS: dict[type[errors.GatewayError], Rejection] = {
    errors.QuotaExceeded: Rejection.QUOTA,
    errors.Overloaded: Rejection.OVERLOAD,
    errors.Shed: Rejection.SHED,
    errors.DeadlineUnmeetable: Rejection.DEADLINE,
    errors.Draining: Rejection.DRAINING,
}
"""The errors that refuse a question before any work."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as the caller gets it. `field` and `problem` are a request's, `tenant` whose quota is used
    up. `pushback_ms`: when to come back; NEVER_MS not at all; None nothing is said."""

    code: grpc.StatusCode
    reason: str
    message: str
    field: str = ""
    problem: str = ""
    tenant: str = ""
    pushback_ms: int | None = None

    @property
    def number(self) -> int:
        """The code as google.rpc counts it."""
        return int(self.code.value[0])

    def to_proto(self) -> pb.Error:
        """Of an item of a call that goes on."""
        return pb.Error(code=self.number, message=self.message, reason=self.reason)

    def trailers(self) -> Trailers:
        """Trailing metadata: rich details, and the push-back that gRPC's own retries obey."""
        return _trailers(self)


@lru_cache(REMEMBERED)
def _trailers(refusal: Refusal) -> Trailers:
    """In an overload there are many refusals and few different ones, and packing details is most of what one costs."""
    details: list[any_pb2.Any] = []

    def add(detail: Message) -> None:
        packed = any_pb2.Any()
        packed.Pack(detail)
        details.append(packed)

    add(error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN))
    if refusal.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=refusal.field, description=refusal.problem)
        add(error_details_pb2.BadRequest(field_violations=[violation]))
    if refusal.tenant:
        exceeded = error_details_pb2.QuotaFailure.Violation(
            subject=f"tenant:{refusal.tenant}", description=refusal.message
        )
        add(error_details_pb2.QuotaFailure(violations=[exceeded]))
    if refusal.pushback_ms is not None and refusal.pushback_ms != NEVER_MS:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(refusal.pushback_ms)
        add(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=refusal.number, message=refusal.message, details=details)
    trailers = tuple(rpc_status.to_status(status).trailing_metadata)
    return trailers if refusal.pushback_ms is None else (*trailers, (PUSHBACK_KEY, str(refusal.pushback_ms)))


def refusal_of(error: BaseException) -> Refusal:
    """What the caller gets for `error`. Everything that is not the caller's or the load's doing is logged here."""
    row = next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), UNEXPECTED)
    if not row.shown:
        error_id = secrets.token_hex(6)
        log.error("error %s", error_id, exc_info=error)
        return Refusal(row.code, row.reason, f"the server failed; its log has the cause under {error_id}")
    if isinstance(error, errors.InvalidQuestion):
        return Refusal(row.code, row.reason, str(error), field=error.field, problem=error.problem)
    tenant = error.tenant if isinstance(error, errors.QuotaExceeded) else ""
    return Refusal(row.code, row.reason, str(error), tenant=tenant, pushback_ms=_pushback_ms(error))


def rejection_of(error: BaseException) -> Rejection | None:
    """How `error` is counted, if it refused a question before any work."""
    return next((REJECTIONS[kind] for kind in type(error).__mro__ if kind in REJECTIONS), None)


def _pushback_ms(error: BaseException) -> int | None:
    match error:
        case errors.QuotaExceeded():
            return math.ceil(error.retry_after * 1000)
        case errors.Shed() if error.level > HOPELESS:
            return NEVER_MS
        case errors.Overloaded():
            low, high = PUSHBACK_MS
            level = error.level if isinstance(error, errors.Shed) else 0.0
            wait = (low + (high - low) * level) * random.uniform(0.5, 1.5)  # noqa: S311  # spreads, hides nothing
            return PUSHBACK_STEP * round(wait / PUSHBACK_STEP)
        case errors.Draining():
            return 0
    return None
