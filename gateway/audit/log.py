"""The audit log of one process: answers are handed over in microseconds, and written by a thread of its own.

What waits is bounded. Where the thread cannot keep up, or the disk is full, records are left out rather than answers
held up; how many is counted, and said in the chain once it goes on.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from gateway.audit.cases import Cases, Drawn, Tally, Verdict
from gateway.audit.chain import Bounds, Chain, Entry, prune_others
from gateway.audit.marks import Mark, Marker, time_of
from gateway.audit.records import Answered, Kind, content_of, judged, stamp, text_line
from gateway.errors import StoreFailed, UnknownAnswer
from gateway.types import Answer, AuditFigures, Question

log = logging.getLogger(__name__)

PERIOD = 0.1
"""Seconds between two looks at what waits: as much is lost when the process is killed."""
PAUSE = 1.0
"""Seconds until what could not be written is tried again."""
TOGETHER = 16
"""Records that are made and written at once. Between them the event loop gets its turn."""
TIDY = 3600.0
"""Seconds between two looks at whether segments are too old; that there are too many bytes is seen at each new one."""
PATIENCE = 10.0
"""Seconds for what waits to be written, when the gateway ends."""
EVERYBODY = "*"
MANIFEST_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Terms:
    """`waiting`: the most records that wait to be written. `sync_seconds`: how much may be lost with the power, 0 none
    of what was written. `text_tenants`: whose questions are kept as they were asked."""

    waiting: int = 8192
    sync_seconds: float = 1.0
    text_tenants: frozenset[str] = frozenset()
    bounds: Bounds = field(default_factory=Bounds)


class AuditLog:
    """Of one worker, in a chain of its own. `offer` on the event loop, `figures` from any thread; `close` it."""

    def __init__(
        self, folder: Path, worker: int, marker: Marker, terms: Terms, clock: Callable[[], float] = time.time
    ) -> None:
        """Raises ConfigInvalid, OSError."""
        self.marker = marker
        self._terms = terms
        self._clock = clock
        self._folder, self._own = folder, str(worker)
        self._chain = Chain(folder / self._own, terms.bounds, clock)
        self._cases = Cases(folder)
        self._drawn: list[Drawn] = []
        self._manifests: dict[str, str] = {}
        self._waiting: deque[Answered | Entry] = deque()
        self._entries: list[Entry] = []
        self._written = self._dropped = self._told = 0
        self._is_failing = False
        self._ending = threading.Event()
        self._synced, self._tidied = time.monotonic(), float("-inf")
        try:
            self._begin(worker)
        except BaseException:
            self._chain.close()
            raise
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def _begin(self, worker: int) -> None:
        content = {
            "time": stamp(self._clock()),
            "worker": worker,
            "pid": os.getpid(),
            "version": version("cascade-gateway"),
            "share": self.marker.share,
            "text_tenants": sorted(self._terms.text_tenants),
            "after_crash": not self._chain.was_closed,
            "torn_bytes": self._chain.torn,
        }
        if not self._chain.was_closed:
            log.warning("the audit log's last writer did not come to an end; %d bytes were torn", self._chain.torn)
        self._chain.write([(Kind.OPEN, content, b"")])
        self._chain.sync()
        self._chain.prune()

    def offer(self, question: Question, answer: Answer, request_id: str, seconds: float) -> Mark | None:
        """Have an answer written. None where there is no room: it will not be, and has no name."""
        if len(self._waiting) >= self._terms.waiting:
            self._dropped += 1
            return None
        at = self._clock()
        mark = self.marker.mark(question.principal.tenant, at)
        manifest = self._manifests.get(answer.bundle, "")
        self._waiting.append(Answered(mark, at, request_id, question, answer, seconds, manifest))
        return mark

    def serves(self, bundle: str, manifest_sha256: str) -> str:
        """Answers by that bundle are of this very one from now on; what its cases are counted under."""
        self._manifests[bundle] = manifest_sha256[:MANIFEST_DIGITS]
        return _counted_under(bundle, self._manifests[bundle])

    def judge(self, given: Verdict) -> bool:
        """Take what somebody says of an answer. Whether it is new; on disk when this returns. Any thread.

        Raises UnknownAnswer unless that answer was given to that tenant, and is not older than what is kept;
        StoreFailed, StoreFull.
        """
        oldest = self._clock() - self._terms.bounds.age
        if not self.marker.is_given_to(given.tenant, given.id) or time_of(given.id) < oldest:
            raise UnknownAnswer(given.id)
        if not self.keeps_text(given.tenant):
            given = replace(given, comment="")
        at = self._clock()
        if not self._cases.judge(given, at):
            return False
        if len(self._waiting) < self._terms.waiting:
            self._waiting.append((Kind.FEEDBACK, judged(given, at), b""))
        else:
            self._dropped += 1
        return True

    def tallies(self, counted_under: str) -> list[Tally]:
        """What is known of answers by a bundle, as `serves` named it. Any thread. Raises StoreFailed."""
        return self._cases.tallies(counted_under)

    def keeps_text(self, tenant: str) -> bool:
        return tenant in self._terms.text_tenants or EVERYBODY in self._terms.text_tenants

    def figures(self) -> AuditFigures:
        return AuditFigures(
            written=self._written,
            dropped=self._dropped,
            waiting=len(self._waiting) + len(self._entries),
            bytes=self._chain.size(),
            is_failing=self._is_failing,
        )

    def close(self) -> None:
        """Write what waits, and that this is the end. What cannot be written by then is dropped."""
        self._ending.set()
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            log.error("the audit log was not written to its end within %g s", PATIENCE)

    def _run(self) -> None:
        while not self._ending.wait(PAUSE if self._is_failing else PERIOD):
            self._turn()
        self._synced = 0.0
        self._turn()
        try:
            with closing(self._cases), closing(self._chain):
                self._chain.write([(Kind.CLOSE, {"time": stamp(self._clock())}, b"")])
        except OSError:
            log.exception("the audit log could not be closed in good order")

    def _turn(self) -> None:
        """Write all that waits now. What fails waits for the next turn."""
        try:
            for entries in self._batches():
                self._chain.write(entries)
                self._written += len(entries)
                self._entries = []
            self._care()
        except (OSError, StoreFailed) as error:
            self._note_failure(error)
        except Exception:  # this thread must not end: those who are answered would not know
            log.exception("%d records could not be made", len(self._entries) or TOGETHER)
            self._dropped += len(self._entries) or TOGETHER
            self._entries = []
        else:
            self._note_recovery()

    def _batches(self) -> Iterator[list[Entry]]:
        """What could not be written the last time comes first."""
        if self._entries:
            yield self._entries
        if (missing := self._dropped - self._told) > 0:
            content = {"time": stamp(self._clock()), "count": missing}
            self._entries = [(Kind.DROPPED, content, b"")]
            self._told += missing
            yield self._entries
        for _ in range(len(self._waiting), 0, -TOGETHER):
            self._entries = [self._entry(self._waiting.popleft()) for _ in range(min(TOGETHER, len(self._waiting)))]
            yield self._entries

    def _entry(self, given: Answered | Entry) -> Entry:
        if not isinstance(given, Answered):
            return given
        tenant, answer = given.question.principal.tenant, given.answer
        if given.mark.is_drawn:
            bundle = _counted_under(answer.bundle, given.manifest)
            mark = given.mark
            self._drawn.append(Drawn(mark.id, tenant, bundle, answer.route.value, given.at, mark.propensity))
        text = text_line(given.mark.id, tenant, given.question.text) if self.keeps_text(tenant) else b""
        return Kind.ANSWER, content_of(given, self.marker), text

    def _care(self) -> None:
        now = time.monotonic()
        if now - self._synced >= self._terms.sync_seconds:
            self._synced = now
            self._chain.sync()
            self._have_judged()
        if now - self._tidied >= TIDY:
            self._tidied = now
            self._chain.prune()
            prune_others(self._folder, self._own, self._terms.bounds, self._clock)
            self._cases.clear(self._clock() - self._terms.bounds.age)

    def _have_judged(self) -> None:
        """The drawn ones, which are few, together: a transaction of the file that is shared costs some milliseconds."""
        if self._drawn:
            self._drawn = self._drawn[-self._terms.waiting :]  # of what could not be written before
            self._cases.draw(self._drawn)
            self._drawn = []

    def _note_failure(self, error: Exception) -> None:
        if not self._is_failing:
            log.error(
                "the audit log cannot be written: %s. Answers go on; records wait, and beyond %d are dropped",
                error,
                self._terms.waiting,
            )
        self._is_failing = True

    def _note_recovery(self) -> None:
        if self._is_failing:
            log.warning("the audit log is written again; %d records were dropped so far", self._dropped)
        self._is_failing = False


def _counted_under(bundle: str, manifest: str) -> str:
    """A bundle that was made or certified anew under its name is another one."""
    return f"{bundle}@{manifest}" if manifest else bundle
