"""From settings to the audit log of one worker; and what follows from the verdicts that it has taken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.audit.chain import DAY, MEGABYTE, Bounds
from gateway.audit.log import AuditLog, Terms
from gateway.audit.marks import Marker, key_of
from gateway.audit.rates import rates
from gateway.config import AuditSection
from gateway.errors import ConfigInvalid, StoreFailed
from gateway.rpc.service import Description
from gateway.types import Doubter, ErrorRate, Route

log = logging.getLogger(__name__)

PERIOD = 5.0
"""Seconds between two looks at what was judged: by whom, all workers see."""

OnRates = Callable[[Sequence[ErrorRate]], None]


class Doubtable(Protocol):
    """A gateway whose certificate can be marked stale. On the event loop."""

    def describe(self) -> Description: ...

    def doubt(self, manifest_sha256: str, reason: str, by: Doubter) -> None: ...


def audit_log(audit: AuditSection, worker: int) -> AuditLog | None:
    """That worker's, begun; None where none is to be kept. Raises ConfigInvalid."""
    if audit.folder is None:
        return None
    bounds = Bounds(audit.segment_mb * MEGABYTE, audit.max_mb * MEGABYTE, audit.keep_days * DAY)
    terms = Terms(audit.waiting, audit.sync_seconds, audit.text_tenants, bounds)
    try:
        audit.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return AuditLog(audit.folder, worker, Marker(key_of(audit.folder, audit.key), audit.share), terms)
    except (OSError, StoreFailed) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{error}; move it away, and estimates begin anew"
        raise ConfigInvalid(f"audit.folder = {audit.folder}: cannot be written ({reason})") from None


async def watch(audit: AuditLog, gateway: Doubtable, on_rates: OnRates, tightens: bool, period: float = PERIOD) -> None:
    """Tell the error rates of what serves, again and again, and have it doubted where they call for that. Until it is
    cancelled."""
    is_failing = False
    while True:
        try:
            await look(audit, gateway, on_rates, tightens)
            is_failing = False
        except Exception as error:  # nobody awaits this task: without it no verdict would ever tighten anything
            if not is_failing:
                log.error("error rates cannot be estimated now: %r", error, exc_info=not isinstance(error, StoreFailed))
            is_failing = True
        await asyncio.sleep(period)


async def look(audit: AuditLog, gateway: Doubtable, on_rates: OnRates, tightens: bool) -> None:
    """Once. Raises StoreFailed."""
    now = gateway.describe()
    counted_under = audit.serves(now.bundle, now.manifest_sha256)
    found = await asyncio.to_thread(lambda: rates(audit.tallies(counted_under)))
    on_rates(found)
    reason = doubt_of(found, now.certified_risk)
    if tightens and reason:
        gateway.doubt(now.manifest_sha256, reason, Doubter.FEEDBACK)


def doubt_of(found: Sequence[ErrorRate], promised: float) -> str:
    """Why the certificate that promises at most that error rate of the model's answers does not hold; empty if nothing
    tells so. Nothing was promised where that is 0."""
    for one in found:
        if one.route == Route.MODEL and 0 < promised < one.lower_since:
            return (
                f"of {one.drawn:,} of the model's answers that were drawn by chance {one.wrong:,} were judged wrong: "
                f"with 95 % it is wrong more often than in {100 * one.lower_since:.1f} %, and {100 * promised:g} % are "
                "promised"
            )
    return ""
