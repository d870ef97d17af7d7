"""The numbers that people read, from what a recorder counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from loadtest.recorder import DIGITS, PERCENTILES, Group, Latencies, Recorder
from loadtest.targets import OK, is_lost

ALL = "all"


def summarise(recorder: Recorder, seconds: dict[str, float]) -> dict[str, Any]:
    """Load -> its numbers, after the warm-up. `seconds` is for how long each load asked; ALL stands for all together.

    Loads that asked nothing after the warm-up are left out.
    """
    found = {}
    loads = [ALL] if len(recorder.loads) == 1 else [ALL, *recorder.loads]
    for load in loads:
        names = recorder.loads if load == ALL else (load,)
        if seconds[load] > 0:
            groups = [group for group in recorder.groups.values() if group.load in names]
            found[load] = _numbers(groups, unsent(recorder, names), seconds[load])
    return found


def unsent(recorder: Recorder, loads: Sequence[str]) -> int:
    """Questions of these loads that were due after the warm-up and never sent."""
    return sum(
        second.unsent for load in loads for number, second in recorder.series[load].items() if number >= recorder.warmup
    )


def ok_latency(groups: Sequence[Group]) -> Latencies:
    """Of the OK answers, from their intended start."""
    return _merged([group.from_intended for group in groups if group.status == OK])


def milliseconds(latencies: Latencies) -> dict[str, float | None]:
    """Percentiles; null where nothing was counted."""
    found = {f"p{percent:g}": latencies.percentile(percent) for percent in PERCENTILES}
    found["max"] = latencies.percentile(100)
    return {name: None if math.isnan(value) else round(1e3 * value, 3) for name, value in found.items()}


def _numbers(groups: Sequence[Group], never_sent: int, seconds: float) -> dict[str, Any]:
    ended = sum(len(group) for group in groups)
    ok = [group for group in groups if group.status == OK]
    good = sum(group.good for group in groups)
    offered = ended + never_sent
    return {
        "seconds": round(seconds, 3),
        "offered": offered,
        "offered_per_second": round(offered / seconds, 2),
        "ok": sum(len(group) for group in ok),
        "ok_per_second": round(sum(len(group) for group in ok) / seconds, 2),
        "good_per_second": round(good / seconds, 2),
        "good_share": round(good / offered, 6) if offered else None,
        "unsent": never_sent,
        "lost": sum(
            count for group in groups for reason, count in group.reasons.items() if is_lost(group.status, reason)
        ),
        "statuses": _counted(groups, "status"),
        "routes": _counted(ok, "route"),
        "reasons": dict(sum((group.reasons for group in groups), Counter[str]())),
        "milliseconds": milliseconds(ok_latency(groups)),
        "milliseconds_from_send": milliseconds(_merged([group.from_send for group in ok])),
    }


def _counted(groups: Sequence[Group], name: str) -> dict[str, int]:
    found = Counter[str]()
    for group in groups:
        found[getattr(group, name)] += len(group)
    return dict(found.most_common())


def _merged(parts: Sequence[Latencies]) -> Latencies:
    whole = Latencies(DIGITS)
    for part in parts:
        whole.merge(part)
    return whole
