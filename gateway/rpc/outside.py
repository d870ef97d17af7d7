"""A call that did not come by gRPC, as the handlers see it that gRPC calls: one set of handlers for every way in."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from gateway.deadline import Clock

DETAILS = "grpc-status-details-bin"


class Aborted(Exception):
    """What gRPC would have sent instead of an answer."""

    def __init__(self, code: grpc.StatusCode, message: str, trailers: Mapping[str, str | bytes]) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.trailers = trailers

    @property
    def details(self) -> Sequence[any_pb2.Any]:
        packed = self.trailers.get(DETAILS, b"")
        status = status_pb2.Status.FromString(packed if isinstance(packed, bytes) else b"")
        return tuple(status.details)

    @property
    def reason(self) -> str:
        """Empty where none is given."""
        info = error_details_pb2.ErrorInfo()
        return next((str(info.reason) for detail in self.details if detail.Unpack(info)), "")


class OutsideCall:
    """As much of a call as the handlers look at. `timeout` in seconds; None where its caller has not said one."""

    def __init__(
        self, metadata: Sequence[tuple[str, str]], timeout: float | None = None, clock: Clock = time.monotonic
    ) -> None:
        self._metadata = tuple(metadata)
        self._until = None if timeout is None else clock() + timeout
        self._clock = clock
        self.trailers: Mapping[str, str | bytes] = {}

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def auth_context(self) -> Mapping[str, Any]:
        """No certificate comes this way."""
        return {}

    def time_remaining(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - self._clock())

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self.trailers = dict(trailing_metadata)

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Any = ()) -> NoReturn:
        raise Aborted(code, details, dict(trailing_metadata))
