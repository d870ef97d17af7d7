"""The page of all metrics, from the registries that make them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from gateway.telemetry.metrics import Metrics
from gateway.telemetry.supervision import WorkerMetrics

HEAD = """# Metrics

What `/metrics` of the admin port says. Of several workers a counter or histogram is the sum; what becomes of a gauge
is in [`merging.py`](../gateway/telemetry/merging.py). No label holds a question, a caller or a
request: but for the names of collections, issuers and of the bundle, which are an operator's, every value is from a
list in the code. A histogram has `_bucket`, `_sum` and `_count`. Written by `python -m deploy.monitoring`.

| metric | type | labels | what it says |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One metric, by the name that a query has."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help_text: str


def entries() -> list[Entry]:
    """Of a server, and of what watches the workers; those that both have once. In the order of the code."""
    found = {one.name: one for registry in (Metrics().registry, WorkerMetrics(1).registry) for one in _of(registry)}
    return list(found.values())


def _of(registry: CollectorRegistry) -> Iterator[Entry]:
    # The library has no public way to list instruments with their label names; `collect` tells only of series that are.
    for collector in registry._collector_to_names:
        names = "label_names" if hasattr(collector, "label_names") else "_labelnames"
        labels = tuple(getattr(collector, names, ()))
        for family in collector.collect():
            suffix = "_total" if family.type == "counter" else ""
            yield Entry(family.name + suffix, family.type, labels, family.documentation)


def page() -> str:
    """Markdown."""
    return HEAD + "".join(
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels) or '-'} | {one.help_text} |\n"
        for one in entries()
    )
