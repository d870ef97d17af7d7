"""The tables of a store, and how those of an earlier version become these."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Any

from gateway.errors import StoreFailed
from gateway.knowledge.file import transaction
from gateway.knowledge.rows import COLUMNS, GONE, STATE, Rows, checksum, insert

log = logging.getLogger(__name__)

SCHEMA = 4
WITHOUT_SUMS = 3
"""The version before checksums: it becomes this one when it is opened."""

TABLES = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE collection(
    tenant TEXT NOT NULL, name TEXT NOT NULL, since INTEGER NOT NULL, sum INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)) WITHOUT ROWID;
CREATE TABLE change(
    seq INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL, collection TEXT NOT NULL, op TEXT NOT NULL, document TEXT NOT NULL, at REAL NOT NULL,
    state INTEGER NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE document(
    tenant TEXT NOT NULL, collection TEXT NOT NULL, id TEXT NOT NULL,
    version INTEGER NOT NULL, gone INTEGER,
    title TEXT NOT NULL, uri TEXT NOT NULL, updated TEXT NOT NULL, answer TEXT NOT NULL, text TEXT NOT NULL,
    groups TEXT NOT NULL, effective REAL NOT NULL, expires REAL, sum INTEGER NOT NULL,
    PRIMARY KEY (tenant, collection, id, version)) WITHOUT ROWID;
CREATE UNIQUE INDEX current ON document(tenant, collection, id) WHERE gone IS NULL;
CREATE TABLE embedding(
    encoder TEXT NOT NULL, version INTEGER NOT NULL, vectors BLOB NOT NULL, sum INTEGER NOT NULL);
CREATE UNIQUE INDEX embedded ON embedding(encoder, version);
CREATE TABLE confidence(
    tenant TEXT NOT NULL, collection TEXT NOT NULL, version INTEGER NOT NULL, content TEXT, sum INTEGER NOT NULL,
    PRIMARY KEY (tenant, collection)) WITHOUT ROWID;
CREATE TABLE request(
    tenant TEXT NOT NULL, collection TEXT NOT NULL, key TEXT NOT NULL,
    content BLOB NOT NULL, versions TEXT NOT NULL, at REAL NOT NULL, sum INTEGER NOT NULL,
    PRIMARY KEY (tenant, collection, key)) WITHOUT ROWID;
"""
"""`sum` is a row's checksum, see `rows`. `collection` has those that there are, each since the change that began it. A
document's `version` is the number of the change that wrote it, and `gone` of the one that ended it; one without
`expires` never does. A change's `state` is the sum of the checksums of what is current after it, of documents,
collections, confidences and the encoder; of changes from before there were checksums only the last one has it.
`embedding` has the float32 vectors of a document's passages and then of its title, end to end. `confidence` has that of
each collection which was ever given one, in JSON, since the change `version`; nothing in its place where that took it
away. `request` remembers what a key was used for and what came of it. `meta` has the schema, and in `cleared` the last
change whose ended documents are not all kept, and in `encoder` which one searches were last switched to
(`changes.Switched`).

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


LAST_STATE = "SELECT coalesce(max(state), 0) FROM (SELECT state FROM change ORDER BY seq DESC LIMIT 1)"


def version(rows: Rows) -> int:
    """Of the tables that there are; 0 where there are none, or it is no number."""
    found = rows("SELECT value FROM meta WHERE name = 'schema'") if _has_tables(rows) else []
    return int(found[0][0]) if found and str(found[0][0]).isdecimal() else 0


def last(rows: Rows) -> int:
    """The number of the last change; 0 where there is none, nor a table for them."""
    if not _has_tables(rows):
        return 0
    return int(rows("SELECT coalesce(max(seq), 0) FROM change")[0][0])


def prepare(path: Path, connection: sqlite3.Connection) -> None:
    """Make the tables where there are none, and this version's of those without checksums. Nobody else writes
    meanwhile. Raises StoreFailed for those of another version."""
    rows = Rows(path, connection)
    if not _has_tables(rows):
        with transaction(connection):
            _execute(connection, TABLES)
            insert(connection, "meta", "schema", str(SCHEMA))
    if version(rows) == WITHOUT_SUMS:
        _add_sums(path, connection)
    if (found := version(rows)) != SCHEMA:
        raise StoreFailed(
            f"{path}: was written by another version: schema {found or 'unknown'}, and this reads {SCHEMA}; serve it "
            "with that version, or name an empty folder and import anew"
        )
    for statement in INDEXES:
        connection.execute(statement)


def _has_tables(rows: Rows) -> bool:
    return bool(rows("SELECT count(*) FROM sqlite_master")[0][0])


def _execute(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";"):
        connection.execute(statement)


def _add_sums(path: Path, connection: sqlite3.Connection) -> None:
    """What is there is taken to be right: nothing tells. The log has row ids that SQLite need not keep count of."""
    log.info("%s: every row is given a checksum: half a minute for a million of them", path)
    created = {one.split("(")[0].split()[-1]: one for one in TABLES.split(";") if "TABLE" in one}
    with transaction(connection):
        connection.execute("ALTER TABLE change RENAME TO change_before")
        connection.execute(created["change"])
        connection.execute(
            "INSERT INTO change SELECT seq, tenant, collection, op, document, at, 0, 0 FROM change_before"
        )
        connection.execute("DROP TABLE change_before")
        for table in COLUMNS.keys() - {"change"}:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN sum INTEGER NOT NULL DEFAULT 0")
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(SCHEMA),))
        sum_up(connection)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def sum_up(connection: sqlite3.Connection) -> None:
    """Give every row the checksum of what it is now, and the last change that of all that is current."""

    def sum_of(table: str, *values: Any) -> int:
        return checksum(table, values)

    connection.create_function("checksum", -1, sum_of, deterministic=True)
    for table in [*COLUMNS.keys() - {"change"}, "change"]:
        if table == "change":
            connection.execute(
                f"UPDATE change SET state = ({STATE}) WHERE seq = (SELECT max(seq) FROM change)"  # noqa: S608 - our own
            )
        gone = f" + (coalesce(gone, 0) << {GONE})" if table == "document" else ""
        connection.execute(f"UPDATE {table} SET sum = checksum('{table}', {COLUMNS[table]}){gone}")  # noqa: S608
