"""What became of every question: latency histograms by load, status and route, and a series of seconds.

Latency is counted from the intended start of a question, so that what a stalled server (or a late generator) made wait
is in it; and once more from the actual send, for comparison with tools that only know that one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

from loadtest.targets import OK, Outcome

MICRO = 1_000_000
LONGEST = 120 * MICRO
"""Microseconds. Anything longer counts as this: no deadline of a scenario is half as long."""
DIGITS = 3
"""Decimal digits that a histogram keeps of a latency."""
SECOND_DIGITS = 2
"""The same for the histogram of one second, of which a run has many: 22 kB instead of 144 kB each."""
PERCENTILES = (50.0, 90.0, 99.0, 99.9)


class Latencies:
    """A histogram of durations, in seconds outside and in whole microseconds inside."""

    def __init__(self, digits: int = DIGITS, histogram: HdrHistogram | None = None) -> None:
        self._histogram = HdrHistogram(1, LONGEST, digits) if histogram is None else histogram

    def add(self, seconds: float) -> None:
        self._histogram.record_value(min(max(round(seconds * MICRO), 0), LONGEST))

    def merge(self, other: Latencies) -> None:
        """Add those of `other`, which keeps as many digits."""
        self._histogram.add(other._histogram)

    def __len__(self) -> int:
        return int(self._histogram.get_total_count())

    def percentile(self, percent: float) -> float:
        """Seconds that so many percent did not exceed, by at most 0.1 % (1 % of a second's) too long. NaN of none."""
        counts = self.counts()
        if not counts.any():
            return float("nan")
        return float(percentiles(counts[None, :], self.bounds(), percent)[0])

    def counts(self) -> npt.NDArray[np.int64]:
        """How many in each bucket, [buckets]."""
        return np.ctypeslib.as_array(self._histogram.counts).astype(np.int64)

    def bounds(self) -> npt.NDArray[np.float64]:
        """The longest duration of each bucket in seconds, [buckets]."""
        return _bounds(self._histogram)

    def to_json(self) -> str:
        """HdrHistogram's own interchange format: V2, compressed, in base64."""
        return str(self._histogram.encode().decode("ascii"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(histogram=HdrHistogram.decode(text.encode("ascii")))


def percentiles(counts: npt.NDArray[Any], bounds: npt.NDArray[np.float64], percent: float) -> npt.NDArray[np.float64]:
    """Of each row of [n, buckets] counts, the bound below which so many percent lie. Rows without counts give NaN."""
    total = counts.sum(axis=1)
    wanted = np.maximum(np.ceil(percent / 100 * total - 1e-9), 1)
    found = bounds[(counts.cumsum(axis=1) < wanted[:, None]).sum(axis=1).clip(max=len(bounds) - 1)]
    return np.asarray(np.where(total > 0, found, np.nan), np.float64)


_KNOWN_BOUNDS: dict[int, npt.NDArray[np.float64]] = {}


def _bounds(histogram: HdrHistogram) -> npt.NDArray[np.float64]:
    """The same for all histograms of as many digits: they share the range."""
    digits = histogram.significant_figures
    if digits not in _KNOWN_BOUNDS:
        lows = [histogram.get_value_from_index(index) for index in range(histogram.counts_len)]
        _KNOWN_BOUNDS[digits] = np.array([histogram.get_highest_equivalent_value(low) for low in lows]) / MICRO
    return _KNOWN_BOUNDS[digits]


@dataclass(slots=True)
class Group:
    """The questions of one load that ended with one status by one route, after the warm-up."""

    load: str
    status: str
    route: str
    good: int = 0
    """OK and within the target."""
    reasons: Counter[str] = field(default_factory=Counter)
    from_intended: Latencies = field(default_factory=Latencies)
    from_send: Latencies = field(default_factory=Latencies)

    def __len__(self) -> int:
        return len(self.from_intended)


@dataclass(slots=True)
class Second:
    """The questions of one load that were due within one second of the run, the warm-up's too."""

    offered: int = 0
    good: int = 0
    unsent: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    latency: Latencies = field(default_factory=lambda: Latencies(SECOND_DIGITS))
    """Of the OK ones, from their intended start."""


class Recorder:
    """Counts ends of questions; times are seconds from the start of the run. On the event loop only."""

    def __init__(self, loads: Sequence[str], target: float, warmup: float) -> None:
        self.loads = tuple(loads)
        self.target = target
        """Seconds from the intended start within which an OK answer is good."""
        self.warmup = warmup
        self.groups: dict[tuple[str, str, str], Group] = {}
        self.series: dict[str, dict[int, Second]] = {load: {} for load in self.loads}
        """Load -> second of the run -> what was due in it."""
        self.lateness = Latencies()
        """How long after its intended start each question was sent."""
        self.server = Latencies()
        """Of OK answers, the time by the server's own clock, where it states one."""

    def record(self, load: int, outcome: Outcome, intended: float, sent: float, ended: float) -> None:
        """One question has ended; `load` is an index into `loads`."""
        name = self.loads[load]
        is_ok = outcome.status == OK
        is_good = is_ok and ended - intended <= self.target
        second = self._second(name, intended)
        second.offered += 1
        second.good += is_good
        second.statuses[outcome.status] += 1
        if is_ok:
            second.latency.add(ended - intended)
        if intended < self.warmup:
            return
        self.lateness.add(sent - intended)
        group = self._group(name, outcome)
        group.good += is_good
        group.reasons[outcome.reason] += 1
        group.from_intended.add(ended - intended)
        group.from_send.add(ended - sent)
        if is_ok and outcome.server_seconds is not None:
            self.server.add(outcome.server_seconds)

    def unsent(self, load: int, intended: float) -> None:
        """A question was due and the generator could not send it."""
        second = self._second(self.loads[load], intended)
        second.offered += 1
        second.unsent += 1

    def _second(self, load: str, intended: float) -> Second:
        series = self.series[load]
        number = int(intended)
        if number not in series:
            series[number] = Second()
        return series[number]

    def _group(self, load: str, outcome: Outcome) -> Group:
        key = (load, outcome.status, outcome.route)
        if key not in self.groups:
            self.groups[key] = Group(*key)
        return self.groups[key]

    def to_json(self) -> dict[str, Any]:
        """Everything, without loss but for the exact largest latency of each histogram."""
        return {
            "loads": self.loads,
            "target_seconds": self.target,
            "warmup_seconds": self.warmup,
            "lateness": self.lateness.to_json(),
            "server": self.server.to_json(),
            "groups": [_group_to_json(group) for group in self.groups.values()],
            "series": {
                load: {str(number): _second_to_json(one) for number, one in sorted(series.items())}
                for load, series in self.series.items()
            },
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """Raises KeyError or ValueError for something else than to_json gives."""
        made = cls(found["loads"], found["target_seconds"], found["warmup_seconds"])
        made.lateness = Latencies.from_json(found["lateness"])
        made.server = Latencies.from_json(found["server"])
        for group in map(_group_from_json, found["groups"]):
            made.groups[group.load, group.status, group.route] = group
        for load, series in found["series"].items():
            made.series[load] = {int(number): _second_from_json(one) for number, one in series.items()}
        return made


def _group_to_json(group: Group) -> dict[str, Any]:
    return {
        "load": group.load,
        "status": group.status,
        "route": group.route,
        "good": group.good,
        "reasons": dict(group.reasons),
        "from_intended": group.from_intended.to_json(),
        "from_send": group.from_send.to_json(),
    }


def _group_from_json(found: dict[str, Any]) -> Group:
    return Group(
        found["load"],
        found["status"],
        found["route"],
        found["good"],
        Counter(found["reasons"]),
        Latencies.from_json(found["from_intended"]),
        Latencies.from_json(found["from_send"]),
    )


def _second_to_json(second: Second) -> dict[str, Any]:
    return {
        "offered": second.offered,
        "good": second.good,
        "unsent": second.unsent,
        "statuses": dict(second.statuses),
        "latency": second.latency.to_json(),
    }


def _second_from_json(found: dict[str, Any]) -> Second:
    return Second(
        found["offered"],
        found["good"],
        found["unsent"],
        Counter(found["statuses"]),
        Latencies.from_json(found["latency"]),
    )
