"""The open-loop generator: every question starts at its intended time, whatever is still outstanding."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from loadtest.clock import Clock
from loadtest.plan import Plan
from loadtest.recorder import Recorder
from loadtest.targets import Target

HEADROOM = 0.05
"""Seconds between the call and the start of the run: the first question would be late otherwise."""


class Generator:
    """Asks what the plan says, and gives each end to the recorder, with times in seconds from the start of the run.

    `send` of the target is called when a question is due and not awaited, so a server that stalls delays no other
    question. Memory is bounded by the plan and by `max_outstanding`: what would exceed it is counted and never sent.
    """

    def __init__(self, plan: Plan, target: Target, recorder: Recorder, clock: Clock, max_outstanding: int) -> None:
        self._plan = plan
        self._target = target
        self._recorder = recorder
        self._clock = clock
        self._max_outstanding = max_outstanding
        self._start = 0.0
        self.outstanding = 0

    async def run(self, on_second: Callable[[int], None] = lambda _: None) -> None:
        """Return once every question has ended. `on_second` is called with 0, 1, ... at each full second meanwhile."""
        self._start = self._clock.now() + HEADROOM
        async with asyncio.TaskGroup() as run:
            ticking = run.create_task(self._tick(on_second))
            async with asyncio.TaskGroup() as questions:
                for number in range(len(self._plan.at)):
                    at = float(self._plan.at[number])
                    await self._clock.until(self._start + at)
                    if self.outstanding >= self._max_outstanding:
                        self._recorder.unsent(int(self._plan.load[number]), at)
                        continue
                    self.outstanding += 1
                    questions.create_task(self._ask(number, at))
            await self._clock.until(self._start + self._plan.seconds)
            ticking.cancel()

    async def _ask(self, number: int, at: float) -> None:
        plan = self._plan
        load = int(plan.load[number])
        caller = plan.callers[load]
        question = plan.questions[plan.question[number]]
        sent = self._clock.now() - self._start
        try:
            outcome = await self._target.send(question, caller.timeout, caller.metadata)
        finally:
            self.outstanding -= 1
        self._recorder.record(load, outcome, at, sent, self._clock.now() - self._start)

    async def _tick(self, on_second: Callable[[int], None]) -> None:
        second = 0
        while True:
            await self._clock.until(self._start + second)
            on_second(second)
            second += 1
