"""Merged metrics: as if one process had seen everything, and never less than before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Summary
from prometheus_client.metrics_core import Metric

from gateway.telemetry.merging import FORMAT, GAUGES, Merger, Part, Rule, merge, parse, render
from gateway.telemetry.metrics import CollectionFigures, Metrics
from gateway.telemetry.supervision import WorkerMetrics
from gateway.types import ProbeFigures

LABELS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
EIGHTHS = st.integers(0, 64).map(lambda eighths: eighths / 8)
"""Their sums are exact, in any order."""


class Instruments:
    """One process's."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counter = Counter("c_total", 'A "counter".\n\\', ("label",), registry=self.registry)
        self._histogram = Histogram("h_seconds", "", ("label",), registry=self.registry, buckets=(1, 2, 4))
        self._summary = Summary("s", "", registry=self.registry)
        self._in_flight = Gauge("gateway_inflight_requests", "", registry=self.registry)

    def see(self, label: str, value: float) -> None:
        self._counter.labels(label).inc(value)
        self._histogram.labels(label).observe(value)
        self._summary.observe(value)
        self._in_flight.inc(value)

    def families(self) -> list[Metric]:
        return parse(render(self.registry.collect(), FORMAT)[0].decode())


def lines(families: Sequence[Metric], accept: str) -> list[str]:
    """Without the times at which the instruments were made."""
    return sorted(line for line in render(families, accept)[0].decode().split("\n") if "_created" not in line)


Events = Sequence[tuple[int, str, float]]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.lists(st.tuples(st.integers(0, 3), LABELS, EIGHTHS)), st.sampled_from(["", FORMAT]))
def test_the_whole_is_what_one_process_would_have_seen(count: int, events: Events, accept: str) -> None:
    whole, several = Instruments(), [Instruments() for _ in range(count)]
    for which, label, value in events:
        whole.see(label, value)
        several[which % count].see(label, value)
    merged = merge(Part(str(number), one.families()) for number, one in enumerate(several))
    assert lines(merged, accept) == lines(list(whole.registry.collect()), accept)


@dataclass
class Step:
    """What happens to one of several processes."""

    source: int
    what: str
    value: float


STEPS = st.builds(Step, st.integers(0, 2), st.sampled_from(["see", "scrape", "miss", "end"]), EIGHTHS)


