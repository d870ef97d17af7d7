"""Circuit breakers on a clock that only the simulation moves: seeded outages, callers that come, fail, leave and hang.

A seed that fails is in the test's name, which plays it again; `make simulate SIMULATED=2000` plays more of them.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
from dataclasses import dataclass, field

import pytest

from gateway.cascade.breaker import FAILURES, FIRST_PAUSE, LAST_PAUSE, PROBE_SECONDS, Breaker
from gateway.types import BreakerState, Tier

SEEDS = int(os.environ.get("SIMULATED", "24"))
SECONDS = 120.0
RATE = 20.0
"""Callers a second."""
SLOWEST = 0.3
"""Seconds until it is heard how a call went."""


@dataclass
class World:
    """`outages`: from when until when every call fails. `left`: of the callers, the share of which nothing is heard."""

    chance: random.Random
    left: float
    now: float = 0.0
    outages: list[tuple[float, float]] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def is_out(self, at: float) -> bool:
        return any(start <= at < end for start, end in self.outages)


def played(seed: int) -> tuple[World, Breaker, list[tuple[float, BreakerState]]]:
    """A world that has ended, with the states that the breaker was in, from when on."""
    chance = random.Random(seed)
    world = World(chance, left=chance.choice((0.0, 0.05, 0.3)))
    at = 0.0
    while (at := at + chance.uniform(5, 30)) < SECONDS - 20:
        world.outages.append((at, at := at + chance.choice((0.05, 0.5, 3.0, 12.0))))
    breaker = Breaker(Tier.MODEL, world)
    states = [(0.0, breaker.figures.state)]
    number = itertools.count()
    arrivals = itertools.accumulate(iter(lambda: chance.expovariate(RATE), None))
    events: list[tuple[float, int, str]] = [
        (one, next(number), "arrives") for one in itertools.takewhile(lambda one: one < SECONDS, arrivals)
    ]
    heapq.heapify(events)
    while events:
        world.now, _, what = heapq.heappop(events)
        if what == "arrives":
            if breaker.allows():
                world.asked.append(world.now)
                outcome = "left" if chance.random() < world.left else "fails" if world.is_out(world.now) else "works"
                heapq.heappush(events, (world.now + chance.uniform(0.001, SLOWEST), next(number), outcome))
            else:
                world.refused.append(world.now)
        elif what == "fails":
            breaker.failed()
        elif what == "works":
            breaker.succeeded()
        if breaker.figures.state is not states[-1][1]:
            states.append((world.now, breaker.figures.state))
    return world, breaker, states


@pytest.mark.parametrize("seed", range(SEEDS))
def test_an_outage_is_noticed_spares_the_tier_and_is_over_when_it_is(seed: int) -> None:
    world, breaker, states = played(seed)
    assert breaker.figures.state is BreakerState.CLOSED
    for start, end in world.outages:
        (_, at_the_end) = [one for one in states if one[0] <= end][-1]
        closed = (at for at, state in states if at >= end and state is BreakerState.CLOSED)
        over = end if at_the_end is BreakerState.CLOSED else next(closed, None)
        was_open = any(start <= at <= end + SLOWEST and state is BreakerState.OPEN for at, state in states)
        # Nobody waits longer than one pause, and one try of which nothing was heard, each time that this happens.
        most = LAST_PAUSE + SLOWEST + 0.5 + (6 * PROBE_SECONDS if world.left else 0.0)
        if was_open and not any(end <= other < end + most for other, _ in world.outages):
            assert over is not None
            assert over - end <= most, f"seed {seed}: closed {over - end:.2f} s after the end"
        if end - start >= 3 and world.left < 0.3:
            assert was_open, f"seed {seed}: an outage of {end - start} s was not noticed"
            # Callers who were let in before anybody had failed, and then one try after the other.
            tried = sum(start + 2 * SLOWEST <= at < end for at in world.asked)
            assert tried <= FAILURES + (end - start) / FIRST_PAUSE + 2 * RATE * SLOWEST
    for at in world.refused:
        near = [(start, end) for start, end in world.outages if start <= at <= end + LAST_PAUSE + SLOWEST + 6.5]
        assert near, f"seed {seed}: refused at {at:.2f}, when nothing was wrong"


def test_the_same_seed_plays_the_same() -> None:
    one, other = played(5), played(5)
    assert one[2] == other[2]
    assert one[0].asked == other[0].asked
