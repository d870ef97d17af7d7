"""The knowledge base on disk: what every collection holds, and every change to it in order. SQLite, and the only truth:
whatever else there is of a collection is made from it.

Changes come in batches, and a batch happens whole or not at all. Each change has a number, one more than the one before
it: the knowledge version. One thread writes, and takes what waits into one transaction, as a commit waits for the disk
and costs the same for many. A write is acknowledged once that transaction is on disk (WAL, synchronous FULL): neither a
killed process nor a power cut loses it, if the disk is honest. Where it was not, that is noticed: each row has a
checksum (`rows`), the log says what all that is current comes to (`current`), and a note beside the file what was
acknowledged (`acknowledged`).

Several processes may open one file: see `file`.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from gateway.errors import StoreFailed
from gateway.knowledge import clearing, history, mending, schema
from gateway.knowledge.acknowledged import Acknowledged
from gateway.knowledge.changes import Batch, Changed, Receipt, Stored, Switched
from gateway.knowledge.committing import Committer, Meanwhile
from gateway.knowledge.file import FILE, File, transaction
from gateway.knowledge.history import Place
from gateway.knowledge.recovering import recover
from gateway.knowledge.rows import Rows, failures, insert
from gateway.types import Matrix, SearchConfidence

log = logging.getLogger(__name__)

CLEARING_PAUSE = 0.02
"""Seconds between two pieces of a clearing, for whoever wants to write."""
KEPT_LOG_BYTES = 16 << 20
"""Of the write-ahead log, above which it is moved into the file where embeddings are kept."""
COPIED_AT_ONCE = 1024
"""Pages, between which a snapshot says how far it is."""
PREPARING_SECONDS = 600.0
"""For so long others wait where one process makes the tables of this version of those of an earlier one."""
MOST_READ = 10_000
"""Changes of the log that are read together."""


class Store:
    """One file, open. `write` belongs to an event loop; all else may be called from any thread, one at a time each."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time, is_alone: bool = False) -> None:
        """Open what is in `folder`, or begin it. `clock`: seconds since the epoch. `is_alone`: nobody else may have it
        open meanwhile. Raises StoreFailed, naming the file and what is wrong with it: StoreDamaged, where changes that
        were acknowledged are not there any more."""
        self._clock = clock
        try:
            with contextlib.ExitStack() as opened:
                self._file = opened.enter_context(contextlib.closing(File(folder, is_alone)))
                self.path = self._file.path
                noted = opened.enter_context(contextlib.closing(Acknowledged(folder)))
                if self._file.is_first:
                    recover(self._file, noted)
                    if not is_alone:
                        self._file.share()
                writing = opened.enter_context(contextlib.closing(self._file.opened()))
                with self._file.alone(PREPARING_SECONDS):
                    noted.check(self.path, schema.last(Rows(self.path, writing)))
                    schema.prepare(self.path, writing)
                reading = opened.enter_context(contextlib.closing(self._file.opened()))
                reading.execute("PRAGMA query_only = ON")
                self._rows = Rows(self.path, reading)
                committer = Committer(self._file, writing, noted, clock)
                self._committer = opened.enter_context(contextlib.closing(committer))
                self._opened = opened.pop_all()
        except (OSError, sqlite3.Error) as error:
            raise StoreFailed(f"{folder / FILE}: {error}") from error
        self._clearing = threading.Lock()
        self._is_closed = False

    # -- reading ------------------------------------------------------------------------------------------------------

    def last(self) -> int:
        """The number of the last change."""
        return history.last(self._rows)

    def stamp(self) -> int:
        """Another number whenever another process has written. Microseconds."""
        return int(self._rows("PRAGMA data_version")[0][0])

    def collections(self) -> list[Place]:
        """Of those that there are."""
        return history.places(self._rows)

    def changes(self, after: int, most: int = MOST_READ) -> list[Changed]:
        """The log after that number, in order."""
        return history.changes(self._rows, after, most)

    def documents(
        self, tenant: str, collection: str, after: str = "", most: int = -1, rows: Rows | None = None
    ) -> list[Stored]:
        """Current ones in the order of their ids, those after that one. `rows`: by those, as in `apart`."""
        found = history.documents(rows or self._rows, (tenant, collection), after, most)
        return [history.stored(row) for row in found]

    def document(self, tenant: str, collection: str, document_id: str, version: int = 0) -> Stored | None:
        """The last one, which may be gone, or that version of it; nothing from before the collection was begun."""
        return history.document(self._rows, (tenant, collection), document_id, version)

    def was_written(self, tenant: str, collection: str, document_id: str, version: int) -> bool:
        """Whether the collection ever had that version of it, kept or not."""
        return history.was_written(self._rows, (tenant, collection), document_id, version)

    def around(self, change: Changed) -> history.Around:
        """A document before and after a change of it, and as it is now."""
        return history.around(self._rows, change)

    def changes_of(self, place: Place, after: int, up_to: int) -> list[Changed]:
        """The log after one number and up to another one, of that tenant's collection and of what is of all."""
        return history.changes_of(self._rows, place, after, up_to)

    def since(self, place: Place) -> int:
        """The change that began the collection; 0 if there is none."""
        return history.since(self._rows, place)

    def confidence(self, tenant: str, collection: str) -> SearchConfidence | None:
        """The collection's own, whatever it was fitted on; None if it has none."""
        return history.confidence(self._rows, (tenant, collection))

    def cleared(self) -> int:
        """Up to which change what it ended is not all kept."""
        return history.cleared(self._rows)

    def switched(self) -> Switched | None:
        """Which encoder searches were last switched to; None if they never were."""
        return history.switched(self._rows)

    def figures(self, tenant: str, collection: str) -> history.Figures:
        """What a collection takes on disk. Reads all of it, so not on an event loop; holds up nothing else."""
        with self.moment() as rows:
            return history.figures(rows, (tenant, collection))

    def vectors(self, encoder: str, dim: int, versions: Sequence[int], rows: Rows | None = None) -> dict[int, Matrix]:
        """Version -> vectors [passages, dim] of those documents that have any by that encoder. Damaged ones are as if
        they were not there: documents are embedded again."""
        found: dict[int, Matrix] = {}
        for at in range(0, len(versions), 500):
            part = versions[at : at + 500]
            tail = f"WHERE encoder = ? AND version IN ({', '.join('?' * len(part))})"
            for _, version, blob, _ in (rows or self._rows).sound("embedding", tail, encoder, *part):
                if len(blob) % (4 * dim) == 0:
                    found[version] = np.frombuffer(blob, np.float32).reshape(-1, dim)
        return found

    def keep(self, encoder: str, vectors: Mapping[int, Matrix]) -> bool:
        """Keep what was embedded anew, by the versions of the documents. Whether it is: of no harm where it fails."""
        try:
            with self._file.alone(), contextlib.closing(self._file.opened()) as connection:
                with transaction(connection):
                    for version, one in vectors.items():
                        blob = np.ascontiguousarray(one, np.float32).tobytes()
                        insert(connection, "embedding", encoder, version, blob, replaces=True)
                # The writer's thread moves it only where something is written.
                if self._file.log_bytes() > KEPT_LOG_BYTES:
                    with contextlib.suppress(sqlite3.Error):
                        self._file.restart_log(connection, cuts=True)
        except (OSError, sqlite3.Error, StoreFailed) as error:
            log.warning("%s: %d embeddings could not be kept, and are made again: %s", self.path, len(vectors), error)
            return False
        return True

    @contextlib.contextmanager
    def apart(self) -> Iterator[Rows]:
        """Reads by a connection of its own, in one thread: each as of its own moment, and no other one waits for it."""
        with failures(self.path), contextlib.closing(self._file.opened()) as connection:
            connection.execute("PRAGMA query_only = ON")
            yield Rows(self.path, connection)

    @contextlib.contextmanager
    def moment(self) -> Iterator[Rows]:
        """As `apart`, and all of it as it is at one moment, beside writes. Raises StoreFailed."""
        with self.apart() as rows:
            rows("BEGIN")
            yield rows

    def check(self) -> list[str]:
        """What is wrong with the file; nothing if it is sound. Reads all of it."""
        return [str(row[0]) for row in self._rows("PRAGMA integrity_check") if row[0] != "ok"]

    def snapshot(self, to: Path, progress: Callable[[int, int], None] = lambda done, of: None) -> int:
        """Copy the whole as it is now into a new file, beside writes. The number of the last change in it. `progress`
        hears of the pages that are done, and of all."""
        if to.exists():
            raise StoreFailed(f"{to}: is there already")
        with (
            failures(to),
            contextlib.closing(sqlite3.connect(to)) as copy,
            contextlib.closing(self._file.opened()) as source,
        ):
            # Of one moment, though it is copied piece by piece: a transaction begins with its first look.
            source.execute("BEGIN")
            last = int(source.execute("SELECT coalesce(max(seq), 0) FROM change").fetchone()[0])
            source.backup(copy, pages=COPIED_AT_ONCE, progress=lambda _, remaining, of: progress(of - remaining, of))
            copy.execute("PRAGMA journal_mode = DELETE")
            return last

    # -- writing ------------------------------------------------------------------------------------------------------

    async def write(self, batch: Batch, meanwhile: Meanwhile | None = None) -> Receipt:
        """Do all of it, and return once it is on disk. Receipts come in the order of their numbers. `meanwhile` is
        called in the event loop before that, with what the receipt will be if the disk takes it; not where others are
        written together with it, nor for a repeat.

        Raises UnknownCollection, VersionConflict, KeyReused, StoreFull, StoreFailed, Unavailable; nothing of the batch
        is done then.
        """
        return await self._committer.write(batch, meanwhile)

    def close(self) -> None:
        """Write what waits, and close the file."""
        if not self._is_closed:
            self._is_closed = True
            self._committer.close()
            with self._clearing:  # its piece is done, and there is no next one
                self._opened.close()

    def clear(self, before: float) -> int:
        """Forget what was superseded before that moment, and request keys of an age. How many versions. In pieces, so
        that no write waits for long."""
        cleared = 0
        with self._clearing:
            if self._is_closed:
                return 0
            with failures(self.path), contextlib.closing(self._file.opened()) as connection:
                bound, rows = clearing.first_change_at(Rows(self.path, connection), before), clearing.AT_ONCE
                keys = self._clock() - clearing.KEY_SECONDS
                while rows >= clearing.AT_ONCE and not self._is_closed:
                    with self._file.alone(), transaction(connection):
                        versions = clearing.clear_versions(connection, bound)
                        rows = max(versions, clearing.clear_keys(connection, keys))
                    cleared += versions
                    time.sleep(CLEARING_PAUSE)
                with self._file.alone():
                    self._file.restart_log(connection)
        return cleared

    def compact(self, keeps_vectors: bool = False) -> dict[str, int]:
        """Give back the room of what was cleared. Only where nobody else has it open: it takes long, and writes all of
        it anew. Of how many documents vectors were deleted, by encoders that nobody goes back to; of none if
        `keeps_vectors`."""
        with (
            failures(self.path),
            self._file.alone(),
            contextlib.closing(self._file.opened()) as connection,
        ):
            with transaction(connection):
                clearing.clear_orphans(connection)
                left = {} if keeps_vectors else clearing.clear_left_encoders(connection)
            connection.execute("VACUUM")
            self._file.restart_log(connection, cuts=True)
        return left

    def mend(self, is_tried: bool = False) -> list[str]:
        """Go on without what is damaged; see `mending.mend`. Only where nobody else has it open. What came of it; if
        `is_tried`, what would come of it, and nothing is written."""
        with (
            failures(self.path),
            self._file.alone(),
            contextlib.closing(self._file.opened()) as connection,
        ):
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            connection.execute("BEGIN IMMEDIATE")
            done = list(mending.mend(Rows(self.path, connection), self._clock))
            connection.execute("ROLLBACK" if is_tried else "COMMIT")
            return done