def counted(families: Sequence[Metric]) -> dict[tuple[str, str], float]:
    return {
        (sample.name, str(sorted(sample.labels.items()))): sample.value
        for family in families
        if family.type != "gauge"
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@settings(max_examples=50, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_no_count_ever_falls(steps: list[Step]) -> None:
    processes = {source: Instruments() for source in range(3)}
    merger = Merger()
    before: dict[tuple[str, str], float] = {}
    for step in steps:
        source = str(step.source)
        if step.what == "see":
            processes[step.source].see("x", step.value)
        elif step.what == "end":
            merger.retire(source)
            processes[step.source] = Instruments()
        else:
            if step.what == "scrape":
                merger.update(source, processes[step.source].families())
            now = counted(merge(merger.parts({source} if step.what == "scrape" else {})))
            assert all(now[key] >= value for key, value in before.items())
            before = now


def test_what_was_heard_before_the_end_is_kept() -> None:
    merger, first, second = Merger(), Instruments(), Instruments()
    first.see("x", 3)
    merger.update("0", first.families())
    first.see("x", 1)  # and nobody asks any more
    merger.retire("0")
    merger.retire("0")
    second.see("x", 2)
    merger.update("0", second.families())
    assert counted(merge(merger.parts({"0"})))["c_total", "[('label', 'x')]"] == 5


def test_the_gauges_of_who_is_silent_are_left_out() -> None:
    merger, one, other = Merger(), Instruments(), Instruments()
    for number, instruments in enumerate((one, other)):
        instruments.see("x", 2)
        merger.update(str(number), instruments.families())
    text = render(merge(merger.parts({"1"})))[0].decode()
    assert "gateway_inflight_requests 2.0" in text
    assert 'c_total{label="x"} 4.0' in text


def value(name: str, *values: float, labels: dict[str, str] | None = None) -> dict[str, float]:
    """What gauges of several processes make together, by their labels' values."""
    parts = []
    for number, each in enumerate(values):
        registry = CollectorRegistry()
        gauge = Gauge(name, "", labels or (), registry=registry)
        (gauge.labels(**labels) if labels else gauge).set(each)
        parts.append(Part(str(number), list(registry.collect())))
    return {",".join(sample.labels.values()): sample.value for family in merge(parts) for sample in family.samples}


@pytest.mark.parametrize(
    ("name", "together"),
    [
        ("gateway_queue_requests", {"": 5}),
        ("gateway_model_loaded_timestamp_seconds", {"": 3}),
        ("gateway_knowledge_version", {"": 2}),
        ("process_start_time_seconds", {"": 2}),
        ("process_resident_memory_bytes", {"": 5}),
        ("unheard_of", {"0": 2, "1": 3}),
    ],
)
def test_gauges_go_by_their_rule(name: str, together: dict[str, float]) -> None:
    assert value(name, 2, 3) == together


def test_labels_are_kept_apart() -> None:
    assert value("gateway_certificate_status", 0, 1, labels={"status": "valid"}) == {"valid": 1}
    assert value("unheard_of", 0, 1, labels={"status": "valid"}) == {"valid,0": 0, "valid,1": 1}


def test_a_counter_began_when_the_first_one_did() -> None:
    registries = [CollectorRegistry(), CollectorRegistry()]
    counters = [Counter("c", "", registry=registry) for registry in registries]
    first = registries[0].get_sample_value("c_created")
    for counter in counters:
        counter.inc()
    merged = merge(Part(str(number), list(one.collect())) for number, one in enumerate(reversed(registries)))
    samples = {sample.name: sample.value for sample in merged[0].samples}
    assert samples == {"c_total": 2, "c_created": first}


def test_of_two_examples_the_newer_is_shown() -> None:
    parts = []
    for number, (trace, seconds) in enumerate((("b", 2.0), ("a", 1.0))):
        registry = CollectorRegistry()
        histogram = Histogram("h", "", registry=registry, buckets=(1,))
        histogram.observe(0.5, {"trace": trace})
        text = render(registry.collect(), FORMAT)[0].decode()
        line = next(line for line in text.splitlines() if "trace" in line)
        dated = line.rpartition(" ")[0] + f" {seconds}"
        parts.append(Part(str(number), parse(text.replace(line, dated))))
    text = render(merge(parts), FORMAT)[0].decode()
    assert 'h_bucket{le="1.0"} 2.0 # {trace="b"} 0.5 2.0' in text


def test_information_is_not_added() -> None:
    registry = CollectorRegistry()
    Info("build", "", registry=registry).info({"version": "1"})
    merged = merge([Part("0", list(registry.collect())), Part("1", list(registry.collect()))])
    assert [sample.value for sample in merged[0].samples] == [1]


def test_every_gauge_has_a_rule() -> None:
    metrics = Metrics()
    metrics.set_knowledge([CollectionFigures("banking", 3, 9, 7)], None, ProbeFigures())
    families = [*metrics.registry.collect(), *WorkerMetrics(2).families()]
    assert {family.name for family in families if family.type == "gauge"} <= set(GAUGES), (
        "say in gateway.telemetry.merging what the values of several workers make together"
    )
    assert Rule.EACH not in GAUGES.values()


def test_the_gateway_s_own_metrics_survive_the_way() -> None:
    metrics = Metrics()
    metrics.method("gateway.v1.Answers", "Answer")
    metrics.loop_lag(0.25)
    body, _ = metrics.render(FORMAT)
    merged, content_type = render(merge([Part("0", parse(body.decode()))]), FORMAT)
    assert content_type.startswith("application/openmetrics-text")
    assert merged.endswith(b"# EOF\n")
    assert {line for line in merged.splitlines() if not line.startswith((b"process_", b"#"))} == {
        line for line in body.splitlines() if not line.startswith((b"process_", b"#"))
    }
