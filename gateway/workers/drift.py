"""One worker's alarm is all workers': each compares its own questions alone, and the certificate is one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from gateway.errors import Unavailable
from gateway.workers.fleet import Fleet
from gateway.workers.process import Process, Reply

log = logging.getLogger(__name__)

PERIOD = 1.0
"""Seconds between two looks: so long the others go on by the thresholds that one has given up."""
SOON = 1.0
RESETTING = 30.0
"""Seconds for what takes a worker no time; it may have to wait for the processor."""

BUNDLE = "manifest_sha256"

Alarm = dict[str, Any]


class Key(NamedTuple):
    """What makes an alarm that one."""

    bundle: str
    monitor: str
    scope: str
    name: str


class Spreading:
    """Tells each worker of `fleet` the alarms of those that serve the same bundle. On the event loop."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._told: dict[Process, set[Key]] = {}
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(PERIOD)
            try:
                await self.spread()
            except Exception:
                log.exception("alarms of drift could not be told to all workers")

    async def spread(self) -> None:
        """Once."""
        async with self._lock:
            workers = self._fleet.ready()
            self._told = {one: told for one, told in self._told.items() if one in workers}
            statuses = dict(zip(workers, await asyncio.gather(*map(_status, workers)), strict=True))
            await asyncio.gather(*(self._tell(one, statuses) for one in workers if statuses[one]))

    async def reset(self) -> list[tuple[Process, Reply]]:
        """Have every worker begin anew. Raises Unavailable where one does not answer."""
        async with self._lock:  # what was heard before must not be told after
            workers = self._fleet.ready()
            self._told.clear()
            asked = (one.post("/drift", {"reset": True}, RESETTING) for one in workers)
            return list(zip(workers, await asyncio.gather(*asked), strict=True))

    async def _tell(self, worker: Process, statuses: dict[Process, dict[str, Any]]) -> None:
        own, told = statuses[worker], self._told.setdefault(worker, set())
        heard = {key: alarm for one in statuses.values() for key, alarm in _alarms(one) if key.bundle == own[BUNDLE]}
        news = heard.keys() - told - {key for key, _ in _alarms(own)}
        if not news:
            return
        body = {"alarms": [heard[key] for key in news], BUNDLE: own[BUNDLE]}
        try:
            reply = await worker.post("/drift", body, SOON)
        except Unavailable:
            return  # and is told the next time
        if reply.status == 200:
            told |= news


async def _status(worker: Process) -> dict[str, Any]:
    """Empty where it has none to give."""
    try:
        found = (await worker.get("/status", SOON)).json()
    except Unavailable:
        return {}
    return found if BUNDLE in found else {}


def _alarms(status: dict[str, Any]) -> Iterator[tuple[Key, Alarm]]:
    for alarm in (status.get("drift") or {}).get("alarms", ()):
        yield Key(status[BUNDLE], alarm["monitor"], alarm["scope"], alarm["name"]), alarm


def together(found: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """What the workers have found, each of its own questions: the farthest off of each, and every alarm once."""
    if not found:
        return None
    alarms: dict[object, Alarm] = {}
    for one in found:
        for alarm in one["alarms"]:
            alarms.setdefault((alarm["monitor"], alarm["scope"], alarm["name"]), alarm)
    evidence: dict[str, float] = {}
    readings: dict[str, dict[str, float]] = {}
    for one in found:
        for monitor, value in one["evidence"].items():
            evidence[monitor] = max(value, evidence.get(monitor, value))
        for test, reading in one["readings"].items():
            readings[test] = min(reading, readings.get(test, reading), key=lambda each: each["p_value"])
    return {
        **found[0],
        **{name: sum(one[name] for one in found) for name in ("questions", "skipped")},
        **{name: max(one[name] for one in found) for name in ("tenants", "collections")},
        "evidence": evidence,
        "readings": readings,
        "alarms": list(alarms.values()),
    }
