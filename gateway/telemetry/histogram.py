"""A histogram that costs an answer little. It is exposed by prometheus_client, as all others.

That one's own takes two locks and walks along its buckets, 1.1 us for each observation, and an answer makes eleven. On
one thread no lock is needed, and bisection finds the bucket: 0.25 us.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString


class Child:
    """One series. `observe` is called on one thread; whoever reads meanwhile may miss the last observation."""

    __slots__ = ("_bounds", "counts", "created", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * len(bounds)  # of each bucket alone
        self.exemplars: list[Exemplar | None] = [None] * len(bounds)
        self.total = 0.0
        self.created = time.time()

    def observe(self, amount: float, exemplar: Mapping[str, str] | None = None) -> None:
        """`exemplar`: labels of what was observed, kept until the next one of the same bucket."""
        at = bisect_left(self._bounds, amount)
        self.counts[at] += 1
        self.total += amount
        if exemplar is not None:
            self.exemplars[at] = Exemplar(dict(exemplar), amount, time.time())


class Histogram(Collector):
    """Buckets are up to and including their bound; the last one, without a bound, is added."""

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: Iterable[str],
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._help = help_text
        self.label_names = tuple(labels)
        self._bounds = (*buckets, math.inf)
        self._shown = [str(floatToGoString(bound)) for bound in self._bounds]  # type: ignore[no-untyped-call]
        self._children: dict[tuple[str, ...], Child] = {}
        registry.register(self)

    def labels(self, *values: str) -> Child:
        """The series of these label values, from now on exposed."""
        if len(values) != len(self.label_names):
            raise ValueError(f"{self._name} has the labels {self.label_names}, and was given {values}")
        return self._children.setdefault(values, Child(self._bounds))

    def describe(self) -> Iterable[HistogramMetricFamily]:
        return [HistogramMetricFamily(self._name, self._help, labels=self.label_names)]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._help, labels=self.label_names)
        for values, child in self._children.copy().items():
            self._add(family, values, child)
        return [family]

    def _add(self, family: HistogramMetricFamily, values: tuple[str, ...], child: Child) -> None:
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        seen = 0
        for shown, count, exemplar in zip(self._shown, child.counts, child.exemplars, strict=True):
            seen += count
            buckets.append((shown, seen) if exemplar is None else (shown, seen, exemplar))
        family.add_metric(values, buckets, child.total)
        family.add_sample(f"{self._name}_created", dict(zip(self.label_names, values, strict=True)), child.created)
