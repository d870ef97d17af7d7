"""Runs at one rate: what a search for the capacity, a sweep and a comparison with peers are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from loadtest import honesty, summary
from loadtest.honesty import Limits
from loadtest.measure import Progress, measure
from loadtest.plan import plan
from loadtest.questions import Questions
from loadtest.results import Run
from loadtest.scenarios import steady
from loadtest.search import Capacity, repeated
from loadtest.subjects import Opened
from loadtest.targets import OK

Watcher = Callable[[str, Progress], None]
"""Shows the progress of what the first argument names."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What all runs of one measurement have in common, so that only the rate differs."""

    questions: Questions
    seconds: float = 10.0
    warmup: float = 2.0
    """Seconds before `seconds`."""
    target_ms: float = 50.0
    timeout_ms: int = 200
    channels: int = 4
    seed: int = 7
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class SearchTerms:
    """How a capacity is searched; see the module search."""

    start: float = 100.0
    tolerance: float = 0.05
    repeats: int = 3


@dataclass(frozen=True, slots=True)
class Trial:
    """The numbers of one run at one rate."""

    rate: float
    """Questions a second, as intended."""
    passed: bool
    """99 % within the target, and every single question answered."""
    faults: tuple[str, ...]
    """Why the run is invalid, if it is."""
    offered_per_second: float
    ok_per_second: float
    good_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    statuses: dict[str, int]
    late_p99_ms: float
    generator_cpu: float
    cpu_ms_per_answer: float | None
    """Of the server's processes, if we started it."""


async def run_at(rate: float, opened: Opened, terms: Terms, watcher: Watcher, repeat: int = 0) -> Run:
    """One run at `rate`. The same rate and repeat ask the same questions at the same times, whatever is asked."""
    scenario = steady(
        rate,
        terms.warmup + terms.seconds,
        terms.timeout_ms,
        warmup_seconds=terms.warmup,
        target_ms=terms.target_ms,
        channels=terms.channels,
        seed=terms.seed + repeat,
    )
    return await measure(
        scenario,
        plan(scenario, terms.questions.texts, source=terms.questions.source),
        opened,
        limits=terms.limits,
        on_second=lambda progress: watcher(f"{opened.subject.name}, {rate:.1f}/s", progress),
    )


def judged(run: Run, rate: float) -> Trial:
    numbers = run.numbers()
    found = numbers["loads"][summary.ALL]
    p99 = found["milliseconds"]["p99"]
    all_answered = found["offered"] > 0 and found["statuses"] == {OK: found["offered"]}
    use = numbers["server_use"]
    return Trial(
        rate=round(rate, 2),
        passed=all_answered and p99 is not None and p99 <= numbers["target_ms"],
        faults=run.faults,
        offered_per_second=found["offered_per_second"],
        ok_per_second=found["ok_per_second"],
        good_per_second=found["good_per_second"],
        p50_ms=found["milliseconds"]["p50"],
        p99_ms=p99,
        statuses=found["statuses"],
        late_p99_ms=run.observed.late_p99_ms,
        generator_cpu=run.observed.cpu,
        cpu_ms_per_answer=None if use is None else use["cpu_ms_per_answer"],
    )


async def find_capacity(opened: Opened, terms: Terms, watcher: Watcher, how: SearchTerms) -> Capacity[Trial]:
    """The highest rate whose trials pass."""

    async def trial(rate: float, repeat: int) -> Trial:
        return judged(await run_at(rate, opened, terms, watcher, repeat), rate)

    return await repeated(trial, how.start, how.tolerance, how.repeats)


def capacity_to_json(capacity: Capacity[Trial]) -> dict[str, Any]:
    """The capacity with its spread, whether it may be believed, and all trials.

    It is invalid where the best trial that passed was, or none did. Where the trials that failed were invalid, it was
    perhaps the generator that reached its limit: a warning, as the server can do at least so much.
    """
    faults, warnings = [], []
    for number, search in enumerate(capacity.searches, 1):
        if not search.passed:
            faults.append(f"repeat {number}: no rate passed")
        for trial in search.trials:
            if trial.rate == round(search.passed, 2) and trial.passed:
                faults += [f"repeat {number}, {trial.rate:g}/s: {fault}" for fault in trial.faults]
            if trial.rate == round(search.failed, 2) and trial.faults:
                warnings.append(f"repeat {number}: may be higher, as at {trial.rate:g}/s {trial.faults[0]}")
    low, high = capacity.spread
    return {
        "valid": not faults,
        "faults": faults,
        "warnings": warnings,
        "capacity": round(capacity.median, 2),
        "spread": [round(low, 2), round(high, 2)],
        "repeats": [round(rate, 2) for rate in capacity.rates],
        "trials": [asdict(trial) for search in capacity.searches for trial in search.trials],
    }


def heading(kind: str, server: str, terms: Terms) -> dict[str, Any]:
    """What every result of such runs begins with: what was measured, when, on what, and under which terms."""
    return {
        "kind": kind,
        "server": server,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        **honesty.facts(),
        "target_ms": terms.target_ms,
        "timeout_ms": terms.timeout_ms,
        "seconds": terms.seconds,
        "warmup_seconds": terms.warmup,
        "channels": terms.channels,
        "seed": terms.seed,
        "questions": len(terms.questions.texts),
        "question_source": terms.questions.source,
        "limits": asdict(terms.limits),
    }
