"""The open loop: nothing that a server does keeps a question from starting, and waiting is never left out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from loadtest.clock import TimerClock
from loadtest.generator import Generator
from loadtest.plan import plan
from loadtest.recorder import Recorder
from loadtest.scenarios import LoadPart, PiecePart, Scenario
from loadtest.targets import Metadata, Outcome
from tests.loadtest_fakes import ANSWERED, SimulatedClock

RATE, SECONDS = 100, 4
NOTICED = 0.01 + 1e-6
"""Seconds. The clock only moves to instants that somebody waits for."""


def scenario(**changes: object) -> Scenario:
    load = LoadPart(name="all", process="constant", pieces=(PiecePart(seconds=SECONDS, rate=RATE),), tenant="acme")
    return Scenario.model_validate({"summary": "x", "warmup_seconds": 0, "load": (load,)} | changes)


class FakeTarget:
    """Notes when it is asked; `behaviour` decides how long it takes."""

    def __init__(self, clock: SimulatedClock, behaviour: Callable[[float], Awaitable[Outcome]]) -> None:
        self._clock = clock
        self._behaviour = behaviour
        self.start = clock.now() + 0.05
        self.asked: list[float] = []
        self.calls: list[tuple[str, float, Metadata]] = []

    async def send(self, question: str, timeout: float, metadata: Metadata) -> Outcome:  # noqa: ASYNC109
        self.asked.append(self._clock.now() - self.start)
        self.calls.append((question, timeout, metadata))
        return await self._behaviour(self._clock.now() - self.start)

    async def close(self) -> None: ...


async def driven(
    clock: SimulatedClock, target: FakeTarget, max_outstanding: int = 100_000
) -> tuple[Recorder, Generator]:
    made = plan(scenario(), ["short", "a longer question"])
    recorder = Recorder(["all"], target=0.05, warmup=0)
    generator = Generator(made, target, recorder, clock, max_outstanding)
    await clock.drive(generator.run())
    return recorder, generator


async def test_a_stalled_server_delays_no_question_and_the_wait_is_counted() -> None:
    """Between the seconds 1 and 2 nothing is answered. A closed loop would have asked one question meanwhile."""
    clock = SimulatedClock()

    async def stall(at: float) -> Outcome:
        if 1 <= at < 2:
            await clock.until(target.start + 2)
        return ANSWERED

    target = FakeTarget(clock, stall)
    recorder, _ = await driven(clock, target)
    assert target.asked == pytest.approx(np.arange(RATE * SECONDS) / RATE, abs=1e-6)
    latency = recorder.groups["all", "OK", "model"].from_intended
    assert len(latency) == RATE * SECONDS
    # A quarter of all waited, evenly between nothing and a second.
    assert latency.percentile(74) < NOTICED
    assert latency.percentile(87.5) == pytest.approx(0.5, abs=0.02)
    assert latency.percentile(100) == pytest.approx(1, abs=0.02)
    # Those of the last 50 ms of the stall were answered within the target.
    assert sum(second.good for second in recorder.series["all"].values()) == pytest.approx(305, abs=1)


async def test_a_generator_that_was_held_up_counts_it_from_the_intended_start_only() -> None:
    clock = SimulatedClock()

    async def hold_up_once(at: float) -> Outcome:
        if len(target.asked) == 101:
            clock.jump(1.0)
        return ANSWERED

    target = FakeTarget(clock, hold_up_once)
    recorder, _ = await driven(clock, target)
    group = recorder.groups["all", "OK", "model"]
    assert recorder.lateness.percentile(100) == pytest.approx(1, abs=0.02)
    assert group.from_intended.percentile(87.5) == pytest.approx(0.5, abs=0.02)
    assert group.from_send.percentile(99) < NOTICED


async def test_no_more_than_allowed_are_outstanding_and_the_rest_is_counted() -> None:
    clock = SimulatedClock()
    most = 0

    async def never_before_the_end(at: float) -> Outcome:
        nonlocal most
        most = max(most, len(target.asked))
        await clock.until(target.start + SECONDS)
        return ANSWERED

    target = FakeTarget(clock, never_before_the_end)
    recorder, generator = await driven(clock, target, max_outstanding=30)
    assert most == 30
    assert sum(second.unsent for second in recorder.series["all"].values()) == RATE * SECONDS - 30
    assert generator.outstanding == 0


async def test_the_caller_of_a_load_is_told_to_the_target_and_all_questions_come_up() -> None:
    clock = SimulatedClock()

    async def answer(at: float) -> Outcome:
        return ANSWERED

    target = FakeTarget(clock, answer)
    await driven(clock, target)
    assert {question for question, _, _ in target.calls} == {"short", "a longer question"}
    assert {(timeout, metadata) for _, timeout, metadata in target.calls} == {(0.2, (("x-tenant", "acme"),))}


async def test_an_error_of_ours_ends_the_run() -> None:
    clock = SimulatedClock()

    async def broken(at: float) -> Outcome:
        raise RuntimeError("a bug")

    with pytest.raises(ExceptionGroup):
        await driven(clock, FakeTarget(clock, broken))


async def test_each_full_second_is_told_once() -> None:
    clock = SimulatedClock()

    async def answer(at: float) -> Outcome:
        return ANSWERED

    told: list[int] = []
    target = FakeTarget(clock, answer)
    generator = Generator(plan(scenario(), ["x"]), target, Recorder(["all"], 0.05, 0), clock, 10)
    await clock.drive(generator.run(told.append))
    assert told[:4] == [0, 1, 2, 3]
    assert len(set(told)) == len(told)


async def test_the_real_clock_wakes_in_order_and_never_early() -> None:
    clock = TimerClock()
    woken: list[int] = []

    async def sleeper(number: int) -> None:
        instant = start + number / 1000
        await clock.until(instant)
        assert time.monotonic() >= instant
        woken.append(number)

    start = clock.now() + 0.005
    try:
        await asyncio.gather(*(sleeper(number) for number in (3, 1, 0, 2)), clock.until(0))
    finally:
        clock.close()
    assert woken == [0, 1, 2, 3]


async def test_a_waiter_that_gives_up_does_not_hold_up_the_others() -> None:
    clock = TimerClock()
    try:
        gone = asyncio.create_task(clock.until(clock.now() + 0.005))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait_for(clock.until(clock.now() + 0.01), 10)
    finally:
        clock.close()
