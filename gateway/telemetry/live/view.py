"""What a person is shown of counts: routes, the way from received to answered, latencies, confidences, refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.telemetry.live.counts import Counts
from gateway.telemetry.metrics import CONFIDENCE, LATENCY, NO_ROUTE, STAGE_LATENCY, Outcome, Rejection, Stage
from gateway.types import Route

AT_THE_DOOR = (Rejection.OVERLOAD, Rejection.DRAINING)
"""Of a call, before any of its questions is looked at: those are counted nowhere else."""
TWENTY = 20
"""Bars of confidences, each as wide as the others."""


def point(counted: Counts, seconds: float) -> dict[str, Any]:
    """One step of a time series: so many questions of each kind within `seconds`."""
    tree = _tree(counted)
    return {
        "seconds": round(seconds, 3),
        "routes": _routes(tree),
        "failed": _funnel(tree)["failed"],
        "refused": sum(tree.get("refused", {}).values()),
        "latency": _latency(tree),
        "lag": _quantiles(tree.get("lag", {}), STAGE_LATENCY),
    }


def view(counted: Counts, seconds: float) -> dict[str, Any]:
    """A span of so many seconds as a whole. Latencies are in seconds, None where nothing was timed."""
    tree = _tree(counted)
    decisions = tree.get("decision", {})
    reasons = [(route, reason, count) for route, some in decisions.items() for reason, count in some.items()]
    stages = tree.get("stage", {})
    return {
        "seconds": round(seconds, 3),
        "routes": _routes(tree),
        "funnel": _funnel(tree),
        "reasons": [
            {"route": route, "reason": reason, "count": count}
            for route, reason, count in sorted(reasons, key=lambda one: -one[2])
        ],
        "latency": _latency(tree),
        "stages": {name.value: _quantiles(stages[name.value], STAGE_LATENCY) for name in Stage if name.value in stages},
        "lag": _quantiles(tree.get("lag", {}), STAGE_LATENCY),
        "confidence": {route: _twentieths(some) for route, some in tree.get("confidence", {}).items()},
        "refused": tree.get("refused", {}),
        "ended": {code: count for code, count in tree.get("ended", {}).items() if code != "OK"},
        "left": tree.get("left", {}),
        "denied": tree.get("denied", {}),
        "late": tree.get("late", 0),
    }


def _tree(counted: Counts) -> dict[str, Any]:
    """The paths taken apart, a level for each of their parts."""
    tree: dict[str, Any] = {}
    for path, count in counted.items():
        *parents, leaf = path.split("/")
        at = tree
        for parent in parents:
            at = at.setdefault(parent, {})
        at[leaf] = count
    return tree


def _routes(tree: Mapping[str, Any]) -> dict[str, int]:
    """Answers by route, abstentions among them."""
    decisions = tree.get("decision", {})
    return {route.value: sum(decisions.get(route.value, {}).values()) for route in Route}


def _funnel(tree: Mapping[str, Any]) -> dict[str, int]:
    """Questions that came, that were let in, that were decided on, and that were answered; and those that failed.

    A call that is refused at the door counts as one question, however many it holds.
    """
    routes, refused = _routes(tree), tree.get("refused", {})
    decided = sum(routes.values())
    errors = sum(_bins(tree.get("duration", {}).get(NO_ROUTE, {}).get(Outcome.ERROR.value, {}), len(LATENCY)))
    at_the_door = sum(refused.get(one.value, 0) for one in AT_THE_DOOR)
    # Others than questions are refused too (searches, writes): they are no questions that failed.
    failed = max(0, errors - (sum(refused.values()) - at_the_door))
    return {
        "received": decided + errors + at_the_door,
        "admitted": decided + failed,
        "decided": decided,
        "answered": decided - routes[Route.ABSTAIN.value],
        "failed": failed,
    }


def _latency(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Of answers, abstentions among them."""
    added: Counts = {}
    for route, outcomes in tree.get("duration", {}).items():
        for buckets in outcomes.values() if route != NO_ROUTE else ():
            for number, count in buckets.items():
                added[number] = added.get(number, 0) + count
    return _quantiles(added, LATENCY)


def _bins(buckets: Mapping[str, int], edges: int) -> list[int]:
    """A count for each bucket, the last of them above all edges."""
    return [buckets.get(str(number), 0) for number in range(edges + 1)]


def _twentieths(buckets: Mapping[str, int]) -> list[int]:
    """Of confidences: the buckets are finer at the top, and bars of several widths are hard to compare."""
    bins = _bins(buckets, len(CONFIDENCE))
    return [*bins[: TWENTY - 1], sum(bins[TWENTY - 1 :])]


def _quantiles(buckets: Mapping[str, int], edges: Sequence[float]) -> dict[str, Any]:
    bins = _bins(buckets, len(edges))
    return {"count": sum(bins), "p50": quantile(bins, edges, 0.5), "p99": quantile(bins, edges, 0.99)}


def quantile(bins: Sequence[int], edges: Sequence[float], share: float) -> float | None:
    """The value below which that share of what was counted lies, by a straight line through its bucket, as Prometheus's
    histogram_quantile has it: the highest edge where it lies above all of them, and None of nothing."""
    wanted, below = share * sum(bins), 0
    if not wanted:
        return None
    for number, count in enumerate(bins[:-1]):
        if below + count >= wanted:
            low = edges[number - 1] if number else 0.0
            return round(low + (edges[number] - low) * (wanted - below) / count, 6)
        below += count
    return edges[-1]
