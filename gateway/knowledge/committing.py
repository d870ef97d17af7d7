"""The one thread that writes a store: what waits is one transaction, and is acknowledged once that is on disk."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway import failpoints
from gateway.errors import StoreFailed, Unavailable
from gateway.knowledge.acknowledged import Acknowledged
from gateway.knowledge.changes import Batch, Receipt
from gateway.knowledge.file import File, transaction
from gateway.knowledge.rows import Rows, failure
from gateway.knowledge.writing import Writer

MOST_AT_ONCE = 64
"""Batches that share a transaction."""
CHECKPOINT_BATCHES = 256
"""After so many the write-ahead log is moved into the file."""


Meanwhile = Callable[[Receipt], None]
"""What to do in the time that the disk takes. The receipt holds once it is acknowledged, and may never be."""


@dataclass(frozen=True, slots=True)
class _Job:
    batch: Batch
    future: asyncio.Future[Receipt]
    loop: asyncio.AbstractEventLoop
    meanwhile: Meanwhile | None

    def soon(self, call: Callable[..., object], *given: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed under us: nobody is left to be told
            self.loop.call_soon_threadsafe(call, *given)


class Committer:
    """`write` belongs to an event loop. The connection is its thread's alone."""

    def __init__(
        self, file: File, connection: sqlite3.Connection, noted: Acknowledged, clock: Callable[[], float]
    ) -> None:
        """`clock`: seconds since the epoch."""
        self._file = file
        self._connection = connection
        self._noted = noted
        self._writer = Writer(Rows(file.path, connection), clock)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._is_closed = False
        self._unmoved = 0
        self._thread = threading.Thread(target=self._run, name="knowledge", daemon=True)
        self._thread.start()

    async def write(self, batch: Batch, meanwhile: Meanwhile | None = None) -> Receipt:
        """See `Store.write`."""
        if self._is_closed:
            raise Unavailable("the knowledge base is closed")
        loop = asyncio.get_running_loop()
        job = _Job(batch, loop.create_future(), loop, meanwhile)
        self._jobs.put(job)
        # On disk or not, and whoever asked may have gone: what is done is done.
        return await asyncio.shield(job.future)

    def close(self) -> None:
        """Write what waits, and end."""
        if not self._is_closed:
            self._is_closed = True
            self._jobs.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            jobs, is_last = self._waiting(job)
            del job  # while nothing comes, this holds nothing of what came last
            self._do(jobs)
            del jobs
            if is_last:
                return

    def _waiting(self, job: _Job) -> tuple[list[_Job], bool]:
        """That one and what else waits, MOST_AT_ONCE at most; and whether nothing comes after that."""
        jobs = [job]
        while len(jobs) < MOST_AT_ONCE:
            try:
                following = self._jobs.get_nowait()
            except queue.Empty:
                break
            if following is None:
                return jobs, True
            jobs.append(following)
        return jobs, False

    def _do(self, jobs: Sequence[_Job]) -> None:
        for one, outcome in zip(jobs, self._commit(jobs), strict=True):
            one.soon(_settle, one.future, outcome)
        self._checkpoint(len(jobs))

    def _commit(self, jobs: Sequence[_Job]) -> list[Receipt | Exception]:
        """In one transaction, each batch whole or not at all."""
        try:
            with self._file.alone():
                with transaction(self._connection):
                    outcomes = [self._writer.tried(one.batch) for one in jobs]
                    if len(jobs) == 1:  # else what each makes of what was there before is nothing that will be there
                        _tell(jobs[0], outcomes[0])
                    failpoints.reached("before-commit")
                failpoints.reached("after-commit")
                if last := _last(outcomes):
                    self._noted.note(last)
        except Exception as error:  # noqa: BLE001 - the writer lives on, and every caller hears of it
            return [error if isinstance(error, StoreFailed) else failure(self._file.path, error)] * len(jobs)
        return outcomes

    def _checkpoint(self, batches: int) -> None:
        """Now and then, where no other process is in the way."""
        self._unmoved += batches
        if self._unmoved < CHECKPOINT_BATCHES:
            return
        with contextlib.suppress(OSError, sqlite3.Error, StoreFailed), self._file.alone(patience=0.0):
            self._file.restart_log(self._connection)
            self._unmoved = 0
            self._noted.sync()


def _last(outcomes: Sequence[Receipt | Exception]) -> int:
    """The last change that was made; 0 if none was."""
    receipts = [one for one in outcomes if isinstance(one, Receipt) and not one.is_repeat]
    return max((version for one in receipts for version in one.versions), default=0)


def _tell(job: _Job, outcome: Receipt | Exception) -> None:
    if job.meanwhile is not None and isinstance(outcome, Receipt) and not outcome.is_repeat:
        job.soon(job.meanwhile, outcome)


def _settle(future: asyncio.Future[Receipt], outcome: Receipt | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
