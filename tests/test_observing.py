"""Lines about calls, traces in and out, and spans at a collector; and that no question is in any of them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc.aio
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client import CollectorRegistry

from gateway.config import Config, LogSection, TraceSection
from gateway.errors import ConfigInvalid
from gateway.rpc.observing import LINES, Observer, Seen, tracing_of
from gateway.rpc.server import Server
from gateway.telemetry.logs import CALL, TRACE, JsonFormatter
from gateway.telemetry.metrics import Code, Metrics
from gateway.telemetry.otlp import Exporter
from gateway.telemetry.traces import Ended, Trace, TraceMetrics, Tracing, parsed
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from tests.fakes import FakeGateway

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-01"
QUESTION = "Why was my card payment declined?"


class Collector:
    """What has come to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[bytes] = []

    def spans(self) -> list[Span]:
        found = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span for one in found for group in one.resource_spans for scope in group.scope_spans for span in scope.spans
        ]


@contextmanager
def collecting() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collector = Collector(f"http://127.0.0.1:{server.server_port}/v1/traces")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


@asynccontextmanager
async def serving(config: Config, tracing: Tracing | None, metrics: Metrics) -> AsyncIterator[Any]:
    server = Server(FakeGateway(), config, metrics, tracing=tracing)
    ports = await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
            yield gateway_pb2_grpc.AnswersStub(channel)
    finally:
        await server.stop()


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """What all loggers have written, as JSON."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter(3))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield written
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def config_with(**log: Any) -> Config:
    return Config.model_validate({"server": {"port": 0, "admin_port": 0}, "log": log})


async def asked(stub: Any, **request: Any) -> tuple[pb.AnswerResponse, dict[str, Any]]:
    call = stub.Answer(pb.AnswerRequest(question=QUESTION, **request), metadata=(("traceparent", SAMPLED),), timeout=20)
    return await call, dict(await call.trailing_metadata())


async def test_a_traced_call_is_a_span_with_one_for_each_stage_and_no_text() -> None:
    metrics = Metrics()
    with collecting() as collector, logged() as written:
        tracing = Tracing(metrics.traces, Exporter(collector.url, "1.0", 3).send)
        async with serving(config_with(share=1.0), tracing, metrics) as stub:
            answer, trailers = await asked(stub, request_id="r-1")
        await asyncio.to_thread(tracing.close)
        bodies, spans = list(collector.bodies), collector.spans()
    server = next(span for span in spans if span.kind == Span.SPAN_KIND_SERVER)
    children = [span for span in spans if span is not server]
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE_ID, SPAN_ID)
    assert server.name == "gateway.v1.Answers/Answer"
    known = {one.key: one.value.string_value for one in server.attributes}
    assert known["rpc.method"] == server.name
    assert known["rpc.system.name"] == "grpc"
    assert known["rpc.response.status_code"] == "OK"
    assert known["gateway.route"] == "model"
    assert [span.name for span in children] == [stage.name for stage in answer.timings]
    assert children
    assert {span.parent_span_id for span in children} == {server.span_id}
    assert all(
        server.start_time_unix_nano <= one.start_time_unix_nano <= one.end_time_unix_nano <= server.end_time_unix_nano
        for one in children
    )
    assert trailers["traceparent"] == f"00-{TRACE_ID}-{server.span_id.hex()}-01"
    assert metrics.registry.get_sample_value("gateway_traced_calls_total", {"outcome": "sent"}) == 1
    line = next(found for found in map(json.loads, written.getvalue().splitlines()) if "method" in found)
    assert line["trace_id"] == TRACE_ID
    assert (line["request_id"], line["worker"], line["route"]) == ("r-1", 3, "model")
    for text in (QUESTION, answer.text):
        assert text not in written.getvalue()
        assert not any(text.encode() in body for body in bodies)


async def test_without_a_collector_the_trace_is_passed_back_and_in_the_line() -> None:
    metrics = Metrics()
    with logged() as written:
        async with serving(config_with(), None, metrics) as stub:
            _, trailers = await asked(stub)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await asked(stub, collection="missing")
    assert trailers["traceparent"] == SAMPLED
    assert dict(refused.value.trailing_metadata() or ())["traceparent"] == SAMPLED
    (line,) = [found for found in map(json.loads, written.getvalue().splitlines()) if "method" in found]
    assert (line["code"], line["reason"], line["trace_id"]) == ("NOT_FOUND", "UNKNOWN_COLLECTION", TRACE_ID)
    assert QUESTION not in written.getvalue()


@pytest.mark.parametrize(
    "header",
    [
        "", "x", f"ff-{TRACE_ID}-{SPAN_ID}-01", f"00-{'0' * 32}-{SPAN_ID}-01", f"00-{TRACE_ID}-{'0' * 16}-01",
        f"{SAMPLED}-more", SAMPLED.upper(),
    ],
)  # fmt: skip
def test_what_is_no_traceparent_is_no_trace(header: str) -> None:
    assert parsed(header) is None


def test_a_later_version_is_understood_as_far_as_it_is_known() -> None:
    assert parsed(f"01-{TRACE_ID}-{SPAN_ID}-03-more") == Trace(TRACE_ID, SPAN_ID, "", is_sampled=True)


def traced(share: float, **more: Any) -> tuple[Tracing, list[Ended]]:
    sent: list[Ended] = []

    def send(calls: Sequence[Ended]) -> bool:
        sent.extend(calls)
        return True

    return Tracing(TraceMetrics(CollectorRegistry()), send, share, **more), sent


def test_the_caller_decides_and_the_share_where_it_has_not() -> None:
    tracing, _ = traced(0.5, draw=lambda: 0.4)
    own = tracing.begin("")
    assert own is not None
    assert (len(own.trace_id), len(own.span_id), own.parent_id, own.is_sampled) == (32, 16, "", True)
    assert tracing.begin(f"00-{TRACE_ID}-{SPAN_ID}-00") == Trace(TRACE_ID, SPAN_ID, "", is_sampled=False)
    tracing.close()
    off, _ = traced(0.0, draw=lambda: 0.0)
    assert off.begin("") is None
    theirs = off.begin(SAMPLED)
    assert theirs is not None
    assert theirs.parent_id == SPAN_ID
    off.close()


def test_what_does_not_fit_is_dropped_and_what_does_not_arrive_failed_and_both_counted() -> None:
    registry = CollectorRegistry()
    is_held = threading.Event()
    taken = threading.Event()

    def send(calls: Sequence[Ended]) -> bool:
        taken.set()
        is_held.wait(30)
        raise OSError("no collector")

    tracing = Tracing(TraceMetrics(registry), send, 1.0, waiting=1)
    call = Ended(Trace(TRACE_ID, SPAN_ID, "", is_sampled=True), "a/b", "OK", 0, 0.0, {})
    tracing.offer(call)
    assert taken.wait(30)
    for _ in range(3):
        tracing.offer(call)
    assert registry.get_sample_value("gateway_traced_calls_total", {"outcome": "dropped"}) == 2
    is_held.set()
    tracing._closing.set()
    tracing._thread.join(30)
    assert registry.get_sample_value("gateway_traced_calls_total", {"outcome": "failed"}) == 2


def lines_of(observer: Observer, code: Code, seconds: float, seen: Seen | None = None) -> list[dict[str, Any]]:
    with logged() as written:
        observer.end(seen or Seen("a/b"), code, seconds)
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_line_is_for_errors_slow_calls_and_a_share() -> None:
    tracing = Tracing(TraceMetrics(CollectorRegistry()))
    observer = Observer(tracing, LogSection(slow_ms=50))
    assert lines_of(observer, Code.OK, 0.04) == []
    assert lines_of(observer, Code.OK, 0.06)[0]["ms"] == 60
    assert lines_of(observer, Code.OK, 0.06, Seen("a/b", is_stream=True)) == []
    assert lines_of(observer, Code.INTERNAL, 0.0)[0]["code"] == "INTERNAL"
    drawn = Observer(tracing, LogSection(calls=False, share=0.1), draw=lambda: 0.05)
    assert len(lines_of(drawn, Code.OK, 0.0)) == 1
    assert lines_of(Observer(tracing, LogSection(calls=False)), Code.INTERNAL, 9.0) == []


def test_lines_are_bounded_and_what_was_left_out_is_told() -> None:
    now = [100.0]
    observer = Observer(Tracing(TraceMetrics(CollectorRegistry())), LogSection(), clock=lambda: now[0])
    written = [line for _ in range(LINES + 7) for line in lines_of(observer, Code.UNAVAILABLE, 0.0)]
    assert len(written) == LINES
    now[0] = 101.0
    assert lines_of(observer, Code.UNAVAILABLE, 0.0)[0]["left_out"] == 7


def test_a_request_id_that_is_none_is_in_no_line() -> None:
    observer = Observer(Tracing(TraceMetrics(CollectorRegistry())), LogSection())
    seen = Seen("a/b", request=pb.AnswerRequest(request_id="two\nlines"))
    assert "request_id" not in lines_of(observer, Code.INVALID_ARGUMENT, 0.0, seen)[0]


def test_json_has_the_cause_and_the_trace_on_one_line() -> None:
    token = TRACE.set(TRACE_ID)
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
        record = logging.LogRecord("one", logging.ERROR, "f", 1, "it %s", ("failed",), info)
        setattr(record, CALL, {"ms": 1.5})
        (line,) = JsonFormatter(None).format(record).splitlines()
    finally:
        TRACE.reset(token)
    found = json.loads(line)
    assert (found["level"], found["logger"], found["message"]) == ("error", "one", "it failed")
    assert (found["trace_id"], found["ms"]) == (TRACE_ID, 1.5)
    assert "ValueError" in found["exception"]
    assert "worker" not in found


def test_spans_without_opentelemetry_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.delitem(__import__("sys").modules, "gateway.telemetry.otlp")
    with pytest.raises(ConfigInvalid, match=r"cascade-gateway\[otel\]"):
        tracing_of(TraceSection(endpoint="http://127.0.0.1:4318/v1/traces"), Metrics(), 0)
