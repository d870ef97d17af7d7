"""What is told of a call when it is over: its line in the log, if it is worth one, and its spans, if it is traced.

Neither has a question or an answer in it. What is neither told nor traced pays a microsecond at the most.
"""

from __future__ import annotations

import importlib.metadata
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from gateway.config.observing import LogSection, TraceSection
from gateway.convert import REASON_FROM_PROTO, ROUTE_FROM_PROTO
from gateway.deadline import Clock
from gateway.errors import ConfigInvalid
from gateway.rpc.admission import Caller
from gateway.rpc.status import Refusal, Trailers
from gateway.rpc.validate import is_request_id
from gateway.telemetry.logs import CALL, TRACE
from gateway.telemetry.metrics import Code, Metrics
from gateway.telemetry.traces import TRACEPARENT, Ended, Trace, Tracing
from gateway.v1 import gateway_pb2 as pb

log = logging.getLogger("gateway.calls")

LINES = 20
"""A second, at most: in an overload there are thousands of refusals, and writing is work on the event loop."""


@dataclass(slots=True)
class Seen:
    """One call, as far as it has come. Streams have neither a `request` nor a `response`."""

    method: str
    trace: Trace | None = None
    caller: Caller | None = None
    request: object = None
    response: Message | None = None
    refusal: Refusal | None = None
    is_stream: bool = False

    def trailers(self) -> Trailers:
        """Of its refusal, and its trace."""
        refused = self.refusal.trailers() if self.refusal else ()
        return (*refused, (TRACEPARENT, self.trace.header)) if self.trace else refused


class Observer:
    """On the event loop. `terms` None: no line is written. `draw`: from 0 up to 1."""

    def __init__(
        self,
        tracing: Tracing,
        terms: LogSection | None = None,
        draw: Callable[[], float] = random.random,
        clock: Clock = time.monotonic,
    ) -> None:
        self._tracing = tracing
        self._terms = terms
        self._draw = draw
        self._clock = clock
        self._second = -1
        self._written = 0
        self._left_out = 0

    def renew(self, terms: LogSection, share: float) -> None:
        """From the next call on; `share` is what is traced of those whose callers have not decided it."""
        self._terms = terms
        self._tracing.share = share

    def begin(self, seen: Seen, caller: Caller, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Its caller is known: put it into a trace, and tell that trace to the caller with the last of the call."""
        seen.caller = caller
        if trace := self._tracing.begin(caller.traceparent):
            seen.trace = trace
            TRACE.set(trace.trace_id)
            context.set_trailing_metadata(seen.trailers())

    def refuse(self, seen: Seen, refusal: Refusal, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """It is refused; perhaps before anybody knew who makes it."""
        seen.refusal = refusal
        if seen.caller is None and (trace := self._tracing.begin(traceparent_in(context.invocation_metadata() or ()))):
            seen.trace = trace
            TRACE.set(trace.trace_id)

    def end(self, seen: Seen, code: Code, seconds: float) -> None:
        """It is over, after so many seconds."""
        if self._tracing.wants(seen.trace):
            assert seen.trace is not None
            stages = seen.response.timings if isinstance(seen.response, pb.AnswerResponse) else ()
            self._tracing.offer(
                Ended(
                    trace=seen.trace,
                    method=seen.method,
                    code=code.name,
                    ended=time.time_ns(),
                    seconds=seconds,
                    attributes={f"gateway.{name}": value for name, value in _outcome(seen).items()},
                    stages=[(stage.name, stage.seconds) for stage in stages],
                )
            )
        terms = self._terms
        if terms is None:
            return
        is_remarkable = code is not Code.OK or (seconds > terms.slow_ms / 1000 and not seen.is_stream)
        if (terms.calls and is_remarkable) or (terms.share and self._draw() < terms.share):
            self._write(seen, code, seconds)

    def _write(self, seen: Seen, code: Code, seconds: float) -> None:
        if not log.isEnabledFor(logging.INFO):
            return
        second = int(self._clock())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written >= LINES:
            self._left_out += 1
            return
        self._written += 1
        known: dict[str, object] = {
            "method": seen.method,
            "code": code.name,
            "ms": round(1000 * seconds, 2),
            **_outcome(seen),
        }
        if seen.caller is not None:
            known["tenant"] = seen.caller.principal.tenant
        if (request_id := getattr(seen.request, "request_id", "")) and is_request_id(request_id):
            known["request_id"] = request_id
        if seen.trace:
            known["trace_id"] = seen.trace.trace_id
        if self._left_out:
            known["left_out"], self._left_out = self._left_out, 0
        said = " ".join(f"{name}={value}" for name, value in known.items())
        log.info("call %s", said, extra={CALL: known})


def traceparent_in(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Empty for none, and for several: nobody knows which of them is meant."""
    found = [value for key, value in metadata if key == TRACEPARENT]
    return str(found[0]) if len(found) == 1 else ""


def tracing_of(terms: TraceSection, metrics: Metrics, worker: int) -> Tracing:
    """By the settings. Raises ConfigInvalid where spans are wanted and OpenTelemetry is not installed."""
    if not terms.endpoint:
        return Tracing(metrics.traces)
    try:
        from gateway.telemetry.otlp import Exporter
    except ModuleNotFoundError as missing:
        raise ConfigInvalid(
            f"trace.endpoint is set, and {missing.name} is not installed: `pip install 'cascade-gateway[otel]'`"
        ) from None
    exporter = Exporter(terms.endpoint, importlib.metadata.version("cascade-gateway"), worker)
    return Tracing(metrics.traces, exporter.send, terms.share, terms.waiting)


def _outcome(seen: Seen) -> Mapping[str, str]:
    """The route and the reason of an answer, or the reason of a refusal."""
    if seen.refusal is not None:
        return {"reason": seen.refusal.reason}
    if isinstance(seen.response, pb.AnswerResponse):
        route, reason = ROUTE_FROM_PROTO[seen.response.route], REASON_FROM_PROTO[seen.response.reason]
        return {"route": route.value, "reason": reason.value}
    return {}
