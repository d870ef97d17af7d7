"""Two results side by side: ratios, with confidence intervals by bootstrap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from loadtest.recorder import percentiles
from loadtest.results import Run
from loadtest.targets import OK

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 7
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A measure of A and of B, and B / A with its confidence interval."""

    a: float
    b: float
    ratio: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        return {name: round(value, 6) if math.isfinite(value) else None for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Seconds:
    """A run after its warm-up, as S seconds that are resampled whole: within one, latencies depend on each other."""

    ok: Floats
    """[S]"""
    good: Floats
    """[S]"""
    latency: npt.NDArray[np.int64]
    """Counts of OK answers, [S, buckets]."""
    bounds: Floats
    """[buckets]"""
    cpu: Floats
    """CPU seconds of the server, [S], or [0] where they are unknown."""


def runs(a: Run, b: Run, seed: int = SEED) -> dict[str, Ratio]:
    """Measure -> ratio. Raises ValueError for a run without an answer after its warm-up."""
    chance = np.random.default_rng(seed)
    first, second = (_measures(seconds_of(run), chance) for run in (a, b))
    return {name: _ratio(first[name], second[name]) for name in first if name in second}


def repeats(a: Sequence[float], b: Sequence[float], seed: int = SEED) -> Ratio:
    """Of the medians of two measures that were each taken several times. Of few repeats the interval says little."""
    chance = np.random.default_rng(seed)

    def drawn(values: Sequence[float]) -> Floats:
        return np.asarray(np.median(chance.choice(np.asarray(values), (RESAMPLES, len(values))), axis=1), np.float64)

    return _ratio((float(np.median(a)), drawn(a)), (float(np.median(b)), drawn(b)))


def seconds_of(run: Run) -> Seconds:
    """Raises ValueError if nothing was answered after the warm-up."""
    recorder = run.recorder
    last = max((number for series in recorder.series.values() for number in series), default=-1)
    numbers = range(int(np.ceil(recorder.warmup)), last + 1)
    rows = [[series[number] for series in recorder.series.values() if number in series] for number in numbers]
    parts = [part for row in rows for part in row]
    if not any(len(part.latency) for part in parts):
        raise ValueError(f"{run.server}: nothing was answered after the warm-up")
    empty = np.zeros(len(parts[0].latency.bounds()), np.int64)
    cpu = np.diff([sample.cpu_seconds for sample in run.samples])
    return Seconds(
        ok=np.array([sum(part.statuses[OK] for part in row) for row in rows], np.float64),
        good=np.array([sum(part.good for part in row) for row in rows], np.float64),
        latency=np.array([sum((part.latency.counts() for part in row), empty) for row in rows]),
        bounds=parts[0].latency.bounds(),
        # The last sample is from after the last answer: what came after the schedule belongs to its last second.
        cpu=np.append(cpu[: len(rows) - 1], cpu[len(rows) - 1 :].sum()) if len(cpu) >= len(rows) else np.zeros(0),
    )


def _measures(seconds: Seconds, chance: np.random.Generator) -> dict[str, tuple[float, Floats]]:
    """Measure -> (its value, the same of each resample)."""
    count = len(seconds.ok)
    weights = np.vstack([np.ones(count, np.int64), chance.multinomial(count, np.full(count, 1 / count), RESAMPLES)])
    used = np.flatnonzero(seconds.latency.sum(axis=0))
    # As floats, which numpy multiplies many times faster; they hold such counts exactly.
    latency = weights.astype(np.float64) @ seconds.latency[:, used].astype(np.float64)
    found = {f"p{percent}_ms": 1e3 * percentiles(latency, seconds.bounds[used], percent) for percent in (50, 90, 99)}
    found["good_per_second"] = weights @ seconds.good / count
    found["ok_per_second"] = weights @ seconds.ok / count
    if len(seconds.cpu):
        found["cpu_ms_per_answer"] = 1e3 * (weights @ seconds.cpu) / np.maximum(weights @ seconds.ok, 1)
    return {name: (float(values[0]), values[1:]) for name, values in found.items()}


def _ratio(a: tuple[float, Floats], b: tuple[float, Floats]) -> Ratio:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = b[1] / a[1]
        middle = float(np.float64(b[0]) / np.float64(a[0]))
    ratios = ratios[np.isfinite(ratios)]
    edges = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
    low, high = np.quantile(ratios, edges) if len(ratios) else (np.nan, np.nan)
    return Ratio(a[0], b[0], middle, float(low), float(high))
