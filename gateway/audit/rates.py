"""The error rate of each route, from the tally of what was drawn and judged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby

from gateway.audit.cases import Tally
from gateway.audit.estimate import Stratum, estimate, interval, lower_bound
from gateway.types import ErrorRate

MOST_DAYS = 64
"""The last days on which something was drawn, each of which the rate may have risen on, beside the first of all."""


def rates(tallies: Iterable[Tally]) -> list[ErrorRate]:
    """One for each route of one bundle's tallies, which are in the order of their days."""
    by_route: defaultdict[str, list[Tally]] = defaultdict(list)
    for one in tallies:
        by_route[one.route].append(one)
    return [_rate(route, some) for route, some in by_route.items()]


def _rate(route: str, tallies: Sequence[Tally]) -> ErrorRate:
    whole = added(one.stratum for one in tallies)
    bounds = interval(whole)
    days = [list(some) for _, some in groupby(tallies, key=lambda one: one.day)]
    starts = range(max(1, len(days) - MOST_DAYS), len(days))
    since = {start + 1: added(one.stratum for day in days[start:] for one in day) for start in (0, *starts)}
    return ErrorRate(
        route=route,
        drawn=sum(one.drawn for one in whole),
        judged=sum(one.judged for one in whole),
        wrong=sum(one.wrong for one in whole),
        estimate=estimate(whole),
        lower=bounds.lower,
        upper=bounds.upper,
        lower_since=lower_bound(since),
    )


def added(strata: Iterable[Stratum]) -> list[Stratum]:
    """One for each propensity."""
    by_propensity: dict[float, Stratum] = {}
    for one in strata:
        before = by_propensity.get(one.propensity, Stratum(one.propensity, 0, 0, 0))
        by_propensity[one.propensity] = Stratum(
            one.propensity, before.drawn + one.drawn, before.judged + one.judged, before.wrong + one.wrong
        )
    return list(by_propensity.values())
