"""Whether a run may be believed: was the generator on time, had it a core to itself, and on what machine was it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gateway.cli import machine

PACKAGES = ("cascade-gateway", "grpcio", "protobuf", "uvloop", "numpy", "hdrhistogram", "onnxruntime")
STAT = Path("/proc/stat")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
PEAK_SECONDS = 5
"""How long the generator has to be busy to count: a mean over the whole run would hide an overloaded part of it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a generator may do before its run is invalid."""

    late_ms: float = 1.0
    """Of 99 % of the questions. Raise it where the server has the same cores, knowing that the lateness is in the
    latency from the intended start."""
    cpu: float = 0.85
    """Share of one core. Python has no more than one."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the generator did."""

    sent: int
    """Questions, after the warm-up."""
    late_p99_ms: float
    late_max_ms: float
    cpu: float
    """Share of one core: the highest mean over PEAK_SECONDS."""
    unsent: int
    """Questions that were due when as many as allowed were outstanding."""
    steal: float
    """Share of the machine's time that its host gave to others meanwhile."""
    is_first: bool = False
    """Whether it ran before all other processes, at a real-time priority, which takes a privilege."""


def faults(observed: Observed, limits: Limits) -> tuple[str, ...]:
    """Why the run is invalid, with the numbers; nothing if it is valid."""
    found = []
    if not observed.sent:
        found.append("no question was sent after the warm-up")
    if observed.late_p99_ms > limits.late_ms:
        found.append(
            f"the generator was late: p99 {observed.late_p99_ms:.2f} ms, at most {limits.late_ms:g} ms is allowed"
        )
    if observed.cpu > limits.cpu:
        found.append(
            f"the generator was starved: it took {100 * observed.cpu:.0f} % of a core, "
            f"at most {100 * limits.cpu:g} % is allowed"
        )
    if observed.unsent:
        found.append(f"{observed.unsent} questions were never sent: too many were outstanding")
    return tuple(found)


class Watch:
    """What this process and the machine used since it was made, second by second."""

    def __init__(self) -> None:
        self._steal = stolen()
        self._samples: list[tuple[float, float]] = []
        self.sample()

    def sample(self) -> None:
        """Call it about once a second."""
        self._samples.append((time.monotonic(), time.process_time()))

    def cpu(self) -> float:
        return peak(self._samples, PEAK_SECONDS)

    def steal(self) -> float:
        """Share of all cores' time since the start; 0 where the kernel does not say."""
        (stolen_before, all_before), (stolen_now, all_now) = self._steal, stolen()
        return (stolen_now - stolen_before) / (all_now - all_before) if all_now > all_before else 0.0


def peak(samples: Sequence[tuple[float, float]], span: float) -> float:
    """The highest share of a core between two (time, CPU time) samples at least `span` seconds apart; of all, if none
    are so far apart."""
    shares = []
    first = 0
    for now, used in samples:
        while first + 1 < len(samples) and now - samples[first + 1][0] >= span:
            first += 1
        if now - samples[first][0] >= span:
            shares.append((used - samples[first][1]) / (now - samples[first][0]))
    if shares:
        return max(shares)
    (began, used_before), (ended, used_after) = samples[0], samples[-1]
    return (used_after - used_before) / (ended - began) if ended > began else 0.0


def stolen(stat: Path = STAT) -> tuple[int, int]:
    """(stolen, all) ticks of all cores since boot, or (0, 0) where the kernel does not say."""
    try:
        first = stat.read_text().partition("\n")[0].split()
    except OSError:
        return 0, 0
    # user nice system idle iowait irq softirq steal; guest time, which follows, is in user already.
    ticks = [int(number) for number in first[1:9]]
    return (ticks[7] if len(ticks) > 7 else 0), sum(ticks)


def facts() -> dict[str, object]:
    """The machine, the commit and the versions behind a number."""
    return {
        **machine.facts(),
        "cores": len(os.sched_getaffinity(0)),
        "governor": _governor(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _governor() -> str:
    try:
        return GOVERNOR.read_text().strip()
    except OSError:
        return "unknown"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
