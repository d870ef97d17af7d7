"""Every instrument of the gateway, in one registry. Label values come from enums; no text of a question, no tenant."""

from __future__ import annotations

import enum
import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.exposition import choose_encoder

from gateway import failpoints
from gateway.telemetry.access import AccessMetrics
from gateway.telemetry.breakers import BreakerMetrics
from gateway.telemetry.drift.instruments import DriftMetrics
from gateway.telemetry.histogram import Histogram
from gateway.telemetry.pauses import PauseMetrics
from gateway.telemetry.traces import TraceMetrics
from gateway.types import (
    Agreement,
    Answer,
    AuditFigures,
    BreakerFigures,
    CertificateStatus,
    Criticality,
    Degradation,
    DriftFigures,
    ErrorRate,
    ProbeFigures,
    Reason,
    Route,
    ShadowFigures,
    StoredFigures,
    Workload,
)

LATENCY = tuple(ms / 1000 for ms in (0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000, 2500))
"""Seconds. Dense below the usual deadline; 0.2 is an edge so that goodput is a bucket, not an interpolation."""
STAGE_LATENCY = LATENCY[:-2]
CONFIDENCE = (*(step / 20 for step in range(1, 20)), 0.97, 0.99, 1.0)
BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Stage(enum.StrEnum):
    """The stages that have a series of their own; the rest share OTHER, so that the number of series is bounded."""

    TOKENIZE = "tokenize"
    QUEUE = "queue"
    INFER = "infer"
    CALIBRATE = "calibrate"
    SEARCH = "search"
    RENDER = "render"
    CACHE = "cache"
    OTHER = "other"


class Outcome(enum.StrEnum):
    """How a question ended. DEGRADED: answered, but a tier that should have run was down or out of time."""

    OK = "ok"
    DEGRADED = "degraded"
    ERROR = "error"


class Rejection(enum.StrEnum):
    """Why a question, or a call with all of its questions, was refused before any work.

    OVERLOAD: no room. SHED: there was room, but the queue is kept short. DEADLINE: it could not have been in time.
    """

    QUOTA = "quota"
    OVERLOAD = "overload"
    SHED = "shed"
    DEADLINE = "deadline"
    DRAINING = "draining"


class Phase(enum.StrEnum):
    """Where a question was when its caller left or its deadline passed. Only one that was INFER has cost anything."""

    QUEUE = "queue"
    INFER = "infer"


class Code(enum.StrEnum):
    """gRPC's status codes, under the names that existing dashboards for go-grpc-prometheus know."""

    OK = "OK"
    CANCELLED = "Canceled"
    UNKNOWN = "Unknown"
    INVALID_ARGUMENT = "InvalidArgument"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    NOT_FOUND = "NotFound"
    ALREADY_EXISTS = "AlreadyExists"
    PERMISSION_DENIED = "PermissionDenied"
    UNAUTHENTICATED = "Unauthenticated"
    ABORTED = "Aborted"
    RESOURCE_EXHAUSTED = "ResourceExhausted"
    FAILED_PRECONDITION = "FailedPrecondition"
    UNIMPLEMENTED = "Unimplemented"
    INTERNAL = "Internal"
    UNAVAILABLE = "Unavailable"
    DATA_LOSS = "DataLoss"


NO_ROUTE = "none"
VERDICTS = {False: "correct", True: "incorrect"}


@dataclass(frozen=True, slots=True)
class CollectionFigures:
    """What a collection holds now."""

    name: str
    documents: int
    passages: int
    version: int


class MethodMetrics:
    """The instruments of one gRPC method, their children made beforehand: `.labels()` costs more than `.inc()`."""

    def __init__(
        self, started: Counter, handled: Counter, handling: Histogram, service: str, method: str, kind: str
    ) -> None:
        labels = (kind, service, method)
        self._started = started.labels(*labels)
        self._handled = {code: handled.labels(*labels, code.value) for code in Code}
        self._handling = handling.labels(*labels)

    def started(self) -> None:
        self._started.inc()

    def handled(self, code: Code, seconds: float) -> None:
        self._handled[code].inc()
        self._handling.observe(seconds)


