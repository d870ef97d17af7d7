"""Test 22: all of it mixed for half an hour, and nothing grows; and a leak that was planted is caught."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gateway.client import AsyncClient, CallFailed, Editor
from gateway.types import Document, Principal
from loadtest.chaos.inside import BYTES, KINDS, LEAK
from loadtest.chaos.neighbours import TEXTS, neighbours
from loadtest.chaos.serving import BUNDLE, Served, served, stored
from loadtest.chaos.verdicts import Terms, Verdict

WARM = 0.5
"""Of the time, before growth counts: caches fill, and the allocator has an arena more for some of the first swaps. What
levels off by then is no leak; what does not, is."""
WINDOWS = 6
"""Of the time that counts, each with moments in which nothing is being loaded. See `Series.growth`."""
NOISE = 0.02
"""Of what a process holds of memory in the median, which it may seem to grow by over the time that counts."""
SHORT_NOISE = 0.15
"""The same of seconds instead of minutes, in which arenas are still added. The planted leak is so much larger there."""
BUSY = ("UNAVAILABLE OVERLOADED", "DEADLINE_EXCEEDED BUDGET", "DEADLINE_EXCEEDED DEADLINE_EXCEEDED")
"""How questions end where there is no time for them: on cores that others use, that says nothing of the gateway."""
MANY = 8
"""Descriptors and tasks by which the number may differ between the beginning and the end: connections come and go."""
TENANT, COLLECTION = "soak", "notes"
DOCUMENTS = 200


@dataclass(slots=True)
class Series:
    """A number that must stay flat, by the second."""

    at: list[float] = field(default_factory=list)
    of: list[float] = field(default_factory=list)

    def add(self, at: float, value: float) -> None:
        self.at.append(at)
        self.of.append(value)

    def settled(self) -> tuple[np.ndarray, np.ndarray]:
        """Without what was before the end of the warm-up."""
        at, of = np.array(self.at), np.array(self.of)
        counts = at >= at[0] + WARM * (at[-1] - at[0])
        return at[counts], of[counts]

    def growth(self) -> float:
        """What its floor has grown by over the time that counts: the slope of Theil and Sen through the least of each
        window, times the length. Two bundles in memory during a swap, and the tasks of calls in hand, come and go; a
        leak stays."""
        at, of = self.settled()
        parts = [part for part in np.array_split(np.arange(len(at)), WINDOWS) if len(part)]
        least = np.array([part[np.argmin(of[part])] for part in parts])
        first, second = np.triu_indices(len(least), 1)
        slopes = (of[least[second]] - of[least[first]]) / (at[least[second]] - at[least[first]])
        return float(np.median(slopes) * (at[-1] - at[0]))


@dataclass(slots=True)
class Soaked:
    rss: Series = field(default_factory=Series)
    descriptors: Series = field(default_factory=Series)
    tasks: Series = field(default_factory=Series)
    threads: Series = field(default_factory=Series)

    def sample(self, gateway: Served, at: float) -> None:
        self.rss.add(at, gateway.rss())
        self.descriptors.add(at, gateway.descriptors())
        self.tasks.add(at, gateway.tasks())
        self.threads.add(at, gateway.threads())

    def grown(self, noise: float) -> list[str]:
        """What is not flat."""
        _, rss = self.rss.settled()
        allowed = noise * float(np.median(rss))
        found = []
        if (growth := self.rss.growth()) > allowed:
            found.append(f"memory grew by {growth / 2**20:.1f} MB, noise is {allowed / 2**20:.1f} MB")
        for name, series in (("descriptors", self.descriptors), ("tasks", self.tasks), ("threads", self.threads)):
            if (growth := series.growth()) > MANY:
                found.append(f"{name} grew by {growth:.0f}")
        return found

    def said(self, seconds: float) -> str:
        _, rss = self.rss.settled()
        hour = 3600 / ((1 - WARM) * seconds)
        return (
            f"{seconds / 60:.1f} min: {np.median(rss) / 2**20:.0f} MB, {self.rss.growth() / 2**20:+.2f} MB after the "
            f"warm-up ({self.rss.growth() * hour / 2**20:+.1f} MB/h); descriptors {self.descriptors.growth():+.0f}, "
            f"tasks {self.tasks.growth():+.0f}, threads {self.threads.growth():+.0f}"
        )


async def soak(terms: Terms) -> Verdict:
    verdict = Verdict()
    seconds = terms.of(24.0, 60.0 * terms.soak_minutes)
    noise = terms.of(SHORT_NOISE, NOISE)
    soaked, codes = await _soaked(terms, seconds, "", verdict)
    verdict.saw(soaked.said(seconds))
    verdict.faults += soaked.grown(noise)
    others = {code: count for code, count in codes.items() if code != "OK" and code not in BUSY}
    verdict.check(not others, f"questions were not answered: {others}")
    refused = sum(codes.get(code, 0) for code in BUSY)
    verdict.check_time(terms, refused == 0, f"{refused} questions were refused as too many")
    for kind in terms.of(("memory",), KINDS):
        leaked, _ = await _soaked(terms, terms.of(10.0, min(120.0, 15.0 * terms.soak_minutes)), kind, verdict)
        caught = leaked.grown(noise)
        verdict.saw(f"planted leak of {kind}: {'; '.join(caught) or 'not noticed'}")
        verdict.check(any(one.startswith(kind) for one in caught), f"the planted leak of {kind} was not caught")
    return verdict


async def _soaked(terms: Terms, seconds: float, leak: str, verdict: Verdict) -> tuple[Soaked, dict[str, int]]:
    planted = {LEAK: leak, BYTES: str(terms.of(1 << 20, 64 << 10))} if leak else {}
    folder = terms.folder / f"stored-{leak}"
    async with served(terms, environment=stored(folder) | planted) as gateway:
        soaked = Soaked()
        await asyncio.sleep(2.0)  # until it has told of its tasks
        async with neighbours(terms, gateway.target) as found:
            began = time.monotonic()
            beside = [
                asyncio.create_task(work)
                for work in (
                    asyncio.to_thread(_write, gateway.target, began + seconds),
                    _cancel(gateway.target, began + seconds),
                    _swap(gateway, began + seconds, terms.of(4.0, min(60.0, seconds / 12))),
                )
            ]
            while (at := time.monotonic() - began) < seconds:
                soaked.sample(gateway, at)
                gateway.process.check()
                await asyncio.sleep(max(0.5, seconds / 600))
            writes, cancelled, swaps = await asyncio.gather(*beside)
        if not leak:
            verdict.saw(f"{len(found.asked)} questions, {writes} writes, {cancelled} cancelled calls, {swaps} swaps")
        return soaked, dict(found.codes)


def _write(target: str, until: float) -> int:
    """Documents again and again, and every tenth time one is deleted, until then."""
    with Editor(target, Principal(TENANT), timeout=30.0) as editor:
        editor.create(COLLECTION)
        for number in itertools.count():
            if time.monotonic() > until:
                return number
            name = f"d{number % DOCUMENTS}"
            with contextlib.suppress(CallFailed):  # refused, as questions may be; those are counted
                editor.upsert(COLLECTION, [Document(name, f"Note {number}", "", "", f"This is note {number}.", "")])
                if number % 10 == 9:
                    editor.delete(COLLECTION, [name])
            time.sleep(0.1)
    return 0


async def _cancel(target: str, until: float) -> int:
    """Calls that are given up at a random moment."""
    chance, cancelled = random.Random(5), 0  # noqa: S311 - a sample, no secret
    client = AsyncClient(target, timeout=5.0)
    try:
        while time.monotonic() < until:
            call = asyncio.create_task(client.answer(chance.choice(TEXTS)))
            await asyncio.sleep(chance.uniform(0, 0.01))
            call.cancel()
            # gRPC may refuse a call itself where many have just been cancelled.
            with contextlib.suppress(asyncio.CancelledError, CallFailed):
                await call
            cancelled += call.cancelled()
            await asyncio.sleep(0.05)
    finally:
        await client.close()
    return cancelled


async def _swap(gateway: Served, until: float, every: float) -> int:
    """The bundle by itself, from its folder: all that loading and leaving one does."""
    swaps = 0
    while time.monotonic() + every < until:
        await asyncio.sleep(every)
        await asyncio.to_thread(gateway.control.swap, Path(BUNDLE))
        swaps += 1
    return swaps
