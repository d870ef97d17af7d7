"""The answers that chance has drawn, and what was said of these and others: one file, which all workers share.

Beside it the tally: how many were drawn, judged and wrong, by bundle, route, day and propensity, so that an estimate
costs the same however many there are. Both are written in one transaction.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.audit.estimate import Stratum
from gateway.errors import StoreFailed, StoreFull

FILE = "cases.db"
BUSY_SECONDS = 10.0
DAY = 86_400
TABLES = """
CREATE TABLE IF NOT EXISTS drawn(
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, bundle TEXT NOT NULL, route TEXT NOT NULL, day INTEGER NOT NULL,
    propensity REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS verdict(
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, at REAL NOT NULL, is_wrong INTEGER NOT NULL, label TEXT NOT NULL,
    document TEXT NOT NULL, no_answer INTEGER NOT NULL, comment TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tally(
    bundle TEXT, route TEXT, day INTEGER, propensity REAL, drawn INTEGER NOT NULL, judged INTEGER NOT NULL,
    wrong INTEGER NOT NULL, PRIMARY KEY (bundle, route, day, propensity)) WITHOUT ROWID;
"""
"""Ids begin with their time, so they are in its order."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """An answer that is to be judged. `at` in seconds since 1970."""

    id: str
    tenant: str
    bundle: str
    route: str
    at: float
    propensity: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What somebody says of an answer. `label`, `document`: what would have been right, as far as that is known;
    `no_answer`: nothing would. `comment` is text, and kept only where texts are."""

    id: str
    tenant: str
    is_wrong: bool
    label: str = ""
    document: str = ""
    no_answer: bool = False
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """Of the answers of one bundle and route that were given on one `day`, counted from 1970."""

    bundle: str
    route: str
    day: int
    stratum: Stratum


class Cases:
    """From any thread, and from several processes at once. Raises StoreFailed, StoreFull."""

    def __init__(self, folder: Path) -> None:
        """The file is made if it is not there; one that is spoilt may be moved away, and all begins anew."""
        self._lock = threading.Lock()
        with _told(folder / FILE):
            # No write-ahead log: SQLite before 3.51.3 can spoil one when two connections write and checkpoint at once.
            self._file = sqlite3.connect(
                folder / FILE, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._path = folder / FILE
            self._file.executescript(TABLES)
            self._path.chmod(0o600)

    def draw(self, some: Sequence[Drawn]) -> None:
        """Have those judged. Of one that is known nothing changes."""
        with self._transaction():
            for one in some:
                key = (one.bundle, one.route, int(one.at // DAY), one.propensity)
                done = self._file.execute("INSERT OR IGNORE INTO drawn VALUES(?,?,?,?,?,?)", (one.id, one.tenant, *key))
                if done.rowcount:
                    was_wrong = self._was_wrong(one.id)  # somebody was faster
                    self._count(key, 1, int(was_wrong is not None), int(bool(was_wrong)))

    def judge(self, given: Verdict, at: float) -> bool:
        """Take a verdict, in the place of any before. Whether it says something new; on disk when this returns."""
        row = (given.is_wrong, given.label, given.document, given.no_answer, given.comment)
        with self._transaction():
            known = self._file.execute(
                "SELECT is_wrong, label, document, no_answer, comment FROM verdict WHERE id=?", (given.id,)
            ).fetchone()
            if known == row:
                return False
            self._file.execute(
                "INSERT OR REPLACE INTO verdict VALUES(?,?,?,?,?,?,?,?)", (given.id, given.tenant, at, *row)
            )
            key = self._file.execute(
                "SELECT bundle, route, day, propensity FROM drawn WHERE id=?", (given.id,)
            ).fetchone()
            if key is not None:
                self._count(key, 0, int(known is None), int(given.is_wrong) - (int(known[0]) if known else 0))
            return True

    def tallies(self, bundle: str | None = None) -> list[Tally]:
        """Of that bundle, or of all; by bundle, route and day, in their order."""
        where, values = ("WHERE bundle=?", (bundle,)) if bundle is not None else ("", ())
        with self._lock, _told(self._path):
            rows = self._file.execute(
                "SELECT bundle, route, day, propensity, drawn, judged, wrong "  # noqa: S608  # no text of anybody's
                f"FROM tally {where} ORDER BY bundle, route, day",
                values,
            ).fetchall()
        return [Tally(bundle, route, day, Stratum(*counts)) for bundle, route, day, *counts in rows]

    def pending(self, limit: int) -> list[str]:
        """Ids of drawn answers that nobody has judged, the newest first."""
        with self._lock, _told(self._path):
            rows = self._file.execute(
                "SELECT id FROM drawn WHERE id NOT IN (SELECT id FROM verdict) ORDER BY id DESC LIMIT ?", (limit,)
            ).fetchall()
        return [one for (one,) in rows]

    def verdicts(self) -> Iterator[Verdict]:
        """All, the oldest answer first."""
        with self._lock, _told(self._path):
            rows = self._file.execute(
                "SELECT id, tenant, is_wrong, label, document, no_answer, comment FROM verdict ORDER BY id"
            ).fetchall()
        for answer_id, tenant, is_wrong, label, document, no_answer, comment in rows:
            yield Verdict(answer_id, tenant, bool(is_wrong), label, document, bool(no_answer), comment)

    def forget_comments(self, tenant: str, before: float | None = None) -> None:
        """Of that tenant's answers, `before` a time if one is given; the verdicts stay."""
        first = _first_id(before) if before is not None else "g"  # which is after all digits
        with self._transaction():
            self._file.execute("UPDATE verdict SET comment='' WHERE tenant=? AND id < ?", (tenant, first))

    def clear(self, before: float) -> None:
        """Forget what was drawn and said of answers before that time; the tally stays."""
        first = _first_id(before)
        with self._transaction():
            for table in ("drawn", "verdict"):
                self._file.execute(f"DELETE FROM {table} WHERE id < ?", (first,))  # noqa: S608

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def _was_wrong(self, answer_id: str) -> int | None:
        row = self._file.execute("SELECT is_wrong FROM verdict WHERE id=?", (answer_id,)).fetchone()
        return row[0] if row else None

    def _count(self, key: tuple[str, str, int, float], drawn: int, judged: int, wrong: int) -> None:
        self._file.execute(
            "INSERT INTO tally VALUES(?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET "
            "drawn = drawn + excluded.drawn, judged = judged + excluded.judged, wrong = wrong + excluded.wrong",
            (*key, drawn, judged, wrong),
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, _told(self._path):
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._file.execute("COMMIT")
            except BaseException:
                if self._file.in_transaction:  # a full disk has ended it already
                    self._file.execute("ROLLBACK")
                raise


def _first_id(at: float) -> str:
    """Before all ids of answers from that time on."""
    return f"{int(at * 1000):012x}"


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        kind = StoreFull if "full" in str(error) else StoreFailed
        raise kind(f"{path}: {error}: what was said of answers cannot be kept now") from None
