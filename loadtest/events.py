"""What is done to a server in the midst of a run, and what its callers noticed of it."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.admin import Admin, AdminFailed
from loadtest.clock import Clock
from loadtest.processes import Process, ServerFailed
from loadtest.recorder import Recorder, Second, percentiles
from loadtest.scenarios import SWAP, EventPart, ScenarioInvalid
from loadtest.subjects import Opened
from loadtest.targets import OK

SETTLE = 1
"""Whole seconds after an event that still belong to its window."""

Act = Callable[[], Awaitable[str]]
"""Does it, and says what came of it. Raises AdminFailed or ServerFailed."""


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of a run. Instants are seconds from the start of the run."""

    do: str
    began: float
    ended: float
    outcome: str
    """In words; empty if it failed."""
    failure: str = ""


def act(event: EventPart, opened: Opened, bundle: Path | None) -> Act:
    """How to do what `event` wants. Raises ScenarioInvalid, with what is missing for it.

    `bundle`: the folder that a swap puts in the place of what serves.
    """
    if event.do == SWAP:
        if opened.admin is None:
            raise ScenarioInvalid("a swap goes through the admin port: name it with --admin HOST:PORT, or use --serve")
        if bundle is None:
            raise ScenarioInvalid("which bundle is to be swapped in? Name its folder with --swap-to")
        return partial(_swap, opened.admin, bundle)
    if opened.process is None:
        raise ScenarioInvalid("a drain ends the server, so it has to be one that was started for it: use --serve")
    return partial(_drain, opened.process)


async def _swap(admin: Admin, bundle: Path) -> str:
    return f"{await asyncio.to_thread(admin.swap, bundle)} serves"


async def _drain(process: Process) -> str:
    process.terminate()
    code = await process.ended()
    if code:
        raise ServerFailed(f"the server ended with {code}: {process.last_words()}")
    return "the server has ended"


async def happen(event: EventPart, do: Act, clock: Clock, start: float) -> Happened:
    """Wait for its time, do it, and tell. A failure is told too, as the load goes on."""
    await clock.until(start + event.at)
    began = clock.now() - start
    outcome, failure = "", ""
    try:
        outcome = await do()
    except (AdminFailed, ServerFailed) as error:
        failure = str(error)
    return Happened(event.do, round(began, 3), round(clock.now() - start, 3), outcome, failure)


def noticed(happened: Sequence[Happened], recorder: Recorder) -> list[dict[str, Any]]:
    """Each event with the seconds around it: its window, from the one in which it began until SETTLE seconds after its
    end, and what was before it, since the warm-up or the window of the last one."""
    found = []
    since = math.ceil(recorder.warmup)
    for one in happened:
        first, after = int(one.began), math.ceil(one.ended) + SETTLE
        before, window = _numbers(recorder, range(since, first)), _numbers(recorder, range(first, after))
        found.append(asdict(one) | {"before": before, "window": window, "p99_ratio": _ratio(window, before)})
        since = after
    return found


def _numbers(recorder: Recorder, numbers: range) -> dict[str, Any]:
    parts = [series[number] for series in recorder.series.values() for number in numbers if number in series]
    statuses = sum((part.statuses for part in parts), Counter[str]())
    unsent = sum(part.unsent for part in parts)
    return {
        "seconds": [numbers.start, numbers.stop],
        "offered": statuses.total() + unsent,
        "errors": statuses.total() - statuses[OK] + unsent,
        "p50_ms": _percentile(parts, 50),
        "p99_ms": _percentile(parts, 99),
    }


def _percentile(parts: Sequence[Second], percent: float) -> float | None:
    """Milliseconds of the OK answers."""
    if not any(len(part.latency) for part in parts):
        return None
    counts = np.sum([part.latency.counts() for part in parts], axis=0)[None, :]
    return round(1e3 * float(percentiles(counts, parts[0].latency.bounds(), percent)[0]), 3)


def _ratio(window: dict[str, Any], before: dict[str, Any]) -> float | None:
    return round(window["p99_ms"] / before["p99_ms"], 4) if window["p99_ms"] and before["p99_ms"] else None
