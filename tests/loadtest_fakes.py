"""For tests of the load-testing harness: time that passes when nothing else can happen, and runs made by hand."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from loadtest.honesty import Limits, Observed
from loadtest.recorder import Recorder
from loadtest.results import Run, Sample
from loadtest.targets import OK, Outcome

T = TypeVar("T")

ANSWERED = Outcome(OK, "model", "confident", 0.002)
SHED = Outcome("UNAVAILABLE", reason="OVERLOADED")
IDLE_ROUNDS = 20
"""Turns of the event loop after which everything that can run without time passing has run."""


class SimulatedClock:
    """Fits loadtest.clock.Clock. Its time goes on to the next instant that anybody waits for, once all wait."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        """As if the process had not run meanwhile."""
        self._now += seconds

    async def until(self, instant: float) -> None:
        if instant > self._now:
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._count += 1
            heapq.heappush(self._waiting, (instant, self._count, woken))
            await woken

    async def drive(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(work)
        while not task.done():
            for _ in range(IDLE_ROUNDS):
                await asyncio.sleep(0)
            if not task.done():
                instant, _, woken = heapq.heappop(self._waiting)
                self._now = max(self._now, instant)
                if not woken.done():
                    woken.set_result(None)
        return await task


def observed(**changes: Any) -> Observed:
    """A generator that did well, but for `changes`."""
    good: dict[str, Any] = {
        "sent": 1000, "late_p99_ms": 0.1, "late_max_ms": 0.5, "cpu": 0.2, "unsent": 0, "steal": 0.0
    }  # fmt: skip
    return Observed(**(good | changes))


FACTS = {"processor": "Abacus x 2", "system": "Linux", "commit": "abc1234", "cores": 2, "versions": {"grpcio": "1"}}


def made_run(
    seconds: Sequence[Sequence[float]],
    shed: Sequence[int] = (),
    cpu: Sequence[float] = (),
    faults: tuple[str, ...] = (),
    server: str = "a server",
) -> Run:
    """A run of one load without warm-up: second k has OK answers of the latencies `seconds[k]` and `shed[k]` refusals;
    `cpu` is what the server had used at the start, after each second, and at the end."""
    recorder = Recorder(["all"], target=0.05, warmup=0)
    for number, latencies in enumerate(seconds):
        for latency in latencies:
            recorder.record(0, ANSWERED, number + 0.5, number + 0.5, number + 0.5 + latency)
    for number, count in enumerate(shed):
        for _ in range(count):
            recorder.record(0, SHED, number + 0.25, number + 0.25, number + 0.251)
    return Run(
        scenario={"name": "made", "summary": "made by hand", "capacity": None},
        server=server,
        when="2026-01-02T03:04:05+00:00",
        facts=FACTS,
        observed=observed(),
        limits=Limits(),
        faults=faults,
        seconds={"all": float(len(seconds))},
        recorder=recorder,
        samples=tuple(Sample(float(number), used, 2**20 * 100) for number, used in enumerate(cpu)),
    )
