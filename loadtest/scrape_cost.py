"""What a scrape of a busy replica costs those who ask meanwhile: windows with and without scrapes, in turn."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np

from loadtest.chaos.neighbours import neighbours
from loadtest.chaos.serving import Served, fetched, served
from loadtest.chaos.verdicts import Terms

CLIENTS = 4
SETTLE = 3.0
"""Seconds of load before the first window."""
RESAMPLES = 1000


@dataclass(slots=True)
class Scraped:
    """Latencies in milliseconds from when each question was due, by window; `took` is of the scrapes."""

    quiet: list[list[float]] = field(default_factory=list)
    scraped: list[list[float]] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    size: int = 0
    failed: int = 0

    @staticmethod
    def percentile(windows: list[list[float]], percent: float) -> float:
        return float(np.percentile(np.concatenate([np.array(one) for one in windows]), percent))

    def added(self, percent: float) -> float:
        return self.percentile(self.scraped, percent) - self.percentile(self.quiet, percent)

    def interval(self, percent: float, seed: int) -> tuple[float, float]:
        """95 %, by resampling pairs of windows."""
        chance, count = np.random.default_rng(seed), len(self.quiet)
        found = []
        for _ in range(RESAMPLES):
            drawn = chance.integers(0, count, count)
            found.append(
                self.percentile([self.scraped[one] for one in drawn], percent)
                - self.percentile([self.quiet[one] for one in drawn], percent)
            )
        low, high = np.percentile(found, [2.5, 97.5])
        return float(low), float(high)


async def measured(terms: Terms, rate: float, rounds: int, seconds: float, every: float) -> Scraped:
    """`rounds` windows of each kind, of so many seconds; in one of them a scrape `every` so many seconds."""
    found = Scraped()
    async with served(terms) as gateway, neighbours(terms, gateway.target, rate, clients=CLIENTS) as asked:
        await asyncio.sleep(SETTLE)
        spans: list[tuple[bool, float, float]] = []
        for number in range(rounds):
            for is_scraped in (False, True) if number % 2 else (True, False):
                began = time.perf_counter()
                if is_scraped:
                    await _scrape(gateway, found, began + seconds, every)
                else:
                    await asyncio.sleep(seconds)
                spans.append((is_scraped, began, time.perf_counter()))
    for is_scraped, since, until in spans:
        window = [1e3 * one.seconds for one in asked.within(since, until) if one.is_ok]
        (found.scraped if is_scraped else found.quiet).append(window)
    found.failed = asked.failed
    return found


async def _scrape(gateway: Served, found: Scraped, until: float, every: float) -> None:
    while (began := time.perf_counter()) < until:
        text = await asyncio.to_thread(fetched, f"http://{gateway.admin}/metrics")
        found.took.append(1e3 * (time.perf_counter() - began))
        found.size = len(text)
        await asyncio.sleep(max(0.0, min(every, until - began) - (time.perf_counter() - began)))
