"""The batcher: questions wait here while the session is busy, and leave together, most urgent first.

It is work-conserving: an idle session starts at once on whatever is there, so a lone question never waits for company,
and batches grow only while the session is busy. One dispatcher thread owns the session; the event loop owns the
futures. A question whose caller is gone, or whose deadline has passed, is dropped when the batch forms and never
computed.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded, InferenceFailed, Overloaded, Unavailable
from gateway.types import Prediction, Vector

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0
"""How long stopping waits for the batch that runs. A session that hangs longer is left to the end of the process."""

Run = Callable[[Sequence[list[int]]], tuple[NDArray[np.float32], NDArray[np.float32]]]


@dataclass(frozen=True, slots=True)
class Limits:
    """`tokens` and `questions` bound a batch, `waiting` the queue."""

    tokens: int = 192
    questions: int = 8
    waiting: int = 2048


@dataclass(order=True, slots=True)
class _Waiting:
    """A question in the queue, ordered by deadline, then by arrival."""

    due: float
    number: int
    tokens: list[int] = field(compare=False)
    deadline: Deadline = field(compare=False)
    future: asyncio.Future[Prediction] = field(compare=False)
    since: float = field(compare=False)


class Batcher:
    """Between the event loop and one session. `submit` belongs to the loop that `start` was called on."""

    def __init__(self, run: Run, limits: Limits = Limits(), clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._limits = limits
        self._clock = clock
        self._queue: list[_Waiting] = []  # heap; guarded by _changed
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Finish the batch that runs, within STOP_SECONDS; whatever waits gets Unavailable."""
        with self._changed:
            self._stopping = True
            left, self._queue = self._queue, []
            self._changed.notify()
        for one in left:
            _settle(one.future, Unavailable("the gateway is stopping"))
        if self._thread.is_alive():
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join, STOP_SECONDS)
            if self._thread.is_alive():
                log.warning("the session still computes after %g s and is left alone", STOP_SECONDS)

    async def submit(self, tokens: list[int], deadline: Deadline) -> Prediction:
        """The prediction for one question. Raises DeadlineExceeded, Overloaded, InferenceFailed, Unavailable."""
        deadline.check("inference")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Prediction] = loop.create_future()
        one = _Waiting(deadline.at, next(self._numbers), tokens, deadline, future, self._clock())
        with self._changed:
            if self._stopping or self._loop is None:
                raise Unavailable("the model is not running")
            if len(self._queue) >= self._limits.waiting:  # the dead must not keep out the living while a session hangs
                self._queue = [waiting for waiting in self._queue if not waiting.future.done()]
                heapq.heapify(self._queue)
            if len(self._queue) >= self._limits.waiting:
                raise Overloaded(f"{len(self._queue)} questions wait already")
            heapq.heappush(self._queue, one)
            self._changed.notify()
        # Expiry on time, not when the batcher gets there: a hung session must not hold its callers.
        timer = loop.call_later(max(deadline.remaining(), 0), _expire, future)
        try:
            return await future
        finally:
            timer.cancel()

    # -- the dispatcher thread ----------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        while batch := self._next_batch():
            assert self._loop is not None
            started = self._clock()
            outcomes = self._compute(batch, started)
            try:
                self._loop.call_soon_threadsafe(_settle_all, batch, outcomes)
            except RuntimeError:  # the loop was closed under us
                return

    def _next_batch(self) -> list[_Waiting]:
        """Wait for work; the most urgent live questions within the limits. Empty only when stopping."""
        while True:
            with self._changed:
                while not self._queue and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return []
                batch = self._form()
            if batch:
                return batch

    def _form(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        tokens = 0
        while self._queue and len(batch) < self._limits.questions:
            one = self._queue[0]
            if one.future.done() or one.deadline.is_past():
                heapq.heappop(self._queue)  # its caller is gone, or its timer is about to say so
                continue
            if batch and tokens + len(one.tokens) > self._limits.tokens:
                break
            heapq.heappop(self._queue)
            batch.append(one)
            tokens += len(one.tokens)
        return batch

    def _compute(self, batch: list[_Waiting], started: float) -> list[Prediction | Exception]:
        """One outcome for each question; if the batch fails, each is tried alone, so that a bad one fails alone."""
        try:
            logits, embeddings = self._run([one.tokens for one in batch])
            seconds = self._clock() - started
            # Inside too: output of fewer rows than questions must not end the thread.
            return [
                self._prediction(one, logits[row], embeddings[row], started, seconds, len(batch))
                for row, one in enumerate(batch)
            ]
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers hear of it and the thread lives on
            if len(batch) == 1:
                return [error if isinstance(error, InferenceFailed) else InferenceFailed(repr(error))]
            return [self._compute([one], started)[0] for one in batch]

    def _prediction(
        self, one: _Waiting, logits: Vector, embedding: Vector, started: float, seconds: float, size: int
    ) -> Prediction | Exception:
        if not (np.isfinite(logits).all() and np.isfinite(embedding).all()):
            return InferenceFailed("the model's output is not finite")
        timings = {"queue": started - one.since, "infer": seconds}
        return Prediction(logits, embedding, len(one.tokens), size, timings)


def _settle(future: asyncio.Future[Prediction], outcome: Prediction | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _settle_all(batch: list[_Waiting], outcomes: list[Prediction | Exception]) -> None:
    for one, outcome in zip(batch, outcomes, strict=True):
        _settle(one.future, outcome)


def _expire(future: asyncio.Future[Prediction]) -> None:
    _settle(future, DeadlineExceeded("the deadline passed before the model had answered"))
