"""Rows of the store's tables, each with a checksum beside it: what is not as it was written is not given out.

SQLite checks the shape of its pages, and none of what they hold: a bit of a text that flips on disk would be shown, and
one of a vector searched by. A row's checksum is written with it and looked at whenever it is read. That no row is
missing, nor an older one in its place, the log tells: each change has in `state` the sum of the checksums of all that
is current after it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import sqlite3
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.errors import StoreDamaged, StoreFailed, StoreFull

log = logging.getLogger(__name__)

COLUMNS = {
    "meta": "name, value",
    "collection": "tenant, name, since",
    "change": "seq, tenant, collection, op, document, at, state",
    "document": "tenant, collection, id, version, title, uri, updated, answer, text, groups, effective, expires",
    "embedding": "encoder, version, vectors",
    "confidence": "tenant, collection, version, content",
    "request": "tenant, collection, key, content, versions, at",
}
"""That a row's checksum is of. A document has `gone` besides, which is written later: see GONE."""
KEYS = {"meta": 1, "collection": 2, "change": 1, "document": 4, "embedding": 2, "confidence": 2, "request": 3}
"""How many of the columns name a row."""
GONE = 32
"""By so many bits what ended a document stands above the checksum of all else of it."""
STATE = (
    "SELECT (SELECT coalesce(sum(sum), 0) FROM document WHERE gone IS NULL) "
    "+ (SELECT coalesce(sum(sum), 0) FROM collection) + (SELECT coalesce(sum(sum), 0) FROM confidence) "
    "+ (SELECT coalesce(sum(sum), 0) FROM meta WHERE name = 'encoder')"
)
WRONG = "is not as it was written: its checksum is that of something else"

Row = tuple[Any, ...]
"""The columns of a table in the order of COLUMNS, of a document then `gone`, and the checksum."""

_FORMATS = {table: "\x1f".join([table, *("%s" for _ in columns.split(","))]) for table, columns in COLUMNS.items()}
_INSERTS = {
    table: f"INTO {table} ({columns}, sum) VALUES ({', '.join('?' * (columns.count(',') + 2))})"
    for table, columns in COLUMNS.items()
}
_SELECTS = {
    table: f"SELECT {columns}, {'gone, ' if table == 'document' else ''}sum FROM {table}"  # noqa: S608 - our own words
    for table, columns in COLUMNS.items()
}
_BLOBS = ("embedding", "request")


def checksum(table: str, values: Row) -> int:
    """CRC-32 of the columns, 2 us for one of a thousand characters: every single flipped bit is told, and of other
    damage all but one in four billion."""
    if table in _BLOBS:
        values = tuple([zlib.crc32(one) if isinstance(one, bytes) else one for one in values])
    return zlib.crc32((_FORMATS[table] % values).encode())


def is_right(table: str, row: Row) -> bool:
    """Whether it is as it was written."""
    if table != "document":
        return bool(checksum(table, row[:-1]) == row[-1])
    *_, gone, found = row
    return type(found) is int and (found >> GONE, found & (1 << GONE) - 1) == (gone or 0, checksum(table, row[:-2]))


def name_of(table: str, row: Row) -> str:
    """What the row is, for people."""
    return f"{table} {'/'.join(str(one) for one in row[: KEYS[table]])}"


def insert(connection: sqlite3.Connection, table: str, *values: Any, replaces: bool = False) -> int:
    """Write a row with its checksum, which is returned."""
    found = checksum(table, values)
    connection.execute(f"{'REPLACE' if replaces else 'INSERT'} {_INSERTS[table]}", (*values, found))
    return found


class Rows:
    """Read by one connection, in one thread at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self.connection = connection
        self._turn = threading.Lock()

    def __call__(self, statement: str, *values: object) -> list[Row]:
        """Unchecked: of what no row says by itself, such as counts. Raises StoreFailed."""
        with self._turn, failures(self._path):
            return self.connection.execute(statement, values).fetchall()

    def of(self, table: str, tail: str = "", *values: object) -> list[Row]:
        """Whole rows of a table; `tail` is the statement from its name on. Raises StoreFailed, StoreDamaged."""
        found = self(f"{_SELECTS[table]} {tail}", *values)
        for row in found:
            if not is_right(table, row):
                raise self.damaged(f"{name_of(table, row)} {WRONG}")
        return found

    def sound(self, table: str, tail: str, *values: object) -> list[Row]:
        """As `of`, without those that are damaged: of what can be made again."""
        found = []
        for row in self(f"{_SELECTS[table]} {tail}", *values):
            if is_right(table, row):
                found.append(row)
            else:
                log.warning("%s: %s %s; it is made anew", self._path, name_of(table, row), WRONG)
        return found

    def damaged(self, what: str) -> StoreDamaged:
        """An error that says what to do."""
        return damaged(self._path, what)

    def each(self, table: str) -> Iterator[tuple[Row, bool]]:
        """All rows, one at a time, and whether each is as it was written."""
        for row in self.connection.execute(_SELECTS[table]):
            yield row, is_right(table, row)


def damages(rows: Rows) -> Iterator[str]:
    """Rows that are not as they were written, of all tables; and whether what is current is what the log says."""
    for table in COLUMNS:
        yield from (f"{name_of(table, row)} {WRONG}" for row, is_right in rows.each(table) if not is_right)
    last = rows("SELECT state, seq FROM change ORDER BY seq DESC LIMIT 1")
    if last and rows(STATE)[0] != last[0][:1]:
        yield f"what is current is not what change {last[0][1]}, the last of the log, says"


@contextlib.contextmanager
def failures(path: Path) -> Iterator[None]:
    """Errors of SQLite are StoreFailed in here."""
    try:
        yield
    except sqlite3.Error as error:
        raise failure(path, error) from error


def failure(path: Path, error: Exception) -> StoreFailed:
    """What an error of SQLite, or of the system, is to callers."""
    if "decode to UTF-8" in str(error):  # and so on, with all of the text
        return damaged(path, "a text in it is no UTF-8")
    is_full = isinstance(error, sqlite3.OperationalError) and "full" in str(error)
    if is_full or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
        return StoreFull("the disk of the knowledge base is full: nothing was written")
    return StoreFailed(f"{path}: {error}")


def damaged(path: Path, what: str) -> StoreDamaged:
    """An error that says what to do."""
    return StoreDamaged(
        f"{path}: {what}. It is not served: `gateway knowledge verify --data {path.parent}` names all that is wrong. "
        "Restore the last snapshot into another folder, and serve that; or `gateway knowledge mend`, to go on without "
        "what is damaged"
    )
