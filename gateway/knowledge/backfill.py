"""What a store holds, embedded by an encoder that has not embedded it yet: some at a time, and kept as it is made.

Nothing of it is lost where the process ends in the middle: the next one goes on from there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from gateway.errors import StoreFailed
from gateway.knowledge.changes import Stored
from gateway.knowledge.encoder import Encoder, entry_of, kept
from gateway.knowledge.history import Place, stored
from gateway.knowledge.rows import Rows
from gateway.knowledge.segment import Entry, entries
from gateway.knowledge.store import Store
from gateway.types import BackfillFigures

log = logging.getLogger(__name__)

TOGETHER = 64
"""Documents that are embedded together where nobody waits for anything else."""
BESIDE = 16
"""Documents that are embedded together beside questions, between two pauses."""
TELL_SECONDS = 10.0
"""Between two lines of the log that say how far it is."""
LONGEST_NAP = 0.2
"""Seconds, after which somebody may have changed their mind."""

UNEMBEDDED = (
    "gone IS NULL AND NOT EXISTS (SELECT 1 FROM embedding WHERE encoder = ? AND embedding.version = document.version)"
)

GoOn = Callable[[], None]
"""Called now and then; what it raises ends it."""


class Progress:
    """How far it is. `figures` are read from any thread."""

    def __init__(self) -> None:
        self.figures = BackfillFigures()
        self._began = self._told = 0.0

    def begin(self, bundle: str, total: int) -> None:
        self.figures = BackfillFigures(bundle, 0, total)
        self._began = self._told = time.monotonic()
        log.info("%s: %d stored documents are to be embedded by its encoder", bundle, total)

    def advance(self, documents: int) -> None:
        """More are done; and perhaps more have come, so that there are more than it began with."""
        before = self.figures
        now = self.figures = BackfillFigures(
            before.bundle, before.done + documents, max(before.total, before.done + documents)
        )
        if time.monotonic() - self._told >= TELL_SECONDS:
            self._told = time.monotonic()
            rate = now.done / (self._told - self._began)
            left = timedelta(seconds=round((now.total - now.done) / rate))
            log.info(
                "%s: %d of %d stored documents are embedded, %.1f a second, %s left",
                now.bundle,
                now.done,
                now.total,
                rate,
                left,
            )

    def end(self) -> None:
        now, self.figures = self.figures, BackfillFigures()
        if now.done:
            seconds = time.monotonic() - self._began
            log.info("%s: %d stored documents were embedded in %.1f s", now.bundle, now.done, seconds)


class Backfill:
    """Of one store by one encoder, in one thread. `language` as in `lexical.Analyzer`."""

    def __init__(self, store: Store, encoder: Encoder, language: str, progress: Progress) -> None:
        self._store = store
        self._encoder = encoder
        self._language = language
        self._progress = progress

    def entries(self, some: Sequence[Stored], rows: Rows, go_on: GoOn) -> list[Entry]:
        """Of these documents, in their order; those without vectors are embedded now."""
        found: dict[int, Entry] = {}
        for part in _parts(some, TOGETHER):
            vectors = self._store.vectors(self._encoder.name, self._encoder.dim, [one.version for one in part], rows)
            there = [entry_of(one, vectors, self._language) for one in part]
            found |= {one.version: one for one in there if one is not None}
        new = [one for one in some if one.version not in found]
        for part in _parts(new, TOGETHER):
            go_on()
            found |= {one.version: one for one in self._made(part)[0]}
        return [found[one.version] for one in some]

    def run(self, share: float, go_on: GoOn) -> None:
        """Embed all that is current, until hardly anything has come meanwhile. `share` of the time, 0 to 1, and in the
        rest others have the processor, or the accelerator.

        Raises StoreFailed where it cannot be kept, what the encoder raises, and what `go_on` raises.
        """
        with self._store.apart() as rows:
            left = count_unembedded(rows, self._encoder.name)
            if not left:
                return
            self._progress.begin(self._encoder.bundle, left)
            try:
                while left:
                    for part in self._unembedded(rows):
                        go_on()
                        started = time.monotonic()
                        if not self._made(part)[1]:
                            raise StoreFailed(
                                f"{self._store.path}: what was embedded could not be kept, see the log; make room, and "
                                "ask again: it goes on from there"
                            )
                        self._progress.advance(len(part))
                        _nap((time.monotonic() - started) * (1 - share) / share, go_on)
                    # What was written meanwhile: less each time, and a few are made when all is looked through.
                    left = count_unembedded(rows, self._encoder.name) if left > TOGETHER else 0
            finally:
                self._progress.end()

    def _unembedded(self, rows: Rows) -> Iterator[list[Stored]]:
        """Read when they are wanted: a document that was replaced meanwhile is not embedded for nothing."""
        for place in self._store.collections():
            after = ""
            while some := unembedded(rows, place, self._encoder.name, after, BESIDE):
                yield some
                after = some[-1].document.id

    def _made(self, some: Sequence[Stored]) -> tuple[list[Entry], bool]:
        """Embedded, and whether that is kept."""
        made = entries(
            [one.document for one in some], self._encoder.embed, [one.version for one in some], self._language
        )
        return made, self._store.keep(self._encoder.name, {one.version: kept(one) for one in made})


def unembedded(rows: Rows, place: Place, encoder: str, after: str, most: int) -> list[Stored]:
    """Current documents of a collection without vectors by that encoder, in the order of their ids, after that one."""
    tail = f"INDEXED BY current WHERE tenant = ? AND collection = ? AND id > ? AND {UNEMBEDDED} ORDER BY id LIMIT ?"
    return [stored(row) for row in rows.of("document", tail, *place, after, encoder, most)]


def count_unembedded(rows: Rows, encoder: str) -> int:
    """Of all collections."""
    return int(rows(f"SELECT count(*) FROM document INDEXED BY current WHERE {UNEMBEDDED}", encoder)[0][0])  # noqa: S608


def _parts(some: Sequence[Stored], size: int) -> Iterator[Sequence[Stored]]:
    return (some[at : at + size] for at in range(0, len(some), size))


def _nap(seconds: float, go_on: GoOn) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        go_on()
        time.sleep(min(left, LONGEST_NAP))
