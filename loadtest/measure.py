"""One run: a plan, sent to a target and watched second by second."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from loadtest import events, honesty, summary, urgency
from loadtest.admin import AdminFailed, Tokens
from loadtest.clock import TimerClock
from loadtest.generator import HEADROOM, Generator
from loadtest.honesty import Limits, Observed
from loadtest.plan import Plan
from loadtest.recorder import Recorder, percentiles
from loadtest.results import Run, Sample
from loadtest.scenarios import DRAIN, Scenario
from loadtest.subjects import Opened


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of one second of a run that goes on, for whoever looks on."""

    second: int
    seconds: float
    """How long the schedule lasts."""
    is_warmup: bool
    offered: int
    good: int
    p50_ms: float | None
    """Of the OK answers; nothing if there is none."""
    p99_ms: float | None
    statuses: dict[str, int]
    outstanding: int
    """Now."""


LAG = 2
"""Seconds after which a second is looked at: by then most of its questions have ended."""


async def measure(
    scenario: Scenario,
    plan: Plan,
    opened: Opened,
    *,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    bundle: Path | None = None,
    on_second: Callable[[Progress], None] = lambda _: None,
) -> Run:
    """Ask `opened` what `plan`, made of `scenario`, says. `bundle` is what the scenario's swaps swap in.

    Raises ServerFailed if it has ended meanwhile, and ScenarioInvalid for an event that it cannot have.
    """
    doing = [(event, events.act(event, opened, bundle)) for event in scenario.events]
    process = opened.process
    tokens = await _tokens(opened)
    began = datetime.now(UTC)
    clock = TimerClock()
    recorder = Recorder([caller.name for caller in plan.callers], scenario.target_ms / 1e3, plan.warmup)
    generator = Generator(plan, opened.target, recorder, clock, scenario.max_outstanding)
    watch = honesty.Watch()
    samples: list[Sample] = []
    if process is not None:
        process.use()  # so that what follows need not look for its processes
    start = clock.now() + HEADROOM

    def sample(*, look_for_new: bool) -> None:
        watch.sample()
        if process is not None and not process.has_ended:  # by a drain
            use = process.use(look_for_new=look_for_new)
            samples.append(Sample(clock.now() - start, use.cpu_seconds, use.rss_bytes))

    def each_second(number: int) -> None:
        if number >= plan.warmup:
            sample(look_for_new=False)
        if number >= LAG:
            on_second(_progress(number - LAG, plan, recorder, generator.outstanding))

    try:
        with _no_collections(), urgency.first_in_line() as is_first:
            async with asyncio.TaskGroup() as group:
                happening = [group.create_task(events.happen(event, do, clock, start)) for event, do in doing]
                await generator.run(each_second)
    finally:
        clock.close()
    if process is not None and not any(event.do == DRAIN for event in scenario.events):
        process.check()
    sample(look_for_new=True)
    happened = tuple(one.result() for one in happening)
    tokens_after = await _tokens(opened)
    late = recorder.lateness
    observed = Observed(
        sent=len(late),
        late_p99_ms=round(1e3 * late.percentile(99), 3) if len(late) else 0.0,
        late_max_ms=round(1e3 * late.percentile(100), 3) if len(late) else 0.0,
        cpu=round(watch.cpu(), 4),
        unsent=summary.unsent(recorder, recorder.loads),
        steal=round(watch.steal(), 4),
        is_first=is_first,
    )
    return Run(
        scenario=scenario.model_dump(mode="json", exclude={"folder"})
        | {"capacity": plan.capacity, "questions": len(plan.questions), "question_source": plan.source},
        server=opened.subject.name,
        when=began.isoformat(timespec="seconds"),
        facts=honesty.facts(),
        observed=observed,
        limits=limits,
        faults=(
            *honesty.faults(observed, limits),
            *(f"the {one.do} at {one.began:g} s failed: {one.failure}" for one in happened if one.failure),
        ),
        seconds={summary.ALL: plan.seconds - plan.warmup} | {caller.name: caller.seconds for caller in plan.callers},
        recorder=recorder,
        samples=tuple(samples),
        happened=happened,
        tokens=tokens_after.since(tokens) if tokens and tokens_after else None,
    )


async def _tokens(opened: Opened) -> Tokens | None:
    """Nothing of a server without an admin port, or with none any more: this is no reason to lose a run."""
    if opened.admin is None:
        return None
    with contextlib.suppress(AdminFailed):
        return await asyncio.to_thread(opened.admin.tokens)
    return None


def _progress(second: int, plan: Plan, recorder: Recorder, outstanding: int) -> Progress:
    parts = [series[second] for series in recorder.series.values() if second in series]
    p50, p99 = None, None
    if any(len(part.latency) for part in parts):
        counts = np.sum([part.latency.counts() for part in parts], axis=0)[None, :]
        bounds = parts[0].latency.bounds()
        p50, p99 = (1e3 * float(percentiles(counts, bounds, percent)[0]) for percent in (50, 99))
    return Progress(
        second=second,
        seconds=plan.seconds,
        is_warmup=second < plan.warmup,
        offered=sum(part.offered for part in parts),
        good=sum(part.good for part in parts),
        p50_ms=p50,
        p99_ms=p99,
        statuses=dict(sum((part.statuses for part in parts), Counter[str]())),
        outstanding=outstanding,
    )


@contextmanager
def _no_collections() -> Iterator[None]:
    """What lives by now is not walked by the garbage collector, whose pauses would make the generator late."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
