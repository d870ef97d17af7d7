"""A plan: every question of a run with its intended start and caller, fixed before the run begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadtest import arrivals
from loadtest.scenarios import LoadPart, Scenario, ScenarioInvalid
from loadtest.targets import Metadata


@dataclass(frozen=True, slots=True)
class Caller:
    """What the questions of one load have in common."""

    name: str
    timeout: float
    """Seconds."""
    metadata: Metadata
    seconds: float
    """For how long it asks anything at all, the run's warm-up not counted."""


@dataclass(frozen=True, slots=True)
class Plan:
    """n questions in the order of their intended starts."""

    at: arrivals.Times
    """Seconds from the start of the run, [n], ascending."""
    load: npt.NDArray[np.int16]
    """Whose question it is: an index into `callers`, [n]."""
    question: npt.NDArray[np.int32]
    """What is asked: an index into `questions`, [n]."""
    callers: tuple[Caller, ...]
    questions: Sequence[str]
    seconds: float
    """How long the schedule lasts."""
    warmup: float
    """Seconds at its start whose questions do not count."""
    capacity: float | None = None
    """Questions a second that relative rates were multiples of."""
    source: str = ""
    """Where the questions are from, in words."""


def plan(scenario: Scenario, questions: Sequence[str], capacity: float | None = None, source: str = "") -> Plan:
    """The same arguments give the same plan. `capacity`: what relative rates are multiples of, in questions a second;
    `source`: where the questions are from, in words.

    Raises ScenarioInvalid for relative rates without a capacity, a trace that cannot be read, if the warm-up is all
    that there is, and for an event after the end.
    """
    if scenario.unit == "capacity" and capacity is None:
        raise ScenarioInvalid(f"{scenario.name}: its rates are multiples of a capacity, which is not known")
    if scenario.unit == "per_second":
        capacity = None
    factor = 1.0 if capacity is None else capacity
    starts = [_starts(scenario, number, load, factor) for number, load in enumerate(scenario.load)]
    ends = [_end(load, times) for load, times in zip(scenario.load, starts, strict=True)]
    seconds = max(ends)
    if seconds <= scenario.warmup_seconds:
        raise ScenarioInvalid(f"{scenario.name}: lasts {seconds:g} s, no longer than its warm-up")
    if scenario.events and scenario.events[-1].at >= seconds:
        raise ScenarioInvalid(f"{scenario.name}: lasts {seconds:g} s, and has an event at {scenario.events[-1].at:g} s")
    at = np.concatenate(starts)
    order = np.argsort(at, kind="stable")
    load = np.concatenate([np.full(len(times), number, np.int16) for number, times in enumerate(starts)])
    # A sample of the real mix: long and short questions come as often as they do in the files.
    question = np.random.default_rng(scenario.seed).integers(len(questions), size=len(at), dtype=np.int32)
    callers = tuple(_caller(load, end, scenario.warmup_seconds) for load, end in zip(scenario.load, ends, strict=True))
    return Plan(
        at[order], load[order], question, callers, questions, seconds, scenario.warmup_seconds, capacity, source
    )


def _starts(scenario: Scenario, number: int, load: LoadPart, factor: float) -> arrivals.Times:
    if load.trace:
        path = scenario.folder / load.trace
        try:
            times = arrivals.trace(path.read_text(encoding="utf-8").splitlines())
        except (OSError, ValueError) as error:
            raise ScenarioInvalid(f"{scenario.name}: trace {path}: {error}") from None
    else:
        pieces = [piece.scaled(factor) for piece in load.pieces]
        # A seed of its own, or two loads of one rate would ask at the same instants.
        times = arrivals.schedule(pieces, load.process, scenario.seed + 1000 * number)
    return times + load.start_seconds


def _end(load: LoadPart, times: arrivals.Times) -> float:
    if load.trace:
        return float(times[-1])
    return load.start_seconds + sum(piece.seconds for piece in load.pieces)


def _caller(load: LoadPart, end: float, warmup: float) -> Caller:
    seconds = max(0.0, end - max(load.start_seconds, warmup))
    return Caller(load.name, load.timeout_ms / 1000, load.metadata, seconds)
