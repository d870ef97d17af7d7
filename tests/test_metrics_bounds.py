"""The metrics of a server are bounded: in number, and in what their labels may hold."""

from __future__ import annotations

import gc

from prometheus_client import CollectorRegistry

from gateway.rpc.server import Server
from gateway.telemetry.access import Reloaded
from gateway.telemetry.metrics import NO_ROUTE, VERDICTS, Code, Metrics, Outcome, Phase, Rejection, Stage
from gateway.telemetry.pauses import PauseMetrics
from gateway.types import (
    Agreement,
    BreakerState,
    CertificateStatus,
    Criticality,
    Degradation,
    Denial,
    DriftMonitor,
    DriftScope,
    Reason,
    Route,
    Tier,
)

HISTOGRAMS = 150
"""A scrape renders each in a tenth of a millisecond."""
SERIES = 3000

VALUES: dict[str, set[str]] = {
    "route": {*Route, NO_ROUTE},
    "outcome": {*Outcome, "accepted", "rejected", "sent", "dropped", "failed"},
    "reason": {*Reason, *Rejection, *Denial, *Degradation},
    "stage": {*Stage},
    "criticality": {*Criticality},
    "phase": {*Phase},
    "status": {*CertificateStatus},
    "agreement": {*Agreement},
    "verdict": {*VERDICTS.values()},
    "tier": {*Tier},
    "state": {*BreakerState, "drawn", "judged", "wrong"},
    "what": {*Reloaded},
    "monitor": {*DriftMonitor},
    "scope": {*DriftScope},
    "generation": {"0", "1", "2"},
    "grpc_code": {*Code},
    "grpc_type": {"unary", "server_stream", "bidi_stream"},
}
OF_THE_BUILD = {"le", "grpc_service", "grpc_method", "version", "python", "grpcio"}
"""Bounded by the code itself: buckets, methods of the API, and one version of each."""


async def test_a_server_s_series_are_few(server: Server, metrics: Metrics) -> None:
    families = list(metrics.registry.collect())
    children = sum(s.name.endswith("_sum") for one in families if one.type == "histogram" for s in one.samples)
    assert 0 < children <= HISTOGRAMS
    assert 1000 < sum(len(one.samples) for one in families) <= SERIES


async def test_what_a_label_may_hold_is_listed(server: Server, metrics: Metrics) -> None:
    for family in metrics.registry.collect():
        for sample in family.samples:
            for label, value in sample.labels.items():
                assert label in OF_THE_BUILD or value in VALUES[label], f"{sample.name}: {label}={value!r}"


def test_a_collection_of_garbage_is_timed_while_it_is_watched() -> None:
    registry = CollectorRegistry()
    pauses = PauseMetrics(registry)

    def full() -> float | None:
        return registry.get_sample_value("gateway_gc_pause_seconds_count", {"generation": "2"})

    with pauses.watched():
        gc.collect()
    seen = full()
    assert seen is not None
    assert seen >= 1
    gc.collect()
    assert full() == seen
    assert pauses._told not in gc.callbacks
