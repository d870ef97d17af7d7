"""Test 10: the wall clock jumps, while the monotonic one goes on."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

from gateway.client import AsyncClient, CallFailed
from loadtest.chaos.neighbours import TEXTS, neighbours
from loadtest.chaos.serving import served
from loadtest.chaos.verdicts import Lacking, Terms, Verdict

LIBRARY = "libfaketimeMT.so.1"
CACHED = 1
"""Seconds after which a jump has come, at most."""
DEADLINE, EARLY = 0.3, 0.05
"""Seconds of a call to a model that hangs for longer, and by which it may end before them."""
JUMPS = {
    "an hour on": "+3600",
    "an hour back": "-3600",
    "a year on": "+31536000",
    "a year back": "-31536000",
    "now": "+0",
}


async def jumps(terms: Terms) -> Verdict:
    verdict = Verdict()
    file = terms.folder / "offset"
    file.write_text("+0\n")
    # On a restart the rate limit's bucket would be full: it has to be by the clock that goes on.
    fake = {
        "LD_PRELOAD": _library(),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        # Not at every look at the clock: reading the file each time, a gateway cannot answer 40 questions a second.
        "FAKETIME_CACHE_DURATION": str(CACHED),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "GATEWAY_ADMISSION__TENANT_RATE": "1000",
    }
    async with served(terms, environment=fake) as gateway:
        before = (await gateway.status())["uptime_seconds"]
        async with neighbours(terms, gateway.target) as found:
            for offset in JUMPS.values():
                file.write_text(f"{offset}\n")
                await asyncio.sleep(terms.of(1.5 * CACHED, 20.0))
        verdict.saw(f"jumps: {', '.join(JUMPS)}; {found.said()}")
        verdict.check(found.failed == 0, f"questions were refused: {dict(found.codes)}")
        uptime = (await gateway.status())["uptime_seconds"] - before
        verdict.check(0 <= uptime < 3600, f"by the gateway's own clock that took {uptime:.0f} s")
        gateway.fail("model-run=sleep:1")
        await asyncio.sleep(0.05)
        file.write_text("-3600\n")
        async with AsyncClient(gateway.target) as client:
            began = time.monotonic()
            try:
                answer = await client.answer(TEXTS[0], timeout=DEADLINE)
                code = f"OK, by {answer.route}, {answer.reason}"
            except CallFailed as error:
                code = error.code
        seconds = time.monotonic() - began
        verdict.saw(f"a deadline of {DEADLINE} s, an hour back meanwhile: {code} after {seconds:.2f} s")
        # One that ends at once went by the clock that jumped, as much as one that never ends.
        verdict.check(
            code in ("DEADLINE_EXCEEDED", "UNAVAILABLE") and seconds >= DEADLINE - EARLY,
            f"a deadline of {DEADLINE} s ended by {code} after {seconds:.2f} s",
        )
    verdict.unjudged.append("tokens' exp against the wall clock, which the tests of callers hold to a clock of theirs")
    return verdict


def _library() -> str:
    """Raises Lacking where it is not installed."""
    command = shutil.which("faketime")
    found = sorted(Path("/usr/lib").glob(f"*/faketime/{LIBRARY}")) if command else []
    if not found:
        raise Lacking("there is no libfaketime (Debian: apt-get install faketime)")
    return str(found[0])
