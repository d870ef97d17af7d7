"""The metrics of several processes as those of one: what adds up is added, and a process that ends takes nothing back.

Each process keeps an ordinary registry; the one that watches them reads their expositions and merges them here.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

FORMAT = "application/openmetrics-text; version=1.0.0"
"""What to ask a process for: unlike the older text, it tells when a counter began and keeps exemplars."""

ADDITIVE = frozenset({"counter", "histogram", "gaugehistogram", "summary"})
WORKER = "worker"


class Rule(enum.Enum):
    """What several processes' values of one gauge make together."""

    SUM = enum.auto()
    MAX = enum.auto()
    MIN = enum.auto()
    EACH = enum.auto()
    """Nothing: each is shown, with a label that says whose it is."""


GAUGES: Mapping[str, Rule] = {
    "gateway_inflight_requests": Rule.SUM,
    "gateway_queue_requests": Rule.SUM,
    "gateway_queue_cost_seconds": Rule.SUM,
    "gateway_shed_level_ratio": Rule.MAX,
    # Replicas agree on these, except for the moments of a swap; then both bundles are in use, and both are shown.
    "gateway_build_info": Rule.MAX,
    "gateway_model_info": Rule.MAX,
    "gateway_model_loaded_timestamp_seconds": Rule.MAX,
    "gateway_confidence_threshold": Rule.MAX,
    "gateway_certificate_status": Rule.MAX,
    "gateway_certified_risk_ratio": Rule.MAX,
    "gateway_certified_oos_share_ratio": Rule.MIN,
    "gateway_knowledge_documents": Rule.MAX,
    "gateway_knowledge_passages": Rule.MAX,
    "gateway_knowledge_stored_collections": Rule.MAX,
    "gateway_knowledge_stored_documents": Rule.MAX,
    "gateway_knowledge_stored_passages": Rule.MAX,
    "gateway_knowledge_stored_segments": Rule.MAX,
    "gateway_knowledge_unkept_segments": Rule.MAX,
    "gateway_knowledge_log_version": Rule.MIN,
    "gateway_knowledge_last_write_timestamp_seconds": Rule.MIN,
    "gateway_knowledge_encoder_current": Rule.MIN,
    "gateway_knowledge_backfill_documents": Rule.MAX,
    "gateway_knowledge_backfill_done": Rule.MAX,
    # What every replica has seen: a reader that waits for a change may then ask any of them.
    "gateway_knowledge_version": Rule.MIN,
    "gateway_degraded": Rule.SUM,
    "gateway_breaker_state": Rule.SUM,
    # Each worker watches its own questions; the one that has seen most speaks for all.
    "gateway_drift_watched": Rule.MIN,
    "gateway_drift_evidence": Rule.MAX,
    "gateway_drift_statistic": Rule.MAX,
    "gateway_drift_p_value": Rule.MIN,
    "gateway_drift_alarms": Rule.MAX,
    "gateway_audit_waiting": Rule.SUM,
    "gateway_audit_bytes": Rule.SUM,
    "gateway_audit_failing": Rule.SUM,
    # All workers see the same verdicts.
    "gateway_audit_answers": Rule.MAX,
    "gateway_audit_error_ratio": Rule.MAX,
    "gateway_audit_error_lower_ratio": Rule.MAX,
    "gateway_audit_error_upper_ratio": Rule.MAX,
    "gateway_tls_not_after_timestamp_seconds": Rule.MIN,
    "gateway_jwks_fetched_timestamp_seconds": Rule.MIN,
    "gateway_workers": Rule.SUM,
    "gateway_workers_ready": Rule.SUM,
    "process_virtual_memory_bytes": Rule.SUM,
    "process_resident_memory_bytes": Rule.SUM,
    # The oldest process is the one that watches the others: when the whole was started.
    "process_start_time_seconds": Rule.MIN,
    "process_open_fds": Rule.SUM,
    "process_max_fds": Rule.SUM,
}
"""By name. A gauge without a line here is shown for EACH, which is never wrong but costs series."""

Key = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and its labels."""


def parse(exposition: str) -> list[Metric]:
    """The families of an exposition in FORMAT. Raises ValueError for anything else."""
    return list(text_string_to_metric_families(exposition))  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Part:
    """One process's families. `is_live`: whether its gauges still say something; what adds up counts in any case."""

    source: str
    families: Iterable[Metric]
    is_live: bool = True


def merge(parts: Iterable[Part]) -> list[Metric]:
    """One family for each name, in the order in which they are first met."""
    merged: dict[str, _Family] = {}
    for part in parts:
        for family in part.families:
            if part.is_live or family.type in ADDITIVE:
                merged.setdefault(family.name, _Family(family)).add(family, part.source)
    return [family.metric() for family in merged.values()]


def render(families: Iterable[Metric], accept: str = "") -> tuple[bytes, str]:
    """The exposition and its content type, as `Metrics.render`."""
    registry = CollectorRegistry()
    registry.register(_Collected(families))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class Merger:
    """Remembers what each process said last, and what those that have ended had counted. Not for several threads."""

    def __init__(self) -> None:
        self._latest: dict[str, list[Metric]] = {}
        self._ended: list[Metric] = []

    def update(self, source: str, families: Iterable[Metric]) -> None:
        """What `source` says now. Names of sources are few, and used again when another process takes the place."""
        self._latest[source] = list(families)

    def retire(self, source: str) -> None:
        """Its process has ended: keep what it had counted, so that no sum falls when its successor begins at zero."""
        families = self._latest.pop(source, [])
        self._ended = merge([Part("", self._ended, is_live=False), Part(source, families, is_live=False)])

    def parts(self, live: Collection[str]) -> list[Part]:
        """For `merge`, on any thread. `live`: those who have just been heard; of the others only the counts are used,
        so that one that does not answer this time lowers no sum either."""
        latest = [Part(source, families, source in live) for source, families in self._latest.items()]
        return [*latest, Part("", self._ended, is_live=False)]


@dataclass(slots=True)
class _Value:
    value: float
    exemplar: Exemplar | None


@dataclass(slots=True)
class _Family:
    first: Metric
    samples: dict[Key, _Value] = field(default_factory=dict)

    def add(self, family: Metric, source: str) -> None:
        for sample in family.samples:
            rule = self._rule(sample)
            labels = sample.labels | {WORKER: source} if rule is Rule.EACH else sample.labels
            key = (sample.name, tuple(sorted(labels.items())))
            known = self.samples.get(key)
            if known is None:
                self.samples[key] = _Value(sample.value, sample.exemplar)
            else:
                known.value = _combined(rule, known.value, sample.value)
                known.exemplar = _newer(known.exemplar, sample.exemplar)

    def _rule(self, sample: Sample) -> Rule:
        if self.first.type in ADDITIVE:
            return Rule.MIN if sample.name.endswith("_created") else Rule.SUM
        if self.first.type in ("info", "stateset"):
            return Rule.MAX
        return GAUGES.get(self.first.name, Rule.EACH)

    def metric(self) -> Metric:
        made = Metric(self.first.name, self.first.documentation, self.first.type, self.first.unit)
        for (name, labels), found in self.samples.items():
            made.add_sample(name, dict(labels), found.value, exemplar=found.exemplar)
        return made


def _combined(rule: Rule, one: float, other: float) -> float:
    if rule is Rule.MAX:
        return max(one, other)
    if rule is Rule.MIN:
        return min(one, other)
    return one + other


def _newer(one: Exemplar | None, other: Exemplar | None) -> Exemplar | None:
    """An exemplar without a time is older than any."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda exemplar: float(exemplar.timestamp or 0))


class _Collected(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families
