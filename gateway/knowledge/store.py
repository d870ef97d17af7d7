"""The knowledge base on disk: what every collection holds, and every change to it in order. SQLite, and the only truth:
whatever else there is of a collection is made from it.

Changes come in batches, and a batch happens whole or not at all. Each change has a number, one more than the one before
it: the knowledge version. One thread writes, and takes what waits into one transaction, as a commit waits for the disk
and costs the same for many. A write is acknowledged once that transaction is on disk (WAL, synchronous FULL): neither a
killed process nor a power cut loses it, if the disk is honest.

Several processes may open one file: their writers take turns by a lock beside it, and take it for checkpoints too.
SQLite before 3.51.3 can spoil its log when two connections write and checkpoint at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateway.errors import KeyReused, StoreFailed, StoreFull, Unavailable, UnknownCollection, VersionConflict
from gateway.knowledge import failpoints
from gateway.knowledge.changes import Batch, Change, Changed, Create, Drop, Put, Receipt, Remove, Stored, row_of
from gateway.types import Document, Matrix

log = logging.getLogger(__name__)

FILE = "knowledge.db"
LOCK = "knowledge.lock"
SCHEMA = 1
MOST_AT_ONCE = 64
"""Batches that share a transaction."""
CHECKPOINT_BATCHES = 256
"""After so many the writer moves the write-ahead log into the file."""
LOG_BYTES = 64 << 20
"""To which the log is cut when it begins anew."""
BUSY_SECONDS = 10.0
LOCK_POLL = 0.002

TABLES = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE collection(
    tenant TEXT NOT NULL, name TEXT NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (tenant, name)) WITHOUT ROWID;
CREATE TABLE change(
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL, collection TEXT NOT NULL, op TEXT NOT NULL, document TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE document(
    tenant TEXT NOT NULL, collection TEXT NOT NULL, id TEXT NOT NULL,
    version INTEGER NOT NULL, gone INTEGER,
    title TEXT NOT NULL, uri TEXT NOT NULL, updated TEXT NOT NULL, answer TEXT NOT NULL, text TEXT NOT NULL,
    groups TEXT NOT NULL,
    PRIMARY KEY (tenant, collection, id, version)) WITHOUT ROWID;
CREATE UNIQUE INDEX current ON document(tenant, collection, id) WHERE gone IS NULL;
CREATE TABLE embedding(
    encoder TEXT NOT NULL, version INTEGER NOT NULL, vectors BLOB NOT NULL,
    PRIMARY KEY (encoder, version)) WITHOUT ROWID;
CREATE TABLE request(
    tenant TEXT NOT NULL, collection TEXT NOT NULL, key TEXT NOT NULL,
    content BLOB NOT NULL, versions TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (tenant, collection, key)) WITHOUT ROWID;
"""
"""`collection` has those that there are, each since the change that began it. A document's `version` is the number of
the change that wrote it, and `gone` of the one that ended it. `embedding` has the float32 vectors of its passages, end
to end. `request` remembers what a key was used for and what came of it."""

DOCUMENT = "id, version, title, uri, updated, answer, text, groups"


@dataclass(frozen=True, slots=True)
class _Job:
    batch: Batch
    future: asyncio.Future[Receipt]
    loop: asyncio.AbstractEventLoop


