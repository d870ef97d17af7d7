"""Several generators, each a process: one of them, in Python, cannot ask as much as a GPU can answer."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import uvloop

from loadtest import subjects, trials
from loadtest.options import SWITCH_INTERVAL
from loadtest.trials import Terms, Trial

_runner: asyncio.Runner | None = None
"""Of a generator's process: gRPC wants one event loop for as long as it lives."""


class Generators:
    """Share every rate evenly. Make them with `generators`."""

    def __init__(self, pool: ProcessPoolExecutor, count: int) -> None:
        self._pool = pool
        self._count = count

    async def run_at(self, rate: float, address: str, protocol: str, terms: Terms, repeat: int = 0) -> Trial:
        """One run at `rate` in all. Raises whatever a generator does: NotAnswering for one that is not answered."""
        loop = asyncio.get_running_loop()
        parts = await asyncio.gather(
            *(
                loop.run_in_executor(
                    self._pool, _part, rate / self._count, address, protocol, _of(terms, number), repeat
                )
                for number in range(self._count)
            )
        )
        return merged(parts, rate)


@contextmanager
def generators(count: int) -> Iterator[Generators]:
    """So many processes, ended at the end."""
    context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
    with ProcessPoolExecutor(count, context, initializer=_begin) as pool:
        yield Generators(pool, count)


def merged(parts: Sequence[Trial], rate: float) -> Trial:
    """As if one generator had asked all: sums, and of what cannot be added the worst of any."""
    statuses = sum((Counter(part.statuses) for part in parts), Counter[str]())
    return Trial(
        rate=round(rate, 2),
        passed=all(part.passed for part in parts),
        faults=tuple(fault for part in parts for fault in part.faults),
        offered_per_second=round(sum(part.offered_per_second for part in parts), 2),
        ok_per_second=round(sum(part.ok_per_second for part in parts), 2),
        good_per_second=round(sum(part.good_per_second for part in parts), 2),
        p50_ms=_worst([part.p50_ms for part in parts]),
        p99_ms=_worst([part.p99_ms for part in parts]),
        statuses=dict(statuses),
        late_p99_ms=max(part.late_p99_ms for part in parts),
        generator_cpu=max(part.generator_cpu for part in parts),
        cpu_ms_per_answer=None,
    )


def _worst(milliseconds: Sequence[float | None]) -> float | None:
    """Nothing if one is unknown: it had no answer at all."""
    known = [one for one in milliseconds if one is not None]
    return max(known) if len(known) == len(milliseconds) else None


def _of(terms: Terms, number: int) -> Terms:
    """A generator's own questions, at its own times."""
    return replace(terms, seed=terms.seed + 1_000_003 * number)


def _begin() -> None:
    sys.setswitchinterval(SWITCH_INTERVAL)


def _part(rate: float, address: str, protocol: str, terms: Terms, repeat: int) -> Trial:
    global _runner
    if _runner is None:
        _runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    async def asked() -> Trial:
        async with subjects.opened(subjects.running(address, protocol), terms.channels) as server:
            return trials.judged(await trials.run_at(rate, server, terms, lambda _, __: None, repeat), rate)

    return _runner.run(asked())
