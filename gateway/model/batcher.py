"""The batcher: questions wait here while the session is busy, and leave together.

It is work-conserving: an idle session starts at once on whatever is there, so a lone question never waits for company,
and batches grow only while the session is busy. Who goes next is the schedule's to say. One dispatcher thread owns the
session; the event loop owns the futures. A question whose caller is gone, or whose deadline has passed, leaves the
queue at that moment; one that cannot be in time any more is dropped when the batch forms. Neither is ever computed.

Where the session's device is lost, a spare takes over: the batch that failed goes back into the queue with all others,
at the spare's costs, so that those that still can be in time are computed and the others are refused at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gateway.deadline import Clock, Deadline
from gateway.errors import DeadlineExceeded, DeadlineUnmeetable, DeviceLost, InferenceFailed, Overloaded, Unavailable
from gateway.model.cost import CostTable
from gateway.model.fairness import Waiting
from gateway.model.schedule import Formed, Limits, Schedule
from gateway.types import Degradation, Forecast, Matrix, Pass, Prediction, Workload

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0
"""How long stopping waits for the batch that runs. A session that hangs longer is left to the end of the process."""

DOWN = "the model's device is lost, and there is nothing to fall back to"

NOTHING: Mapping[str, float] = {}

Run = Callable[[Sequence[list[int]]], tuple[NDArray[np.float32], NDArray[np.float32]]]


@dataclass(frozen=True, slots=True)
class Spare:
    """What takes over where the device is lost: ready to run, with what its passes cost and how large they may be."""

    run: Run
    costs: CostTable
    limits: Limits


@dataclass(slots=True, eq=False)
class _Asked:
    """What the batcher keeps of a question, beside what the queue needs. `is_begun`: it is, or was, in a batch."""

    ids: list[int]
    future: asyncio.Future[Prediction]
    since: float
    timings: dict[str, float]
    is_begun: bool = False


_Question = Waiting[_Asked]


class Batcher:
    """Between the event loop and one session. `submit` belongs to the loop that `start` was called on."""

    def __init__(
        self,
        run: Run,
        costs: CostTable,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        clock: Clock = time.monotonic,
        spare: Spare | None = None,
    ) -> None:
        """`clock` is the one of the deadlines. `run` may raise DeviceLost: then `spare` runs instead, or nothing."""
        self._run = run
        self._spare = spare
        self.degraded: Degradation | None = None
        """Why `run` is given up; None while it is not. From any thread."""
        self._limits = limits
        self._clock = clock
        self._schedule: Schedule[_Asked] = Schedule(costs, limits, _is_gone)  # guarded by _changed; `cost` is not
        self._changed = threading.Condition(threading.Lock())
        self._numbers = itertools.count()
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self.running_since: float | None = None
        """When the pass that runs now began, by the clock; None while none does. From any thread."""
        self._thread = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)
        self._done = Workload()  # replaced on the event loop

    @property
    def waiting(self) -> int:
        return len(self._schedule.queue)

    @property
    def is_up(self) -> bool:
        """Whether anything runs questions. From any thread."""
        return self.degraded is None or self._spare is not None

    def workload(self) -> Workload:
        """From any thread."""
        return replace(self._done, queued_seconds=self._schedule.queued(self._clock()))

    def forecast(self, tokens: int, tenant: str, deadline: Deadline) -> Forecast:
        """How a question of so many tokens would fare that came now. Microseconds."""
        with self._changed:
            return self._schedule.forecast(tokens, tenant, deadline.at, self._clock())

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Finish the batch that runs, within STOP_SECONDS; whatever waits gets Unavailable."""
        with self._changed:
            self._stopping = True
            left = self._emptied()
            self._changed.notify()
        _settle_each(left, Unavailable("the gateway is stopping"))
        if self._thread.is_alive():
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join, STOP_SECONDS)
            if self._thread.is_alive():
                log.warning("the session still computes after %g s and is left alone", STOP_SECONDS)

    async def submit(
        self, ids: list[int], deadline: Deadline, tenant: str = "default", timings: Mapping[str, float] = NOTHING
    ) -> Prediction:
        """The prediction for one question; `timings` are of the stages before, in seconds.

        Raises DeadlineExceeded, Overloaded, InferenceFailed, Unavailable.
        """
        deadline.check("inference")
        loop = asyncio.get_running_loop()
        asked = _Asked(ids, loop.create_future(), self._clock(), dict(timings))
        one = Waiting(next(self._numbers), tenant, deadline.at, len(ids), 0.0, asked)
        with self._changed:
            if self._stopping or self._loop is None:
                raise Unavailable("the model is not running")
            if not self.is_up:
                raise Unavailable(DOWN)
            if self.waiting >= self._limits.waiting:
                raise Overloaded(f"{self.waiting} questions wait already")
            self._schedule.push(one)
            self._changed.notify()
        # Expiry on time, not when the batcher gets there: a hung session must not hold its callers.
        timer = loop.call_later(max(deadline.remaining(), 0), self._expire, one)
        try:
            return await asked.future
        except asyncio.CancelledError:
            self._leave(one)
            raise
        finally:
            timer.cancel()

    def _emptied(self) -> list[_Question]:
        """All that wait, who wait no longer. Holding the lock."""
        left = list(self._schedule.queue)
        for one in left:
            self._schedule.queue.remove(one)
        return left

    def _expire(self, one: _Question) -> None:
        if not one.payload.future.done():
            self._leave(one)
            _settle(one, DeadlineExceeded("the deadline passed before the model had answered"))

    def _leave(self, one: _Question) -> None:
        """Nobody waits for it any more: neither does the queue's cost."""
        with self._changed:
            self._schedule.queue.remove(one)
        if one.payload.is_begun:
            self._done = replace(self._done, left_pass=self._done.left_pass + 1)
        else:
            self._done = replace(self._done, left_queue=self._done.left_queue + 1)

    # -- the dispatcher thread ----------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        while formed := self._next():
            if formed.late:
                self._on_loop(self._refuse, formed.late)
            if formed.batch:
                self._serve(formed.batch)

    def _serve(self, batch: Sequence[_Question]) -> None:
        started, tokens = self._clock(), self._schedule.tokens(batch)
        self.running_since = started
        due = started + self._schedule.costs.predict(tokens)
        try:
            outcomes = self._compute(batch, started)
        except DeviceLost as lost:
            self._fall_back(batch, lost)
            return
        finally:
            self.running_since = None
        self._on_loop(self._settle_all, batch, outcomes, due)
        with self._changed:
            self._schedule.ended()
        # From one batch to the next, as the queue moves, and not the session's time alone. A batch that was tried again
        # one by one says nothing.
        if not any(isinstance(one, Exception) for one in outcomes):
            self._schedule.costs.observe(tokens, self._clock() - started)

    def _fall_back(self, batch: Sequence[_Question], lost: DeviceLost) -> None:
        """Let the spare answer what waits, `batch` included; without one, or from it, nobody is answered any more."""
        left: list[_Question] = []
        with self._changed:
            spare = self._spare if self.degraded is None else None
            self.degraded, self._spare = Degradation(lost.reason), spare
            if spare is None:
                self._schedule.ended()
                left = [*batch, *self._emptied()]
            else:
                self._run = spare.run
                again = [one for one in batch if not _is_gone(one.payload)]
                self._schedule.change(spare.costs, spare.limits, again)
        log.error("%s: %s", "the spare session answers from now on" if spare else DOWN, lost)
        self._on_loop(_settle_each, left, Unavailable(DOWN))

    def _on_loop(self, tell: Callable[..., None], *what: object) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop was closed under us: nobody is left to be told
            self._loop.call_soon_threadsafe(tell, *what)

    def _next(self) -> Formed[_Asked] | None:
        """Wait for work; the next batch, with what was dropped. None when stopping."""
        with self._changed:
            while not self.waiting and not self._stopping:
                self._changed.wait()
            if self._stopping:
                return None
            formed = self._schedule.form(self._clock())
        for one in formed.batch:
            one.payload.is_begun = True
        return formed

    def _compute(self, batch: Sequence[_Question], started: float) -> list[Prediction | Exception]:
        """One outcome for each question; if the batch fails, each is tried alone, so that a bad one fails alone."""
        try:
            logits, embeddings = self._run([one.payload.ids for one in batch])
            # Inside too: output of fewer rows than questions must not end the thread.
            return self._predictions(batch, logits, embeddings, started, self._clock() - started)
        except DeviceLost:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers hear of it and the thread lives on
            if len(batch) == 1:
                return [error if isinstance(error, InferenceFailed) else InferenceFailed(repr(error))]
            return [self._compute([one], started)[0] for one in batch]

    def _predictions(
        self, batch: Sequence[_Question], logits: Matrix, embeddings: Matrix, started: float, seconds: float
    ) -> list[Prediction | Exception]:
        """One for each question of the pass, but for those of whom it made no numbers."""
        if len(logits) != len(batch) or len(embeddings) != len(batch):
            raise InferenceFailed(f"{len(logits)} and {len(embeddings)} rows came for {len(batch)} questions")
        sound = np.logical_and(np.isfinite(logits).all(axis=1), np.isfinite(embeddings).all(axis=1))
        if not np.all(sound):
            logits, embeddings = logits[sound], embeddings[sound]
        forward, by_spare = Pass(logits, embeddings, len(batch)), self.degraded is not None
        outcomes: list[Prediction | Exception] = []
        row = 0
        for one, is_sound in zip(batch, sound.tolist(), strict=True):
            if not is_sound:
                outcomes.append(InferenceFailed("the model's output is not finite"))
                continue
            timings = one.payload.timings
            timings["queue"], timings["infer"] = started - one.payload.since, seconds
            outcomes.append(Prediction(forward, row, one.tokens, timings, by_spare))
            row += 1
        return outcomes

    # -- back on the event loop ---------------------------------------------------------------------------------------

    def _settle_all(self, batch: Sequence[_Question], outcomes: Sequence[Prediction | Exception], due: float) -> None:
        now = self._clock()
        self._schedule.delay.observe(now - due)
        tokens = sum(one.tokens for one in batch)
        # Too late is too late, also where the timer that says so has not had its turn on a busy loop.
        wasted = sum(one.tokens for one in batch if one.payload.future.done() or one.due <= now)
        done = self._done
        self._done = replace(done, tokens=done.tokens + tokens, wasted=done.wasted + wasted)
        for one, outcome in zip(batch, outcomes, strict=True):
            _settle(one, outcome)

    def _refuse(self, late: Sequence[_Question]) -> None:
        self._done = replace(self._done, late=self._done.late + len(late))
        for one in late:
            _settle(
                one, DeadlineUnmeetable("the queue moved more slowly than predicted: no time is left for the model")
            )


def _settle_each(questions: Sequence[_Question], outcome: Exception) -> None:
    for one in questions:
        _settle(one, outcome)


def _settle(one: _Question, outcome: Prediction | Exception) -> None:
    future = one.payload.future
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _is_gone(asked: _Asked) -> bool:
    """Cancelled just now: the task that is to say so has not run yet."""
    return asked.future.done()