class Store:
    """One file, open. `write` belongs to an event loop; all else may be called from any thread, one at a time each."""

    def __init__(self, folder: Path) -> None:
        """Open what is in `folder`, or begin it. Raises StoreFailed, naming the file and what is wrong with it."""
        self.path = folder / FILE
        try:
            with contextlib.ExitStack() as opened:
                folder.mkdir(parents=True, exist_ok=True)
                self._lock = opened.enter_context((folder / LOCK).open("a"))
                self._writing = opened.enter_context(contextlib.closing(self._opened()))
                with self._alone():
                    self._prepare()
                self._reading = opened.enter_context(contextlib.closing(self._opened()))
                self._reading.execute("PRAGMA query_only = ON")
                self._files = opened.pop_all()
        except (OSError, sqlite3.Error) as error:
            raise StoreFailed(f"{self.path}: {error}") from error
        self._read_lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._is_closed = False
        self._unmoved = 0
        self._thread = threading.Thread(target=self._write, name="knowledge", daemon=True)
        self._thread.start()

    # -- reading ------------------------------------------------------------------------------------------------------

    def last(self) -> int:
        """The number of the last change."""
        return int(self._all("SELECT coalesce(max(seq), 0) FROM change")[0][0])

    def stamp(self) -> int:
        """Another number whenever another process has written. Microseconds."""
        return int(self._all("PRAGMA data_version")[0][0])

    def collections(self) -> list[tuple[str, str]]:
        """(tenant, name) of those that there are."""
        return [(tenant, name) for tenant, name in self._all("SELECT tenant, name FROM collection")]

    def changes(self, after: int, most: int = 10_000) -> list[Changed]:
        """The log after that number, in order."""
        rows = self._all(
            "SELECT seq, tenant, collection, op, document, at FROM change WHERE seq > ? ORDER BY seq LIMIT ?",
            after,
            most,
        )
        return [Changed(*row) for row in rows]

    def documents(
        self, tenant: str, collection: str, after: str = "", most: int = -1, has_text: bool = True
    ) -> list[Stored]:
        """Current ones in the order of their ids, those after that one. Texts are long: left out if not `has_text`."""
        columns = DOCUMENT if has_text else DOCUMENT.replace("text", "''")
        rows = self._all(
            f"SELECT {columns} FROM document WHERE tenant = ? AND collection = ? AND gone IS NULL AND id > ? "  # noqa: S608
            "ORDER BY id LIMIT ?",
            tenant,
            collection,
            after,
            most,
        )
        return [_stored(row) for row in rows]

    def document(self, tenant: str, collection: str, document_id: str, version: int = 0) -> Stored | None:
        """The last one, which may be gone, or that version of it; nothing from before the collection was begun."""
        rows = self._all(
            f"SELECT {DOCUMENT}, coalesce(gone, 0) FROM document "  # noqa: S608 - of our own words
            "WHERE tenant = ? AND collection = ? AND id = ? AND version = coalesce(?, version) AND version > "
            "(SELECT since FROM collection WHERE tenant = ? AND name = ?) ORDER BY version DESC LIMIT 1",
            tenant,
            collection,
            document_id,
            version or None,
            tenant,
            collection,
        )
        return _stored(rows[0][:-1], rows[0][-1]) if rows else None

    def vectors(self, encoder: str, dim: int, versions: Sequence[int]) -> dict[int, Matrix]:
        """Version -> vectors [passages, dim] of those documents that have any by that encoder."""
        found: dict[int, Matrix] = {}
        for at in range(0, len(versions), 500):
            part = versions[at : at + 500]
            marks = ", ".join("?" * len(part))
            rows = self._all(
                f"SELECT version, vectors FROM embedding WHERE encoder = ? AND version IN ({marks})",  # noqa: S608
                encoder,
                *part,
            )
            for version, blob in rows:
                if len(blob) % (4 * dim) == 0:
                    found[version] = np.frombuffer(blob, np.float32).reshape(-1, dim)
        return found

    def keep(self, encoder: str, vectors: Mapping[int, Matrix]) -> None:
        """Keep what was embedded anew, by the versions of the documents. Of no harm where it fails."""
        rows = [(encoder, version, np.ascontiguousarray(one, np.float32).tobytes()) for version, one in vectors.items()]
        try:
            with self._alone(), contextlib.closing(self._opened()) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT OR REPLACE INTO embedding VALUES (?, ?, ?)", rows)
                connection.execute("COMMIT")
        except (OSError, sqlite3.Error, StoreFailed) as error:
            log.warning("%s: %d embeddings could not be kept, and are made again: %s", self.path, len(rows), error)

    def check(self) -> list[str]:
        """What is wrong with the file; nothing if it is sound. Reads all of it."""
        return [str(row[0]) for row in self._all("PRAGMA integrity_check") if row[0] != "ok"]

    def snapshot(self, to: Path) -> int:
        """Copy the whole as it is now into a new file, beside writes. The number of the last change in it."""
        if to.exists():
            raise StoreFailed(f"{to}: is there already")
        try:
            with contextlib.closing(sqlite3.connect(to)) as copy, contextlib.closing(self._opened()) as source:
                source.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
                return int(copy.execute("SELECT coalesce(max(seq), 0) FROM change").fetchone()[0])
        except sqlite3.Error as error:
            raise StoreFailed(f"{to}: {error}") from error

    def _all(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._read_lock:
            try:
                return self._reading.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise StoreFailed(f"{self.path}: {error}") from error

    # -- writing ------------------------------------------------------------------------------------------------------

    async def write(self, batch: Batch) -> Receipt:
        """Do all of it, and return once it is on disk. Receipts come in the order of their numbers.

        Raises UnknownCollection, VersionConflict, KeyReused, StoreFull, StoreFailed, Unavailable; nothing of the batch
        is done then.
        """
        if self._is_closed:
            raise Unavailable("the knowledge base is closed")
        loop = asyncio.get_running_loop()
        job = _Job(batch, loop.create_future(), loop)
        self._jobs.put(job)
        # On disk or not, and whoever asked may have gone: what is done is done.
        return await asyncio.shield(job.future)

    def close(self) -> None:
        """Write what waits, and close the file."""
        if not self._is_closed:
            self._is_closed = True
            self._jobs.put(None)
            self._thread.join()
            self._files.close()

    def _write(self) -> None:
        """The writer's thread."""
        while (job := self._jobs.get()) is not None:
            jobs = [job]
            is_last = False
            while len(jobs) < MOST_AT_ONCE and not is_last:
                try:
                    following = self._jobs.get_nowait()
                except queue.Empty:
                    break
                is_last = following is None
                if following is not None:
                    jobs.append(following)
            outcomes = self._commit([one.batch for one in jobs])
            for one, outcome in zip(jobs, outcomes, strict=True):
                with contextlib.suppress(RuntimeError):  # the loop was closed under us: nobody is left to be told
                    one.loop.call_soon_threadsafe(_settle, one.future, outcome)
            self._checkpoint(len(jobs))
            if is_last:
                return

    def _commit(self, batches: Sequence[Batch]) -> list[Receipt | Exception]:
        """In one transaction, each batch whole or not at all."""
        try:
            with self._alone():
                self._writing.execute("BEGIN IMMEDIATE")
                try:
                    outcomes = [self._tried(batch) for batch in batches]
                    failpoints.reached("before-commit")
                    self._writing.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        self._writing.execute("ROLLBACK")
                    raise
                failpoints.reached("after-commit")
        except Exception as error:  # noqa: BLE001 - the writer lives on, and every caller hears of it
            return [error if isinstance(error, StoreFailed) else self._failure(error)] * len(batches)
        return outcomes

    def _tried(self, batch: Batch) -> Receipt | Exception:
        self._writing.execute("SAVEPOINT batch")
        try:
            receipt = self._done(batch)
        except (VersionConflict, KeyReused, UnknownCollection) as error:
            self._writing.execute("ROLLBACK TO batch")
            self._writing.execute("RELEASE batch")
            return error
        self._writing.execute("RELEASE batch")
        return receipt

    def _done(self, batch: Batch) -> Receipt:
        write = self._writing.execute
        if batch.key:
            before = write(
                "SELECT content, versions FROM request WHERE tenant = ? AND collection = ? AND key = ?",
                (batch.tenant, batch.collection, batch.key),
            ).fetchone()
            if before and before[0] != batch.fingerprint():
                raise KeyReused(f"idempotency key {batch.key!r} was used for something else")
            if before:
                return Receipt(tuple(json.loads(before[1])), is_repeat=True)
        versions = tuple(self._change(batch, change) for change in batch.changes)
        if batch.key:
            place = (batch.tenant, batch.collection, batch.key)
            write(
                "INSERT INTO request VALUES (?, ?, ?, ?, ?, ?)",
                (*place, batch.fingerprint(), json.dumps(versions), time.time()),
            )
        return Receipt(versions)

    def _change(self, batch: Batch, change: Change) -> int:
        if isinstance(change, Create | Drop):
            return self._change_collection(batch, change)
        document_id = change.document.id if isinstance(change, Put) else change.document_id
        place = (batch.tenant, batch.collection, document_id)
        if not self._since(place[:2]):
            raise UnknownCollection("no such collection any more")
        now = self._version(place)
        if change.expected is not None and change.expected != now:
            raise VersionConflict(document_id, change.expected, now)
        if isinstance(change, Remove):
            return self._logged("remove", place) if now else 0
        seq = self._logged("put", place)
        _, *content = row_of(change.document)
        self._writing.execute(
            "INSERT INTO document VALUES (?, ?, ?, ?, NULL, ?, ?, ?, ?, ?, ?)", (*place, seq, *content)
        )
        if change.vectors is not None:
            vectors = np.ascontiguousarray(change.vectors, np.float32).tobytes()
            self._writing.execute("INSERT INTO embedding VALUES (?, ?, ?)", (change.encoder, seq, vectors))
        return seq

    def _change_collection(self, batch: Batch, change: Create | Drop) -> int:
        place = (batch.tenant, batch.collection)
        if bool(self._since(place)) is isinstance(change, Create):
            return 0
        if isinstance(change, Create):
            seq = self._logged("create", (*place, ""))
            self._writing.execute("INSERT INTO collection VALUES (?, ?, ?)", (*place, seq))
            return seq
        seq = self._logged("drop", (*place, ""))
        for statement in (
            "UPDATE document SET gone = ?1 WHERE tenant = ?2 AND collection = ?3 AND gone IS NULL",
            "DELETE FROM collection WHERE ?1 AND tenant = ?2 AND name = ?3",
            "DELETE FROM request WHERE ?1 AND tenant = ?2 AND collection = ?3",
        ):
            self._writing.execute(statement, (seq, *place))
        return seq

    def _since(self, place: tuple[str, str]) -> int:
        """The change that began the collection; 0 if there is none."""
        row = self._writing.execute("SELECT since FROM collection WHERE tenant = ? AND name = ?", place).fetchone()
        return int(row[0]) if row else 0

    def _version(self, place: tuple[str, str, str]) -> int:
        row = self._writing.execute(
            "SELECT version FROM document WHERE tenant = ? AND collection = ? AND id = ? AND gone IS NULL", place
        ).fetchone()
        return int(row[0]) if row else 0

    def _logged(self, op: str, place: tuple[str, str, str]) -> int:
        """The number of the change; what it changes is not current from now on."""
        tenant, collection, document_id = place
        seq = self._writing.execute(
            "INSERT INTO change(tenant, collection, op, document, at) VALUES (?, ?, ?, ?, ?)",
            (tenant, collection, op, document_id, time.time()),
        ).lastrowid
        assert seq is not None
        self._writing.execute(
            "UPDATE document SET gone = ? WHERE tenant = ? AND collection = ? AND id = ? AND gone IS NULL",
            (seq, *place),
        )
        return seq

    def _failure(self, error: Exception) -> Exception:
        if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
            return StoreFull("the disk of the knowledge base is full: nothing was written")
        return StoreFailed(f"{self.path}: {error}")

    # -- the file -----------------------------------------------------------------------------------------------------

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            for setting in (
                "journal_mode = WAL",
                "synchronous = FULL",
                "wal_autocheckpoint = 0",
                f"journal_size_limit = {LOG_BYTES}",
            ):
                connection.execute(f"PRAGMA {setting}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _prepare(self) -> None:
        tables = self._writing.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not tables:
            self._writing.execute("BEGIN IMMEDIATE")
            for statement in TABLES.split(";"):
                self._writing.execute(statement)
            self._writing.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
            self._writing.execute("COMMIT")
        found = self._writing.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        if not found or found[0] != str(SCHEMA):
            raise StoreFailed(f"{self.path}: was written by another version: schema {found}, and this reads {SCHEMA}")

    def _checkpoint(self, batches: int) -> None:
        """Move what is in the log into the file, now and then, where no reader and no other process is in the way."""
        self._unmoved += batches
        if self._unmoved < CHECKPOINT_BATCHES:
            return
        with contextlib.suppress(OSError, sqlite3.Error, StoreFailed), self._alone(patience=0.0):
            self._writing.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._unmoved = 0

    @contextlib.contextmanager
    def _alone(self, patience: float = BUSY_SECONDS) -> Iterator[None]:
        """No other process writes meanwhile. Raises StoreFailed where one does for so many seconds."""
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise StoreFailed(f"{self.path}: another process has been writing for {patience:g} s") from None
                time.sleep(LOCK_POLL)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


def _settle(future: asyncio.Future[Receipt], outcome: Receipt | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _stored(row: Sequence[object], gone: object = 0) -> Stored:
    document_id, version, title, uri, updated, answer, text, groups = row
    document = Document(
        str(document_id), str(title), str(uri), str(updated), str(answer), str(text), frozenset(json.loads(str(groups)))
    )
    return Stored(document, int(str(version)), int(str(gone)))
