"""Test 21: a gateway that is told to stop, once and twice, and signals that come in a storm."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from loadtest.chaos.neighbours import neighbours
from loadtest.chaos.serving import Served, served
from loadtest.chaos.verdicts import Terms, Verdict
from loadtest.processes import PROC

DRAIN = {"GATEWAY_SERVER__DRAIN_DELAY_SECONDS": "1"}
SLOW_DRAIN = {"GATEWAY_SERVER__DRAIN_DELAY_SECONDS": "60"}
GRACE = 25.0 + 1.0 + 1.0
"""Seconds until it has to be gone: what calls may take, the delay before, and one."""
AT_ONCE = 5.0
"""The same after a second signal, on a slow machine."""
HANGUPS = 50


async def ended(terms: Terms) -> Verdict:
    verdict = Verdict()
    async with served(terms, environment=DRAIN) as leaves, served(terms) as stays:
        # As behind a balancer, or with two addresses of one name: clients ask both in turn.
        both = f"ipv4:127.0.0.1:{leaves.port},127.0.0.1:{stays.port}"
        async with neighbours(terms, both, terms.of(10.0, 200.0)) as found:
            await asyncio.sleep(terms.of(1.0, 10.0))
            began = time.monotonic()
            leaves.process.terminate()
            code = await leaves.process.ended(GRACE)
            seconds = time.monotonic() - began
            await asyncio.sleep(terms.of(1.0, 10.0))
        verdict.saw(f"one of two was ended: exit code {code} after {seconds:.1f} s; {found.said()}")
        verdict.check(code == 0, f"the exit code is {code}")
        verdict.check(found.failed == 0, f"calls failed by default retries: {dict(found.codes)}")
        await _hung_up(terms, verdict, stays)
    async with served(terms, environment=SLOW_DRAIN) as gateway:
        gateway.process.terminate()
        await asyncio.sleep(0.5)
        verdict.check(not gateway.process.has_ended, "it has not waited for balancers to see that it is not ready")
        verdict.check(not await gateway.is_ready(), "it is ready while it drains")
        began = time.monotonic()
        gateway.process.terminate()
        code = await gateway.process.ended(AT_ONCE)
        verdict.saw(f"told twice: exit code {code} after {time.monotonic() - began:.1f} s more")
        verdict.check(code == 0, f"told twice, the exit code is {code}")
    return verdict


async def _hung_up(terms: Terms, verdict: Verdict, gateway: Served) -> None:
    """SIGHUP after SIGHUP, under load: settings are read again and again."""
    if not _catches(gateway, signal.SIGHUP):
        verdict.unjudged.append("SIGHUP, which this gateway leaves to its default")
        return
    async with neighbours(terms, gateway.target) as found:
        for _ in range(HANGUPS):
            os.kill(gateway.process.pid, signal.SIGHUP)
            await asyncio.sleep(terms.of(0.02, 0.2))
        gateway.process.check()
    verdict.saw(f"{HANGUPS} SIGHUP: {found.said()}")
    verdict.check(found.failed == 0, f"by SIGHUP calls failed: {dict(found.codes)}")


def _catches(gateway: Served, number: signal.Signals) -> bool:
    """Whether that process has a handler for it."""
    (line,) = (
        one for one in (PROC / str(gateway.process.pid) / "status").read_text().splitlines() if one.startswith("SigCgt")
    )
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
