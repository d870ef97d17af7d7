"""A batch of changes, made within a transaction of the store: the log, the documents, their vectors, the keys."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from gateway.errors import HiddenDocuments, KeyReused, UnknownCollection, VersionConflict
from gateway.knowledge.changes import (
    EVERYWHERE,
    Batch,
    Calibrate,
    Change,
    Create,
    Drop,
    Put,
    Receipt,
    Remove,
    Switch,
    Switched,
    row_of,
)
from gateway.knowledge.history import switched


class Writer:
    """Of the store's one thread that writes. `clock`: seconds since the epoch."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock

    def tried(self, batch: Batch) -> Receipt | Exception:
        """All of the batch, or nothing and why."""
        self._connection.execute("SAVEPOINT batch")
        try:
            receipt = self._done(batch)
        except (VersionConflict, KeyReused, UnknownCollection) as error:
            self._connection.execute("ROLLBACK TO batch")
            self._connection.execute("RELEASE batch")
            return error
        self._connection.execute("RELEASE batch")
        return receipt

    def _done(self, batch: Batch) -> Receipt:
        write = self._connection.execute
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
                (*place, batch.fingerprint(), json.dumps(versions), self._clock()),
            )
        return Receipt(versions)

    def _change(self, batch: Batch, change: Change) -> int:
        if isinstance(change, Create | Drop):
            return self._change_collection(batch, change)
        if isinstance(change, Calibrate):
            return self._calibrate((batch.tenant, batch.collection), change)
        if isinstance(change, Switch):
            return self._switch(change)
        document_id = change.document.id if isinstance(change, Put) else change.document_id
        place = (batch.tenant, batch.collection, document_id)
        if not self._since(place[:2]):
            raise UnknownCollection("no such collection any more")
        now, groups = self._version(place)
        if not _may_write(groups, batch.writer):
            # For a deletion it is not there. To write there would lose it unseen.
            if isinstance(change, Remove):
                return 0
            raise VersionConflict(document_id, change.expected, None)
        if change.expected is not None and change.expected != now:
            raise VersionConflict(document_id, change.expected, now)
        if isinstance(change, Remove):
            return self._logged("remove", place) if now else 0
        seq = self._logged("put", place)
        _, *content = row_of(change.document)
        self._connection.execute(
            "INSERT INTO document VALUES (?, ?, ?, ?, NULL, ?, ?, ?, ?, ?, ?, ?, ?)", (*place, seq, *content)
        )
        if change.vectors is not None:
            vectors = np.ascontiguousarray(change.vectors, np.float32).tobytes()
            self._connection.execute("INSERT INTO embedding VALUES (?, ?, ?)", (change.encoder, seq, vectors))
        return seq

    def _change_collection(self, batch: Batch, change: Create | Drop) -> int:
        place = (batch.tenant, batch.collection)
        if bool(self._since(place)) is isinstance(change, Create):
            return 0
        if isinstance(change, Create):
            seq = self._logged("create", (*place, ""))
            self._connection.execute("INSERT INTO collection VALUES (?, ?, ?)", (*place, seq))
            return seq
        if not all(_may_write(groups, batch.writer) for groups in self._rights(place)):
            raise HiddenDocuments
        seq = self._logged("drop", (*place, ""))
        for statement in (
            "UPDATE document SET gone = ?1 WHERE tenant = ?2 AND collection = ?3 AND gone IS NULL",
            "DELETE FROM collection WHERE ?1 AND tenant = ?2 AND name = ?3",
            "DELETE FROM request WHERE ?1 AND tenant = ?2 AND collection = ?3",
            "DELETE FROM confidence WHERE ?1 AND tenant = ?2 AND collection = ?3",
        ):
            self._connection.execute(statement, (seq, *place))
        return seq

    def _calibrate(self, place: tuple[str, str], change: Calibrate) -> int:
        if not self._since(place):
            raise UnknownCollection("no such collection any more")
        content = json.dumps(asdict(change.confidence)) if change.confidence else None
        before = self._connection.execute(
            "SELECT content FROM confidence WHERE tenant = ? AND collection = ?", place
        ).fetchone()
        if content is None and (not before or before[0] is None):
            return 0
        seq = self._logged("confidence", (*place, ""))
        self._connection.execute("INSERT OR REPLACE INTO confidence VALUES (?, ?, ?, ?)", (*place, seq, content))
        return seq

    def _switch(self, change: Switch) -> int:
        before = switched(lambda statement: self._connection.execute(statement).fetchall())
        # Several replicas switch together, and each says so: it is one change.
        if before is not None and before.encoder == change.encoder:
            return 0
        seq = self._logged("encoder", (*EVERYWHERE, change.encoder))
        now = json.dumps(asdict(Switched(change.encoder, change.bundle, seq)))
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('encoder', ?)", (now,))
        return seq

    def _since(self, place: tuple[str, str]) -> int:
        """As `since`, within the transaction."""
        row = self._connection.execute("SELECT since FROM collection WHERE tenant = ? AND name = ?", place).fetchone()
        return int(row[0]) if row else 0

    def _version(self, place: tuple[str, str, str]) -> tuple[int, frozenset[str]]:
        """Of the current one, and who may read it; 0 if there is none."""
        row = self._connection.execute(
            "SELECT version, groups FROM document WHERE tenant = ? AND collection = ? AND id = ? AND gone IS NULL",
            place,
        ).fetchone()
        return (int(row[0]), frozenset(json.loads(row[1]))) if row else (0, frozenset())

    def _rights(self, place: tuple[str, str]) -> list[frozenset[str]]:
        """The different sets of groups that may read what is current."""
        rows = self._connection.execute(
            "SELECT DISTINCT groups FROM document WHERE tenant = ? AND collection = ? AND gone IS NULL", place
        )
        return [frozenset(json.loads(row[0])) for row in rows]

    def _logged(self, op: str, place: tuple[str, str, str]) -> int:
        """The number of the change; what it changes is not current from now on."""
        tenant, collection, document_id = place
        seq = self._connection.execute(
            "INSERT INTO change(tenant, collection, op, document, at) VALUES (?, ?, ?, ?, ?)",
            (tenant, collection, op, document_id, self._clock()),
        ).lastrowid
        assert seq is not None
        self._connection.execute(
            "UPDATE document SET gone = ? WHERE tenant = ? AND collection = ? AND id = ? AND gone IS NULL",
            (seq, *place),
        )
        return seq


def _may_write(groups: frozenset[str], writer: frozenset[str] | None) -> bool:
    """Over what these groups may read; see `Batch`."""
    return writer is None or not groups or bool(groups & writer)
