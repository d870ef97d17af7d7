"""Calls as OpenTelemetry spans, sent by OTLP over HTTP. The one home of OpenTelemetry, which is an optional extra."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from gateway.telemetry.traces import Ended

TIMEOUT = 5.0
"""Seconds for the collector to take a batch, with all that the exporter tries again."""
SERVERS_FAULT = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""The codes that make a server's span an error, by OpenTelemetry's conventions for gRPC."""


class Exporter:
    """Sends to `endpoint`. One thread alone: ids are handed to the SDK one at a time."""

    def __init__(self, endpoint: str, version: str, worker: int) -> None:
        self._ids = _Ids()
        self._ended = _Kept()
        resource = Resource.create(
            {"service.name": "cascade-gateway", "service.version": version, "gateway.worker": worker}
        )
        provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=self._ids)
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("gateway", version)
        self._exporter = OTLPSpanExporter(endpoint, timeout=TIMEOUT)

    def send(self, calls: Sequence[Ended]) -> bool:
        """Whether they have arrived."""
        for call in calls:
            self._span(call)
        return self._exporter.export(self._ended.taken()) is SpanExportResult.SUCCESS

    def _span(self, call: Ended) -> None:
        began = call.ended - round(call.seconds * 1e9)
        self._ids.next = call.trace.trace_id, call.trace.span_id
        attributes = {
            "rpc.system.name": "grpc",
            "rpc.method": call.method,
            "rpc.response.status_code": call.code,
            **({"error.type": call.code} if call.code in SERVERS_FAULT else {}),
            **call.attributes,
        }
        span = self._tracer.start_span(call.method, _parent_of(call), SpanKind.SERVER, attributes, start_time=began)
        within = otel.set_span_in_context(span, Context())
        for name, start, end in _laid_out(call, began):
            self._tracer.start_span(name, within, start_time=start).end(end)
        if call.code in SERVERS_FAULT:
            span.set_status(Status(StatusCode.ERROR))
        span.end(call.ended)


def _parent_of(call: Ended) -> Context:
    if not call.trace.parent_id:
        return Context()
    ids = int(call.trace.trace_id, 16), int(call.trace.parent_id, 16)
    caller = SpanContext(*ids, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return otel.set_span_in_context(NonRecordingSpan(caller), Context())


def _laid_out(call: Ended, began: int) -> Iterator[tuple[str, int, int]]:
    """Stages are known by how long they took: they are drawn one after another, up to the call's end. Of tiers that ran
    side by side, so are the stages."""
    at = max(began, call.ended - round(1e9 * sum(seconds for _, seconds in call.stages)))
    for name, seconds in call.stages:
        end = min(call.ended, at + round(seconds * 1e9))
        yield name, at, end
        at = end


class _Ids(IdGenerator):
    """The ids that a call was told to have, once, and random ones for what is in it."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self.next: tuple[str, str] | None = None

    def generate_trace_id(self) -> int:
        assert self.next is not None, "only calls begin traces"
        return int(self.next[0], 16)

    def generate_span_id(self) -> int:
        given, self.next = self.next, None
        return int(given[1], 16) if given else self._random.generate_span_id()


class _Kept(SpanProcessor):
    """Spans that have ended since they were last taken."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.append(span)

    def taken(self) -> Sequence[ReadableSpan]:
        spans, self._spans = self._spans, []
        return spans
