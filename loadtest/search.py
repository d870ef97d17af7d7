"""The highest rate that passes: bracketed by doubling or halving, then narrowed by bisection. Knows no server."""

from __future__ import annotations

import math
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

LOWEST = 0.5
"""Questions a second; a server that fails even there has no capacity."""
HIGHEST = 1_000_000.0
LATER_FACTOR = 1.25
"""How far repeats step while they know only passes, or only failures: they begin near the end."""


class Verdict(Protocol):
    """What a trial at one rate came to."""

    @property
    def passed(self) -> bool: ...


V = TypeVar("V", bound=Verdict)


@dataclass(slots=True)
class Search(Generic[V]):
    """One search: the highest rate that passed (0: none did), the lowest above it that failed, and every trial."""

    passed: float = 0.0
    failed: float = math.inf
    trials: list[V] = field(default_factory=list)


async def search(
    trial: Callable[[float], Awaitable[V]],
    start: float,
    tolerance: float,
    factor: float = 2.0,
    is_cold: bool = False,
) -> Search[V]:
    """Try rates until the highest that passed and the lowest that failed differ by at most `tolerance` (0.05: 5 %).

    `start` is the first rate, `factor` how far the next one is while only passes, or only failures, are known. A trial
    that fails by bad luck makes the result too low, never too high: repeat the search and take the median. `is_cold`:
    the server has just started, so the first trial is made again if it fails; a bound at `start` would stay for good.
    """
    found: Search[V] = Search()

    async def passes(rate: float) -> bool:
        verdict = await trial(rate)
        found.trials.append(verdict)
        if verdict.passed:
            found.passed = rate
            found.failed = math.inf if found.failed <= rate else found.failed
        else:
            found.failed = rate
        return verdict.passed

    rate = start
    if await passes(rate) or (is_cold and await passes(rate)):
        while rate < HIGHEST and await passes(rate := rate * factor):
            pass
    else:
        while rate > LOWEST and not await passes(rate := rate / factor):
            pass
    while found.passed and found.failed < math.inf and found.failed > found.passed * (1 + tolerance):
        await passes(math.sqrt(found.passed * found.failed))
    return found


@dataclass(frozen=True, slots=True)
class Capacity(Generic[V]):
    """The capacity of a server, from searches that were repeated, in questions a second."""

    searches: tuple[Search[V], ...]

    @property
    def rates(self) -> tuple[float, ...]:
        return tuple(search.passed for search in self.searches)

    @property
    def median(self) -> float:
        return statistics.median(self.rates)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest of the repeats."""
        return min(self.rates), max(self.rates)


async def repeated(
    trial: Callable[[float, int], Awaitable[V]], start: float, tolerance: float, repeats: int
) -> Capacity[V]:
    """So many searches; `trial` is called with the rate and the number of the repeat. Later ones begin at the first's
    result and take smaller steps."""

    def numbered(number: int) -> Callable[[float], Awaitable[V]]:
        return lambda rate: trial(rate, number)

    first = await search(numbered(0), start, tolerance, is_cold=True)
    again = first.passed or start
    more = [await search(numbered(number), again, tolerance, LATER_FACTOR) for number in range(1, repeats)]
    return Capacity((first, *more))
