"""The file of a store: its tables, how it is opened, and its two locks, which all processes share.

One is held by who writes, for as long as that takes. SQLite before 3.51.3 can spoil its log when two connections write
and checkpoint at once. The other is held by every store that is open, together with the others; who has to be alone
with the file holds it alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import StoreFailed, StoreFull

FILE = "knowledge.db"
BESIDE = (f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal")
"""What SQLite keeps beside it."""
LOCK = "knowledge.lock"
OPEN_LOCK = "knowledge.open"
SCHEMA = 3
LOG_BYTES = 64 << 20
"""To which the write-ahead log is cut when it begins anew."""
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
    groups TEXT NOT NULL, effective REAL NOT NULL, expires REAL,
    PRIMARY KEY (tenant, collection, id, version)) WITHOUT ROWID;
CREATE UNIQUE INDEX current ON document(tenant, collection, id) WHERE gone IS NULL;
CREATE TABLE embedding(
    encoder TEXT NOT NULL, version INTEGER NOT NULL, vectors BLOB NOT NULL);
CREATE UNIQUE INDEX embedded ON embedding(encoder, version);
CREATE TABLE confidence(
    tenant TEXT NOT NULL, collection TEXT NOT NULL, version INTEGER NOT NULL, content TEXT,
    PRIMARY KEY (tenant, collection)) WITHOUT ROWID;
CREATE TABLE request(
    tenant TEXT NOT NULL, collection TEXT NOT NULL, key TEXT NOT NULL,
    content BLOB NOT NULL, versions TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (tenant, collection, key)) WITHOUT ROWID;
"""
"""`collection` has those that there are, each since the change that began it. A document's `version` is the number of
the change that wrote it, and `gone` of the one that ended it; one without `expires` never does. `embedding` has the
float32 vectors of its passages and then of its title, end to end. `confidence` has that of each collection which was
ever given one, in JSON, since the change `version`; nothing in its place where that took it away. `request` remembers
what a key was used for and what came of it. `meta` has the schema, and in `cleared` the last change whose ended
documents are not all kept, and in `encoder` which one searches were last switched to (`changes.Switched`).

Vectors are in a table with row ids, as one without puts all but a thousand bytes of a row on pages of its own. Its
bytes to those of the vectors, 384 wide, of documents of 1, 2, 3 and 5 passages, and of 1 to 12 on average: 1.37, 1.06,
1.35, 1.05 and 1.08; without row ids 1.53, 1.04, 1.43, 1.40 and 1.15. That is with pages of 4096 bytes, as SQLite has
them: larger ones lose more at their ends than they save, on average 1.13 (8192) and 1.20 (16384), and a write's p50 is
3 to 6 and 4 to 8 % longer (four stores written in turn, twice; without row ids up to 2 %)."""

INDEXES = (
    "CREATE INDEX IF NOT EXISTS ended ON document(gone) WHERE gone IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS asked ON request(at)",
)
"""What came later, and changes nothing for those who do not know of it."""


class File:
    """Opened connections and the locks; from any thread."""

    def __init__(self, folder: Path, is_alone: bool = False) -> None:
        """`is_alone`: no other store may have it open. Raises StoreFailed, OSError."""
        self.path = folder / FILE
        folder.mkdir(parents=True, exist_ok=True)
        self._turn = threading.Lock()
        with contextlib.ExitStack() as opened:
            self._writing = opened.enter_context((folder / LOCK).open("a"))
            held = opened.enter_context((folder / OPEN_LOCK).open("a"))
            try:
                fcntl.flock(held, (fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreFailed(
                    f"{self.path}: a gateway, or another command, has it open: stop that first"
                    if is_alone
                    else f"{self.path}: a command that must be alone with it is at work: wait until it is done"
                ) from None
            self._locks = opened.pop_all()

    def close(self) -> None:
        with self._turn:
            self._locks.close()

    def opened(self) -> sqlite3.Connection:
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

    def failure(self, error: Exception) -> StoreFailed:
        """What an error of SQLite is to callers."""
        if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
            return StoreFull("the disk of the knowledge base is full: nothing was written")
        return StoreFailed(f"{self.path}: {error}")

    def log_bytes(self) -> int:
        """Of the write-ahead log's file."""
        try:
            return self.path.with_name(BESIDE[0]).stat().st_size
        except OSError:
            return 0

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Make the tables where there are none. Raises StoreFailed for those of another version."""
        with self.alone():
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                connection.execute("BEGIN IMMEDIATE")
                for statement in TABLES.split(";"):
                    connection.execute(statement)
                connection.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
                connection.execute("COMMIT")
            found = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
            if not found or found[0] != str(SCHEMA):
                raise StoreFailed(
                    f"{self.path}: was written by another version: schema {found[0] if found else 'unknown'}, and this "
                    f"reads {SCHEMA}; serve it with that version, or name an empty folder and import anew"
                )
            for statement in INDEXES:
                connection.execute(statement)

    @contextlib.contextmanager
    def alone(self, patience: float = BUSY_SECONDS) -> Iterator[None]:
        """Nobody else writes meanwhile, in this process or another one. Raises StoreFailed where one does for so many
        seconds, and once this is closed."""
        until = time.monotonic() + patience
        # A lock of the file is the whole process's: a second thread would get it too, and let go of the first one's.
        if not self._turn.acquire(timeout=patience):
            raise StoreFailed(f"{self.path}: this process has been writing for {patience:g} s")
        try:
            if self._writing.closed:
                raise StoreFailed(f"{self.path}: is closed")
            self._lock(until, patience)
            try:
                yield
            finally:
                fcntl.flock(self._writing, fcntl.LOCK_UN)
        finally:
            self._turn.release()

    def _lock(self, until: float, patience: float) -> None:
        while True:
            try:
                fcntl.flock(self._writing, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise StoreFailed(f"{self.path}: another process has been writing for {patience:g} s") from None
                time.sleep(LOCK_POLL)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it is done at the end, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
