"""A damaged store is made one that can be served: without what was damaged, and what that is, is told.

The log must be whole, as what must be there is what it comes to. Current documents that are damaged, or missing, are
deleted by changes of the log, so that whoever follows it hears of them. What can be made again, is: collections and the
encoder from the log, indexes from the rows, vectors by the next start.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict

from gateway.knowledge.changes import Switched
from gateway.knowledge.history import cleared, switched
from gateway.knowledge.replaying import Replay, gaps
from gateway.knowledge.rows import COLUMNS, KEYS, STATE, WRONG, Row, Rows, insert, name_of
from gateway.knowledge.schema import INDEXES, SCHEMA, TABLES
from gateway.knowledge.writing import Writer

BECOMES = {
    "document": "is deleted",
    "embedding": "is made again by the next start",
    "request": "is forgotten: what comes again under that key is done again",
    "confidence": "is taken away: calibrate anew",
    "collection": "is made again, from the log",
    "meta": "is made again, from the log",
}
"""What comes of a row that is damaged."""


def mend(rows: Rows, clock: Callable[[], float]) -> Iterator[str]:
    """Within a transaction, which is to be taken back where this raises. What comes of each row that is damaged or
    missing; nothing if all is well. `clock`: seconds since the epoch.

    Raises StoreDamaged where the log is not whole, StoreFailed where SQLite cannot read the file's pages.
    """
    rows.of("change")
    for gap in gaps(rows):
        raise rows.damaged(f"cannot be mended: {gap}")
    indexes = [one.strip() for one in TABLES.split(";") if "INDEX" in one] + list(INDEXES)
    for statement in indexes:
        rows(f"DROP INDEX IF EXISTS {statement.split(' ON ')[0].split()[-1]}")
    replay = Replay.of(rows)
    for table, becomes in BECOMES.items():
        for row in [row for row, is_right in rows.each(table) if not is_right]:
            _delete(rows, table, row)
            yield f"{name_of(table, row)} {WRONG}; it {becomes}"
    yield from _without_others(rows, replay)
    _from_log(rows, replay)
    for statement in indexes:
        rows(statement)
    yield from _logged(rows, replay, clock)
    _note_missing(rows, Replay.of(rows))


def _delete(rows: Rows, table: str, row: Row) -> None:
    names = COLUMNS[table].split(", ")[: KEYS[table]]
    rows(f"DELETE FROM {table} WHERE {' AND '.join(f'{one} = ?' for one in names)}", *row[: KEYS[table]])  # noqa: S608


def _without_others(rows: Rows, replay: Replay) -> Iterator[str]:
    """Documents and confidences that are sound, and by the log are not there, or not so: older ones."""
    for row, _ in list(rows.each("document")):
        tenant, name, document_id, version, *_, gone, _ = row
        place = (tenant, name)
        is_current = replay.documents.get(place, {}).get(document_id) == version
        if not (is_current if gone is None else replay.ended.get(version) == (place, document_id, gone)):
            _delete(rows, "document", row)
            yield f"{name_of('document', row)} is not so by the log; it is deleted"
    for row in rows.of("confidence"):
        if replay.calibrated.get(row[:2]) != row[2]:
            _delete(rows, "confidence", row)
            yield f"{name_of('confidence', row)} is not so by the log; it is taken away: calibrate anew"


def _from_log(rows: Rows, replay: Replay) -> None:
    """What the log tells all of; but for the name of a bundle, which was for people."""
    rows("DELETE FROM collection")
    for place, seq in replay.begun.items():
        insert(rows.connection, "collection", *place, seq)
    insert(rows.connection, "meta", "schema", str(SCHEMA), replaces=True)
    known = switched(rows)
    if replay.switched and (known is None or (known.encoder, known.version) != replay.switched):
        encoder, seq = replay.switched
        now = json.dumps(asdict(Switched(encoder, "", seq)))
        insert(rows.connection, "meta", "encoder", now, replaces=True)


def _logged(rows: Rows, replay: Replay, clock: Callable[[], float]) -> Iterator[str]:
    """What is current by the log, and is not there, ends with changes of the log."""
    last = rows.of("change", "ORDER BY seq DESC LIMIT 1")
    if not last:
        return
    insert(rows.connection, "change", *last[0][:6], rows(STATE)[0][0], replaces=True)
    there = set(rows("SELECT tenant, collection, id FROM document WHERE gone IS NULL"))
    missing = [(*place, one) for place, ids in replay.documents.items() for one in ids if (*place, one) not in there]
    calibrated = set(rows("SELECT tenant, collection FROM confidence"))
    Writer(rows, clock).mend(missing, [place for place in replay.calibrated if place not in calibrated])
    yield from (f"{'/'.join(key)} is not there any more: it is deleted from now on" for key in missing)


def _note_missing(rows: Rows, replay: Replay) -> None:
    """Up to which change what it ended is not all kept."""
    kept = {version for (version,) in rows("SELECT version FROM document")}
    ends = [seq for version, (_, _, seq) in replay.ended.items() if version not in kept]
    if ends:
        insert(rows.connection, "meta", "cleared", str(max(*ends, cleared(rows))), replaces=True)
