"""Tests 7 and 20: a device that is not there, and workers that are killed or stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time

from gateway.client import AsyncClient
from loadtest.chaos.neighbours import TEXTS, neighbours
from loadtest.chaos.serving import Served, served, started
from loadtest.chaos.verdicts import Terms, Verdict
from loadtest.processes import PROC, ServerFailed, read_stat

BACK = 60.0
"""Seconds until a worker that was killed has been replaced."""
SHORT_STOP = 3.0


async def without_device(terms: Terms) -> Verdict:
    verdict = Verdict()
    if shutil.which("nvidia-smi"):
        verdict.unjudged.append("a start without a GPU: there is one here")
    else:
        gateway = started(terms, "--device", "cuda")
        try:
            await gateway.process.ready(gateway.is_ready)
            verdict.faults.append("it is ready, though the GPU that was asked for is not there")
        except ServerFailed:
            words = gateway.process.last_words()
            verdict.saw(f"--device cuda without one: {words.splitlines()[-1][:160]}")
            verdict.check("Traceback" not in words, f"it ends with a traceback: {words[-300:]}")
        finally:
            await asyncio.to_thread(gateway.process.stop)
        async with served(terms, "--device", "auto") as auto:
            provider = (await auto.status())["provider"]
            verdict.saw(f"--device auto: {provider}")
            verdict.check(provider == "CPUExecutionProvider", f"without a GPU the provider is {provider}")
    verdict.unjudged.append(
        "a GPU that is lost while it serves: it takes one to lose; the engine's tests do it by a double"
    )
    return verdict


async def workers(terms: Terms) -> Verdict:
    verdict = Verdict()
    async with served(terms, "--workers", "2") as gateway:
        async with neighbours(terms, gateway.target, clients=8) as found:
            await asyncio.sleep(terms.of(1.0, 5.0))
            for _ in range(terms.of(1, 3)):
                before = workers_of(gateway)
                await _killed(verdict, gateway, before)
        # What a worker had in hand when it was killed fails unless gRPC tries it again; more must not.
        verdict.saw(f"SIGKILL of one of 2, {terms.of(1, 3)} times: {found.said()}")
        verdict.check(found.failed == 0, f"calls failed by default retries: {dict(found.codes)}")
        await _stopped(terms, verdict, gateway)
    return verdict


async def _killed(verdict: Verdict, gateway: Served, before: set[int]) -> None:
    os.kill(min(before), signal.SIGKILL)
    began = time.monotonic()
    while time.monotonic() - began < BACK:
        now = workers_of(gateway)
        if len(now) == len(before) and min(before) not in now and await gateway.is_ready():
            verdict.saw(f"replaced after {time.monotonic() - began:.1f} s")
            return
        await asyncio.sleep(0.1)
    verdict.faults.append(f"a killed worker is not replaced after {BACK:.0f} s")


async def _stopped(terms: Terms, verdict: Verdict, gateway: Served) -> None:
    """SIGSTOP: the kernel goes on giving it connections, so that only a balancer keeps callers away."""
    one = min(workers_of(gateway))
    os.kill(one, signal.SIGSTOP)
    try:
        async with neighbours(terms, gateway.target, clients=8) as found:
            await asyncio.sleep(terms.of(SHORT_STOP, 10.0))
            os.kill(one, signal.SIGCONT)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGCONT)
    verdict.saw(f"SIGSTOP of one of 2: {found.said()}")
    verdict.check(
        {one.code.split()[0] for one in found.asked} <= {"OK", "DEADLINE_EXCEEDED", "UNAVAILABLE"}, "other codes"
    )
    verdict.unjudged.append("that a stopped worker is ejected within 3 s: it takes a balancer in front")
    async with AsyncClient(gateway.target, timeout=20.0) as client:
        await client.answer(TEXTS[0])


def workers_of(gateway: Served) -> set[int]:
    """Processes that the supervisor has started."""
    pids = (int(one.name) for one in PROC.iterdir() if one.name.isdigit())
    stats = (read_stat(pid) for pid in pids)
    return {one.pid for one in stats if one is not None and one.parent == gateway.process.pid and not one.has_ended}
