"""Servers and workers that end under load, told to or killed: what callers with the default client see of it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from loadtest.chaos.fleets import workers_of
from loadtest.chaos.neighbours import Neighbours, neighbours, percentile
from loadtest.chaos.serving import Served, served
from loadtest.chaos.verdicts import Terms

CLIENTS = 8
"""Connections: the kernel spreads those over the workers, and not calls."""
AROUND = 2.0
"""Seconds of load before and after."""
BACK = 30.0
"""Seconds within which a worker has to be there again."""
DELAY = {"GATEWAY_SERVER__DRAIN_DELAY_SECONDS": "1"}
"""Balancers are given 5 by default; these callers look at nothing but the connection."""


@dataclass(slots=True)
class Restarted:
    """All rounds of one way to end. `worst` is in milliseconds, from when a question was due to its answer; `away` the
    seconds until what ended was gone, or was replaced."""

    what: str
    rounds: int = 0
    calls: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    p99: float = 0.0
    worst: float = 0.0
    away: list[float] = field(default_factory=list)

    def add(self, found: Neighbours, away: float) -> None:
        self.rounds += 1
        self.calls += len(found.asked)
        for code, count in found.codes.items():
            if code != "OK":
                self.failed[code] = self.failed.get(code, 0) + count
        self.p99 = max(self.p99, round(1e3 * percentile(found.asked, 99), 1))
        self.worst = max(self.worst, round(1e3 * percentile(found.asked, 100), 1))
        self.away.append(round(away, 2))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


Ended = Callable[[], Awaitable[None]]


async def one_of_two_servers(terms: Terms, rate: float, rounds: int) -> Restarted:
    """SIGTERM to one of two that clients ask in turn, as behind a balancer or a name with two addresses."""
    done = Restarted("SIGTERM to one of two servers")
    for _ in range(rounds):
        async with served(terms, environment=DELAY) as leaves, served(terms) as stays:
            async with _asked(terms, f"ipv4:127.0.0.1:{leaves.port},127.0.0.1:{stays.port}", rate) as found:
                began = time.monotonic()
                leaves.process.terminate()
                code = await leaves.process.ended(BACK)
                away = time.monotonic() - began
            if code:
                done.failed[f"exit code {code}"] = 1
        done.add(found, away)
    return done


async def each_worker(terms: Terms, rate: float, rounds: int) -> Restarted:
    """SIGTERM to one worker after the other, whose place the supervisor fills."""
    return await _one_worker(terms, rate, rounds, Restarted("SIGTERM to one of two workers"), signal.SIGTERM)


async def killed_worker(terms: Terms, rate: float, rounds: int) -> Restarted:
    """SIGKILL. What it had in hand is lost with it, and asked again by the client."""
    return await _one_worker(terms, rate, rounds, Restarted("SIGKILL of one of two workers"), signal.SIGKILL)


WAYS = (one_of_two_servers, each_worker, killed_worker)


async def _one_worker(terms: Terms, rate: float, rounds: int, done: Restarted, how: signal.Signals) -> Restarted:
    async with served(terms, "--workers", "2", environment=DELAY) as gateway:
        for _ in range(rounds):
            before = workers_of(gateway)
            async with _asked(terms, gateway.target, rate) as found:
                began = time.monotonic()
                os.kill(min(before), how)
                if not await _is_replaced(gateway, before):
                    done.failed["not replaced"] = done.failed.get("not replaced", 0) + 1
                away = time.monotonic() - began
            done.add(found, away)
    return done


async def _is_replaced(gateway: Served, before: set[int]) -> bool:
    began = time.monotonic()
    while time.monotonic() - began < BACK:
        now = workers_of(gateway)
        if len(now) == len(before) and min(before) not in now and await gateway.is_ready():
            return True
        await asyncio.sleep(0.1)
    return False


@asynccontextmanager
async def _asked(terms: Terms, target: str, rate: float) -> AsyncIterator[Neighbours]:
    async with neighbours(terms, target, rate, clients=CLIENTS) as found:
        await asyncio.sleep(AROUND)
        yield found
        await asyncio.sleep(AROUND)
