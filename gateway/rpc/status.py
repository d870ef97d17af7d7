"""The one table from errors to gRPC codes, and what of an error a caller may see."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from gateway import errors

DOMAIN = "gateway.v1"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
PUSHBACK_MS = (50, 250)
"""Refused callers come back after a time drawn from this range, so that they do not come back together."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """`shown`: the error's own text reaches the caller. If not, it is logged, and the caller gets an id to quote."""

    code: grpc.StatusCode
    reason: str
    shown: bool


TABLE: dict[type[errors.GatewayError], Row] = {
    errors.InvalidQuestion: Row(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_QUESTION", shown=True),
    errors.UnknownCollection: Row(grpc.StatusCode.NOT_FOUND, "UNKNOWN_COLLECTION", shown=True),
    # UNAVAILABLE rather than RESOURCE_EXHAUSTED: load balancers try it elsewhere, which is what should happen.
    errors.Overloaded: Row(grpc.StatusCode.UNAVAILABLE, "OVERLOADED", shown=True),
    errors.DeadlineExceeded: Row(grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", shown=True),
    errors.Unavailable: Row(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", shown=True),
    errors.InferenceFailed: Row(grpc.StatusCode.INTERNAL, "INTERNAL", shown=False),
    errors.SearchFailed: Row(grpc.StatusCode.INTERNAL, "INTERNAL", shown=False),
    errors.BundleInvalid: Row(grpc.StatusCode.FAILED_PRECONDITION, "NOT_CONFIGURED", shown=False),
    errors.DocumentInvalid: Row(grpc.StatusCode.FAILED_PRECONDITION, "NOT_CONFIGURED", shown=False),
    errors.ConfigInvalid: Row(grpc.StatusCode.FAILED_PRECONDITION, "NOT_CONFIGURED", shown=False),
    errors.DeviceUnavailable: Row(grpc.StatusCode.FAILED_PRECONDITION, "NOT_CONFIGURED", shown=False),
}
UNEXPECTED = Row(grpc.StatusCode.INTERNAL, "INTERNAL", shown=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as the caller gets it. `pushback_ms` is None where coming back at once is not the problem."""

    code: grpc.StatusCode
    reason: str
    message: str
    field: str = ""
    problem: str = ""
    pushback_ms: int | None = None

    @property
    def number(self) -> int:
        """The code as google.rpc counts it."""
        return int(self.code.value[0])

    def trailers(self) -> tuple[tuple[str, str | bytes], ...]:
        """Trailing metadata: rich details, and the push-back that gRPC's own retries obey."""
        details: list[any_pb2.Any] = []

        def add(
            detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
        ) -> None:
            packed = any_pb2.Any()
            packed.Pack(detail)
            details.append(packed)

        add(error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN))
        if self.field:
            violation = error_details_pb2.BadRequest.FieldViolation(field=self.field, description=self.problem)
            add(error_details_pb2.BadRequest(field_violations=[violation]))
        if self.pushback_ms is not None:
            delay = duration_pb2.Duration(nanos=self.pushback_ms * 1_000_000)
            add(error_details_pb2.RetryInfo(retry_delay=delay))
        status = status_pb2.Status(code=self.number, message=self.message, details=details)
        trailers = tuple(rpc_status.to_status(status).trailing_metadata)
        return trailers if self.pushback_ms is None else (*trailers, (PUSHBACK_KEY, str(self.pushback_ms)))


def refusal_of(error: BaseException) -> Refusal:
    """What the caller gets for `error`. Everything that is not the caller's or the load's doing is logged here."""
    row = next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), UNEXPECTED)
    if not row.shown:
        error_id = secrets.token_hex(6)
        log.error("error %s", error_id, exc_info=error)
        return Refusal(row.code, row.reason, f"the server failed; its log has the cause under {error_id}")
    if isinstance(error, errors.InvalidQuestion):
        return Refusal(row.code, row.reason, str(error), field=error.field, problem=error.problem)
    if isinstance(error, errors.Overloaded):
        low, high = PUSHBACK_MS
        return Refusal(row.code, row.reason, str(error), pushback_ms=low + secrets.randbelow(high - low))
    return Refusal(row.code, row.reason, str(error))
