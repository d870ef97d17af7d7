"""The file of a store: how it is opened, its log, and its two locks, which all processes share.

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
from typing import IO

from gateway import failpoints
from gateway.errors import StoreFailed

FILE = "knowledge.db"
BESIDE = (f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal")
"""What SQLite keeps beside it."""
LOCK = "knowledge.lock"
OPEN_LOCK = "knowledge.open"
LOG_BYTES = 64 << 20
"""To which the write-ahead log is cut when it begins anew."""
BUSY_SECONDS = 10.0
OPENING_SECONDS = 5.0
"""For so long one that opens it waits for another one that is alone with it: perhaps it only looks at its log."""
LOCK_POLL = 0.002


class File:
    """Opened connections and the locks; from any thread."""

    def __init__(self, folder: Path, is_alone: bool = False) -> None:
        """`is_alone`: no other store may have it open. Raises StoreFailed, OSError."""
        self.path = folder / FILE
        folder.mkdir(parents=True, exist_ok=True)
        self._turn = threading.Lock()
        with contextlib.ExitStack() as opened:
            self._writing = opened.enter_context((folder / LOCK).open("a"))
            self._held = opened.enter_context((folder / OPEN_LOCK).open("a"))
            self.is_first = _is_locked(self._held, fcntl.LOCK_EX)
            """Nobody else has it open, until this is `shared`."""
            if is_alone and not self.is_first:
                raise StoreFailed(f"{self.path}: a gateway, or another command, has it open: stop that first")
            if not self.is_first and not _is_locked(self._held, fcntl.LOCK_SH, OPENING_SECONDS):
                raise StoreFailed(
                    f"{self.path}: a command that must be alone with it is at work: wait until it is done"
                )
            self._locks = opened.pop_all()

    def share(self) -> None:
        """Others may have it open too, from now on."""
        fcntl.flock(self._held, fcntl.LOCK_SH)

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

    def log_bytes(self) -> int:
        """Of the write-ahead log's file."""
        try:
            return self.path.with_name(BESIDE[0]).stat().st_size
        except OSError:
            return 0

    def restart_log(self, connection: sqlite3.Connection, cuts: bool = False) -> None:
        """Move what is in the write-ahead log into the file, and begin the log anew where no reader is in the way. By
        who holds the lock.

        The log's file stays as long as it is, unless this `cuts` it: to write over blocks that are there takes a disk a
        fraction of the time that new ones take, which its journal has to name. A transaction that changes nothing makes
        void what is left there: pages of it that were damaged later would cover newer ones of the file.
        """
        failpoints.reached("before-checkpoint")
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        failpoints.reached("after-checkpoint")
        connection.execute("PRAGMA busy_timeout = 0")  # no write waits until the last reader is done
        try:
            is_busy, *_ = connection.execute(f"PRAGMA wal_checkpoint({'TRUNCATE' if cuts else 'RESTART'})").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {round(1000 * BUSY_SECONDS)}")
        failpoints.reached("after-restart")
        if not (is_busy or cuts):
            with transaction(connection):
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                connection.execute(f"PRAGMA user_version = {version}")

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
            if not _is_locked(self._writing, fcntl.LOCK_EX, until - time.monotonic()):
                raise StoreFailed(f"{self.path}: another process has been writing for {patience:g} s")
            try:
                yield
            finally:
                fcntl.flock(self._writing, fcntl.LOCK_UN)
        finally:
            self._turn.release()


def _is_locked(file: IO[str], kind: int, patience: float = 0.0) -> bool:
    """Whether the lock was got, after so many seconds at most."""
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
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
