"""How long the garbage collector stops the process: all of its threads, and every question that is under way."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry

from gateway.telemetry.histogram import Histogram

PAUSES = tuple(ms / 1000 for ms in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200))
"""Seconds."""
GENERATIONS = 3


class PauseMetrics:
    """Made once a process; counts only within `watched`. Collections never overlap, so that one start is enough."""

    def __init__(self, registry: CollectorRegistry) -> None:
        pauses = Histogram(
            "gateway_gc_pause_seconds",
            "How long a collection of garbage stopped the process.",
            ("generation",),
            PAUSES,
            registry,
        )
        self._pauses = [pauses.labels(str(generation)) for generation in range(GENERATIONS)]
        self._started: float | None = None

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """The interpreter tells of every collection from here to the end of the block."""
        gc.callbacks.append(self._told)
        try:
            yield
        finally:
            gc.callbacks.remove(self._told)

    def _told(self, phase: str, info: Mapping[str, int]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._started = now
        elif self._started is not None:  # else it began before anybody listened
            self._pauses[min(info["generation"], GENERATIONS - 1)].observe(now - self._started)
            self._started = None
