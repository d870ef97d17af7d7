"""The instruments of the process that watches the workers. They are merged with theirs into one exposition."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.metrics_core import Metric


class WorkerMetrics:
    """Made once a process, for so many `workers`. On the event loop."""

    def __init__(self, workers: int) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Gauge("gateway_workers", "Workers that should run.", registry=self.registry).set(workers)
        self._ready = Gauge("gateway_workers_ready", "Workers that take questions.", registry=self.registry)
        restarts = Counter("gateway_worker_restarts_total", "Restarts.", ("worker",), registry=self.registry)
        self._restarts = [restarts.labels(str(number)) for number in range(workers)]

    def set_ready(self, workers: int) -> None:
        self._ready.set(workers)

    def restarted(self, worker: int) -> None:
        self._restarts[worker].inc()

    def families(self) -> Iterable[Metric]:
        """As they are now."""
        return list(self.registry.collect())