class Metrics:
    """All instruments, made once a process. Called from the event loop, except for `render`: from any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._rpc()
        self._answers()
        self._admission()
        self._model()
        self._candidate()
        self._knowledge()
        self._audit()
        self._drift = DriftMetrics(self.registry)
        self._breakers = BreakerMetrics(self.registry)
        self.access = AccessMetrics(self.registry)
        self.pauses = PauseMetrics(self.registry)
        self.traces = TraceMetrics(self.registry)

    def _rpc(self) -> None:
        labels = ("grpc_type", "grpc_service", "grpc_method")
        self._rpc_started = self._counter("grpc_server_started_total", "Calls received.", labels)
        self._rpc_handled = self._counter("grpc_server_handled_total", "Calls ended, by code.", (*labels, "grpc_code"))
        self._rpc_handling = self._histogram(
            "grpc_server_handling_seconds", "Time from the handler's start to its end.", LATENCY, labels
        )

    def _answers(self) -> None:
        duration = self._histogram(
            "gateway_request_duration_seconds", "Time to answer one question.", LATENCY, ("route", "outcome")
        )
        routed = (Outcome.OK, Outcome.DEGRADED)
        self._duration = {(r.value, o): duration.labels(r.value, o.value) for r in Route for o in routed}
        self._failed = duration.labels(NO_ROUTE, Outcome.ERROR.value)
        stage = self._histogram("gateway_stage_duration_seconds", "Time of a stage.", STAGE_LATENCY, ("stage",))
        self._stage = {name.value: stage.labels(name.value) for name in Stage}
        self._other_stage = self._stage[Stage.OTHER.value]
        decisions = self._counter("gateway_route_decisions_total", "Answers by route and reason.", ("route", "reason"))
        self._decisions = {
            (route, reason): decisions.labels(route.value, reason.value) for route in Route for reason in Reason
        }
        confidence = self._histogram("gateway_confidence", "Calibrated confidence of answers.", CONFIDENCE, ("route",))
        self._confidence = {route: confidence.labels(route.value) for route in Route}
        self._retrieval_score = self._histogram(
            "gateway_retrieval_score", "Cosine of the best cited passage, where a search was made.", CONFIDENCE
        ).labels()
        self._batch_size = self._histogram(
            "gateway_batch_size", "Questions that shared an answer's forward pass.", BATCH
        ).labels()

    def _admission(self) -> None:
        self._in_flight = self._gauge("gateway_inflight_requests", "Questions admitted and not yet answered.")
        self._queue = self._gauge("gateway_queue_requests", "Questions that wait for the model.")
        self._queue_cost = self._gauge("gateway_queue_cost_seconds", "Predicted work of the model that waits or runs.")
        self._shed_level = self._gauge(
            "gateway_shed_level_ratio", "The highest of any tenant: 0 nobody is shed, 1 all."
        )
        rejected = self._counter(
            "gateway_admission_rejected_total", "Questions and calls refused before work.", ("reason", "criticality")
        )
        self._rejected = {
            (reason, criticality): rejected.labels(reason.value, criticality.value)
            for reason in Rejection
            for criticality in Criticality
        }
        cancelled = self._counter(
            "gateway_cancelled_total", "Questions whose caller left or whose deadline passed.", ("phase",)
        )
        self._cancelled = {phase: cancelled.labels(phase.value) for phase in Phase}
        self._late = self._counter(
            "gateway_queue_dropped_total", "Questions dropped from the queue as too late to be computed."
        )
        self._tokens = self._counter("gateway_tokens_total", "Tokens that the model computed.")
        self._wasted = self._counter("gateway_wasted_tokens_total", "Of these, those that nobody waited for any more.")
        self._counted = Workload()
        self._loop_lag = self._histogram(
            "gateway_event_loop_lag_seconds",
            "How late the event loop woke: what every request waits on top.",
            STAGE_LATENCY,
        ).labels()

    def _candidate(self) -> None:
        compared = self._counter(
            "gateway_shadow_answers_total", "A candidate's answers, beside those that were given.", ("agreement",)
        )
        self._compared = {one: compared.labels(one.value) for one in Agreement}
        self._shadow_seconds = self._histogram(
            "gateway_shadow_duration_seconds", "Time that a candidate took for an answer.", LATENCY
        ).labels()
        self._searched = {
            name: self._counter(f"gateway_shadow_{name}", help_text)
            for name, help_text in (
                ("searches", "Questions that a candidate and what serves have both searched for."),
                ("same_first", "Those for which both found the same document first."),
                ("hits", "Documents that the one or the other found among the ten best, the more of both."),
                ("shared", "Those that both found; over the hits it is the overlap."),
            )
        }
        self._shadow: ShadowFigures | None = None

    def _model(self) -> None:
        build = self._gauge("gateway_build_info", "Always 1.", ("version", "python", "grpcio"))
        versions = (importlib.metadata.version(name) for name in ("cascade-gateway", "grpcio"))
        version, grpcio = versions
        build.labels(version, platform.python_version(), grpcio).set(1)
        self._model_info = self._gauge(
            "gateway_model_info", "1 for the bundle in use.", ("bundle", "sha256_12", "provider", "precision")
        )
        self._model_loaded = self._gauge("gateway_model_loaded_timestamp_seconds", "When the bundle was loaded.")
        degraded_by = self._gauge(
            "gateway_degraded", "1 while the model does not run on the device that it was started on.", ("reason",)
        )
        self._degraded = {reason: degraded_by.labels(reason.value) for reason in Degradation}
        self._threshold = self._gauge("gateway_confidence_threshold", "What the model's confidence has to reach.")
        certificate = self._gauge("gateway_certificate_status", "1 for the threshold's status, else 0.", ("status",))
        self._certificate = {status: certificate.labels(status.value) for status in CertificateStatus}
        self._certified_risk = self._gauge(
            "gateway_certified_risk_ratio", "Of the model's answers, what the threshold promises to be wrong at most."
        )
        self._certified_oos_share = self._gauge(
            "gateway_certified_oos_share_ratio", "The share of questions out of scope up to which that is promised."
        )

    def _knowledge(self) -> None:
        labels = ("collection",)
        self._documents = self._gauge("gateway_knowledge_documents", "Documents of a collection.", labels)
        self._passages = self._gauge("gateway_knowledge_passages", "Passages of a collection.", labels)
        self._version = self._gauge("gateway_knowledge_version", "Sequence number of the last change seen.", labels)
        self._stored = {
            name: self._gauge(f"gateway_knowledge_{name}", help_text)
            for name, help_text in (
                ("stored_collections", "Stored collections of all tenants."),
                ("stored_documents", "Documents of all stored collections."),
                ("stored_passages", "Passages of all stored collections."),
                ("stored_segments", "Segments that all stored collections consist of."),
                ("unkept_segments", "Those of them whose graph could not be written to disk: a start builds it anew."),
                ("log_version", "Number of the last change of the log that questions see."),
                ("last_write_timestamp_seconds", "When that was written; 0: never."),
                (
                    "encoder_current",
                    "0 where the log has switched stored collections to another encoder.",
                ),
                ("backfill_documents", "Stored documents to embed by a bundle that does not serve yet; 0: none now."),
                ("backfill_done", "Those of them that are embedded."),
            )
        }
        self._probe = {
            name: self._counter(f"gateway_knowledge_probe_{name}", help_text)
            for name, help_text in (
                ("wanted", "Documents that scans have found, made beside one search in many: the ten nearest of each."),
                ("found", "Those of them that the searches had found; over the other one it is the recall."),
            )
        }
        self._probed = ProbeFigures()

    def _audit(self) -> None:
        self._audited = {
            name: self._counter(f"gateway_audit_{name}", help_text)
            for name, help_text in (
                ("written", "Records of the audit log that were written."),
                ("dropped", "Records that were not, as the disk was full or too slow; answers go on."),
            )
        }
        verdicts = self._counter("gateway_feedback_total", "Verdicts on answers, by what they say.", ("verdict",))
        self._verdicts = {is_wrong: verdicts.labels(name) for is_wrong, name in VERDICTS.items()}
        self._audit_waiting = self._gauge("gateway_audit_waiting", "Records that wait to be written.")
        self._audit_bytes = self._gauge("gateway_audit_bytes", "The audit log on disk.")
        self._audit_failing = self._gauge("gateway_audit_failing", "1 while the audit log cannot be written.")
        self._recorded = AuditFigures()
        self._judged = self._gauge(
            "gateway_audit_answers",
            "Answers of the bundle in use that chance has drawn, and of them those that were judged, and were wrong.",
            ("route", "state"),
        )
        self._error = {
            name: self._gauge(f"gateway_audit_error_{name}ratio", help_text, ("route",))
            for name, help_text in (
                ("", "Share of wrong answers, as those that were drawn and judged tell."),
                ("lower_", "Its lower bound, which holds at all times with the upper one, with 95 %."),
                ("upper_", "Its upper bound."),
            )
        }

    def _counter(self, name: str, help_text: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(name, help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, labels: Iterable[str] = ()) -> Gauge:
        return Gauge(name, help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: Sequence[float], labels: Iterable[str] = ()) -> Histogram:
        return Histogram(name, help_text, labels, buckets, self.registry)

    def method(self, service: str, method: str, kind: str = "unary") -> MethodMetrics:
        """The instruments of one method; call once for each. `kind` is gRPC's: unary, server_stream, bidi_stream."""
        return MethodMetrics(self._rpc_started, self._rpc_handled, self._rpc_handling, service, method, kind)

    def observe(self, answer: Answer, seconds: float) -> None:
        """Count one answer, once. `seconds` is the time that its caller waited inside the process."""
        outcome = Outcome.DEGRADED if answer.is_degraded else Outcome.OK
        self._duration[answer.route.value, outcome].observe(seconds)
        self._decisions[answer.route, answer.reason].inc()
        self._confidence[answer.route].observe(answer.confidence)
        if answer.retrieval_confidence is not None and answer.citations:
            self._retrieval_score.observe(max(citation.similarity for citation in answer.citations))
        if answer.batch_size:
            self._batch_size.observe(answer.batch_size)
        self.observe_stages(answer.timings)

    def observe_stages(self, timings: Mapping[str, float]) -> None:
        """Count what a question's stages took, in seconds."""
        for stage, duration in timings.items():
            self._stage.get(stage, self._other_stage).observe(duration)

    def observe_shadow(self, agreement: Agreement, seconds: float) -> None:
        """Count one question that a candidate was asked too."""
        self._compared[agreement].inc()
        self._shadow_seconds.observe(seconds)

    def set_shadow(self, now: ShadowFigures | None) -> None:
        """What both have found; None where there is no candidate."""
        before, self._shadow = self._shadow, now
        if now is None:
            return
        # Less than before: another candidate, which counts from 0.
        known = before if before is not None and before.searches <= now.searches else ShadowFigures(now.bundle, 0.0)
        for name, counter in self._searched.items():
            counter.inc(max(0, getattr(now, name) - getattr(known, name)))

    def observe_failure(self, seconds: float) -> None:
        """Count one question that ended in an error."""
        self._failed.observe(seconds)

    def reject(self, reason: Rejection, criticality: Criticality) -> None:
        self._rejected[reason, criticality].inc()

    def loop_lag(self, seconds: float) -> None:
        self._loop_lag.observe(seconds)

    def watch_in_flight(self, count: Callable[[], int]) -> None:
        """Read the gauge from `count` at every scrape, so that no request pays for it."""
        self._in_flight.set_function(count)

    def watch_queue(self, count: Callable[[], int]) -> None:
        """As `watch_in_flight`."""
        self._queue.set_function(count)

    def watch_shed_level(self, level: Callable[[], float]) -> None:
        """As `watch_in_flight`."""
        self._shed_level.set_function(level)

    def set_workload(self, now: Workload) -> None:
        """What the model tier has to do, and what it has done since the last time."""
        self._queue_cost.set(now.queued_seconds)
        # Less than before: another bundle was taken in, which counts from 0.
        before = self._counted if now.tokens >= self._counted.tokens else Workload()
        self._counted = now
        for counter, name in (
            (self._tokens, "tokens"),
            (self._wasted, "wasted"),
            (self._late, "late"),
            (self._cancelled[Phase.QUEUE], "left_queue"),
            (self._cancelled[Phase.INFER], "left_pass"),
        ):
            counter.inc(max(0, getattr(now, name) - getattr(before, name)))

    def set_model(
        self,
        *,
        bundle: str,
        sha256: str,
        provider: str,
        precision: str,
        loaded: float,
        threshold: float,
        certificate: str,
        certified_risk: float,
        certified_oos_share: float,
        degraded: Degradation | None,
    ) -> None:
        """The bundle in use; the one before it leaves. `loaded` is in seconds since the epoch."""
        self._model_info.clear()
        self._model_info.labels(bundle, sha256[:12], provider, precision).set(1)
        self._model_loaded.set(loaded)
        self._threshold.set(threshold)
        for status, gauge in self._certificate.items():
            gauge.set(status.value == certificate)
        self._certified_risk.set(certified_risk)
        self._certified_oos_share.set(certified_oos_share)
        for reason, gauge in self._degraded.items():
            gauge.set(reason is degraded)

    def set_knowledge(
        self, collections: Iterable[CollectionFigures], stored: StoredFigures | None, probe: ProbeFigures
    ) -> None:
        """What every served collection holds now, and the stored ones together."""
        now = stored or StoredFigures()
        for name, value in (
            ("stored_collections", now.collections),
            ("stored_documents", now.documents),
            ("stored_passages", now.passages),
            ("stored_segments", now.segments),
            ("unkept_segments", now.unkept),
            ("log_version", now.version),
            ("last_write_timestamp_seconds", now.written),
            ("encoder_current", now.is_encoder_current),
            ("backfill_documents", now.backfill.total),
            ("backfill_done", now.backfill.done),
        ):
            self._stored[name].set(value)
        # Less than before: another bundle was taken in, which counts from 0.
        before = self._probed if probe.wanted >= self._probed.wanted else ProbeFigures()
        self._probed = probe
        self._probe["wanted"].inc(probe.wanted - before.wanted)
        self._probe["found"].inc(max(0, probe.found - before.found))
        for figures in collections:
            self._documents.labels(figures.name).set(figures.documents)
            self._passages.labels(figures.name).set(figures.passages)
            self._version.labels(figures.name).set(figures.version)

    def observe_verdict(self, is_wrong: bool) -> None:
        """Count what somebody says of an answer."""
        self._verdicts[is_wrong].inc()

    def set_breakers(self, now: Iterable[BreakerFigures]) -> None:
        """How the circuit breakers of the tiers are."""
        self._breakers.set(now)

    def set_drift(self, now: DriftFigures | None) -> None:
        """What has come of comparing questions with the bundle's reference; None where they are not."""
        self._drift.set(now)

    def set_error_rates(self, rates: Iterable[ErrorRate]) -> None:
        """Those of the bundle in use; those of the one before it leave."""
        for gauge in (self._judged, *self._error.values()):
            gauge.clear()
        for one in rates:
            for state in ("drawn", "judged", "wrong"):
                self._judged.labels(one.route, state).set(getattr(one, state))
            if one.judged:
                self._error[""].labels(one.route).set(one.estimate)
            self._error["lower_"].labels(one.route).set(one.lower)
            self._error["upper_"].labels(one.route).set(one.upper)

    def set_audit(self, now: AuditFigures | None) -> None:
        """What the audit log has come to; None where none is kept."""
        if now is None:
            return
        for name, counter in self._audited.items():
            counter.inc(getattr(now, name) - getattr(self._recorded, name))
        self._recorded = now
        self._audit_waiting.set(now.waiting)
        self._audit_bytes.set(now.bytes)
        self._audit_failing.set(now.is_failing)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition and its content type, OpenMetrics if `accept` asks for it. Milliseconds: use a thread."""
        failpoints.reached("metrics-render")
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type
