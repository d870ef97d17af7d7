"""All fault tests, by number, with what each asks, and how they are run one after the other."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from loadtest.chaos import (
    cancelling,
    clients,
    clocks,
    disks,
    fleets,
    models,
    overloads,
    reloads,
    soaking,
    stopping,
    stores,
    versions,
)
from loadtest.chaos.verdicts import FaultTest, Lacking, Terms, Verdict

PATIENCE, SHORT_PATIENCE = 7200.0, 120.0
"""Seconds after which a test that still runs has failed."""
PASS, FAIL, NOT_RUN = "pass", "FAIL", "not run"
TESTS = (
    FaultTest(
        1,
        "load held",
        "70 % of capacity for 10 min: 0 failed; p99 in the target; the last third's p99 <= 1.15x the first's",
        overloads.held,
    ),
    FaultTest(
        2,
        "overload",
        "2x, 5x, 10x: goodput >= 90, 85, 70 % of capacity; accepted p99 <= 1.5x target; refused <= 20 ms at 2x; memory "
        "<= 1.1x; as before afterwards",
        overloads.beyond,
    ),
    FaultTest(3, "kill -9 while writing", "0 acknowledged lost, 0 by half; ready within 5 s", disks.killed),
    FaultTest(
        4,
        "a write or sync fails",
        "the write is refused, never OK; readers notice nothing",
        disks.failing,
    ),
    FaultTest(5, "disk full, then room", "readers notice nothing; written to within 5 s, no restart", disks.full),
    FaultTest(
        6,
        "model raises, or is no number",
        "one bad pass fails alone; search answers, marked; 0 UNKNOWN or INTERNAL; asked again 5 s after it is mended",
        models.failing,
    ),
    FaultTest(
        7, "GPU not there, or lost", "refuses in one line, or serves on the CPU and says so", fleets.without_device
    ),
    FaultTest(
        8,
        "model hangs for 30 s",
        "deadlines kept to 20 ms; event loop late by < 20 ms in 99 %; not live after 10 s",
        models.hanging,
    ),
    FaultTest(9, "files damaged", "noticed, or rebuilt; nothing damaged is served; no crash", disks.damaged),
    FaultTest(10, "clock jumps", "by an hour and a year, both ways: deadlines and quotas as ever", clocks.jumps),
    FaultTest(
        11,
        "slow, stalled and vanished clients",
        "neighbours' p99 <= 1.1x; <= 1 MB for a stream not read; vanished ones are gone within 75 s",
        clients.slow,
    ),
    FaultTest(
        12,
        "too large, too long, no text",
        "RESOURCE_EXHAUSTED or INVALID_ARGUMENT; neighbours' p99 <= 1.1x; memory <= 8 MB more",
        clients.oversized,
    ),
    FaultTest(13, "malformed bytes", "0 UNKNOWN or INTERNAL, nothing inner told, it goes on", clients.malformed),
    FaultTest(14, "deadline already passed", "DEADLINE_EXCEEDED, and 0 tokens computed for them", cancelling.expired),
    FaultTest(
        15,
        "connection flood",
        "2,000 idle, 500/s that come and go, handshakes never ended: neighbours' p99 <= 1.1x; <= 50 kB each; all given "
        "back",
        clients.flooded,
    ),
    FaultTest(
        16,
        "cancel storm",
        "half of 100,000 calls cancelled: none in flight within 2 s, tasks as before, memory < 1 MB for 10,000",
        cancelling.storm,
    ),
    FaultTest(
        17, "broken bundles under load", "refused with the reason; 0 calls fail; the old one serves", reloads.broken
    ),
    FaultTest(
        18,
        "certificate rotation under load",
        "0 calls fail; the new one is shown; a bad pair is counted, and the old one stays",
        reloads.rotated,
    ),
    FaultTest(
        19,
        "search down, or slow",
        "confident answers 100 %; others degraded or abstained; nothing cited that no article says",
        stores.down,
    ),
    FaultTest(20, "workers killed and stopped", "replaced; 0 failed by default retries", fleets.workers),
    FaultTest(21, "SIGTERM under load, and twice", "0 failed by default retries; exit code 0 in time", stopping.ended),
    FaultTest(
        22,
        "soak",
        "30 min mixed: memory, descriptors, tasks and threads flat; planted leaks are caught",
        soaking.soak,
    ),
    FaultTest(
        23,
        "history of writes",
        "who knows of a write sees it; nothing deleted comes back; versions never go back",
        stores.history,
    ),
    FaultTest(
        24,
        "batch invariance",
        "alone or in any batch: the same label and decision, confidence within 0.001",
        models.invariant,
    ),
    FaultTest(25, "mixed versions", "the API and the folder of the commit before its last change work", versions.mixed),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One test, and what came of it."""

    number: int
    name: str
    criterion: str
    result: str
    seen: list[str]
    faults: list[str]
    unjudged: list[str]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


async def run(tests: Sequence[FaultTest], terms: Terms, tell: Callable[[Line], None] = lambda line: None) -> list[Line]:
    """Each in a folder of its own; `tell` hears of each that is done. What a test raises fails that one alone."""
    lines = []
    for test in tests:
        folder = terms.folder / f"test-{test.number}"
        folder.mkdir()
        lines.append(await _run(test, replace(terms, folder=folder)))
        shutil.rmtree(folder, ignore_errors=True)
        tell(lines[-1])
    return lines


async def _run(test: FaultTest, terms: Terms) -> Line:
    began = time.monotonic()
    try:
        async with asyncio.timeout(terms.of(SHORT_PATIENCE, PATIENCE)):
            verdict = await test.run(terms)
        result = FAIL if verdict.faults else PASS
    except Lacking as lacking:
        verdict, result = Verdict(unjudged=[str(lacking)]), NOT_RUN
    except Exception as error:  # noqa: BLE001 - a test that breaks has failed, and the next goes on
        verdict, result = Verdict(faults=[f"{type(error).__name__}: {error}"]), FAIL
    seconds = round(time.monotonic() - began, 1)
    return Line(test.number, test.name, test.criterion, result, verdict.seen, verdict.faults, verdict.unjudged, seconds)
