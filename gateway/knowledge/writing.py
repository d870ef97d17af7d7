"""A batch of changes, made within a transaction of the store: the log, the documents, their vectors, the keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict

import numpy as np

from gateway.errors import HiddenDocuments, KeyReused, StoreDamaged, UnknownCollection, VersionConflict
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
from gateway.knowledge.history import Place, stored, switched
from gateway.knowledge.rows import GONE, Row, Rows, insert

END = (
    f"UPDATE document SET gone = ?1, sum = sum + (?1 << {GONE}) "  # noqa: S608 - our own number
    "WHERE tenant = ?2 AND collection = ?3 AND gone IS NULL"
)
"""What is current of a collection ends with a change."""


class Writer:
    """Of the store's one thread that writes. `clock`: seconds since the epoch."""

    def __init__(self, rows: Rows, clock: Callable[[], float]) -> None:
        self._rows = rows
        self._connection = rows.connection
        self._clock = clock
        self._last = self._state = 0

    def tried(self, batch: Batch) -> Receipt | Exception:
        """All of the batch, or nothing and why."""
        self._begin()
        self._connection.execute("SAVEPOINT batch")
        try:
            receipt = self._done(batch)
        except (VersionConflict, KeyReused, UnknownCollection, StoreDamaged) as error:
            self._connection.execute("ROLLBACK TO batch")
            self._connection.execute("RELEASE batch")
            return error
        self._connection.execute("RELEASE batch")
        return receipt

    def mend(self, documents: Iterable[tuple[str, str, str]], places: Iterable[Place]) -> None:
        """Delete documents, and confidences of collections, whose rows are not there any more."""
        self._begin()
        for key in documents:
            self._log("remove", key, 0)
        for place in places:
            now = insert(self._connection, "confidence", *place, self._last + 1, None)
            self._log("confidence", (*place, ""), now)

    def _begin(self) -> None:
        """With what others have written too."""
        last = self._rows.of("change", "ORDER BY seq DESC LIMIT 1")
        self._last, self._state = (last[0][0], last[0][6]) if last else (0, 0)

    def _done(self, batch: Batch) -> Receipt:
        place = (batch.tenant, batch.collection, batch.key)
        if batch.key:
            before = self._rows.of("request", "WHERE tenant = ? AND collection = ? AND key = ?", *place)
            if before and before[0][3] != batch.fingerprint():
                raise KeyReused(f"idempotency key {batch.key!r} was used for something else")
            if before:
                return Receipt(tuple(json.loads(before[0][4])), is_repeat=True)
        versions = tuple(self._change(batch, change) for change in batch.changes)
        if batch.key:
            insert(self._connection, "request", *place, batch.fingerprint(), json.dumps(versions), float(self._clock()))
        return Receipt(versions)

    def _change(self, batch: Batch, change: Change) -> int:
        place = (batch.tenant, batch.collection)
        if isinstance(change, Create):
            return self._create(place)
        if isinstance(change, Drop):
            return self._drop(place, batch.writer)
        if isinstance(change, Calibrate):
            return self._calibrate(place, change)
        if isinstance(change, Switch):
            return self._switch(change)
        if not self._collection(place):
            raise UnknownCollection("no such collection any more")
        document_id = change.document.id if isinstance(change, Put) else change.document_id
        now, groups, checksum = self._current((*place, document_id))
        if not _may_write(groups, batch.writer):
            # For a deletion it is not there. To write there would lose it unseen.
            if isinstance(change, Remove):
                return 0
            raise VersionConflict(document_id, change.expected, None)
        if change.expected is not None and change.expected != now:
            raise VersionConflict(document_id, change.expected, now)
        if isinstance(change, Put):
            return self._put(place, change, checksum)
        return self._remove((*place, document_id), checksum) if now else 0

    def _put(self, place: Place, change: Put, before: int) -> int:
        """`before`: the checksum of what it takes the place of; 0 for nothing."""
        seq = self._last + 1
        document_id, *content = row_of(change.document)
        key = (*place, document_id)
        self._end(key, seq)
        now = insert(self._connection, "document", *key, seq, *content)
        if change.vectors is not None:
            vectors = np.ascontiguousarray(change.vectors, np.float32).tobytes()
            insert(self._connection, "embedding", change.encoder, seq, vectors)
        return self._log("put", key, now - before)

    def _remove(self, key: tuple[str, str, str], before: int) -> int:
        self._end(key, self._last + 1)
        return self._log("remove", key, -before)

    def _create(self, place: Place) -> int:
        if self._collection(place):
            return 0
        now = insert(self._connection, "collection", *place, self._last + 1)
        return self._log("create", (*place, ""), now)

    def _drop(self, place: Place, writer: frozenset[str] | None) -> int:
        collection = self._collection(place)
        if not collection:
            return 0
        if not all(_may_write(groups, writer) for groups in self._rights(place)):
            raise HiddenDocuments
        confidence = self._rows.of("confidence", "WHERE tenant = ? AND collection = ?", *place)
        documents = self._rows(
            "SELECT coalesce(sum(sum), 0) FROM document WHERE tenant = ? AND collection = ? AND gone IS NULL", *place
        )
        seq = self._last + 1
        for statement in (
            END,
            "DELETE FROM collection WHERE ?1 AND tenant = ?2 AND name = ?3",
            "DELETE FROM request WHERE ?1 AND tenant = ?2 AND collection = ?3",
            "DELETE FROM confidence WHERE ?1 AND tenant = ?2 AND collection = ?3",
        ):
            self._connection.execute(statement, (seq, *place))
        gone = sum(row[-1] for row in (*documents, *collection, *confidence))
        return self._log("drop", (*place, ""), -gone)

    def _calibrate(self, place: Place, change: Calibrate) -> int:
        if not self._collection(place):
            raise UnknownCollection("no such collection any more")
        content = json.dumps(asdict(change.confidence)) if change.confidence else None
        before = self._rows.of("confidence", "WHERE tenant = ? AND collection = ?", *place)
        if content is None and (not before or before[0][3] is None):
            return 0
        now = insert(self._connection, "confidence", *place, self._last + 1, content, replaces=True)
        return self._log("confidence", (*place, ""), now - sum(row[-1] for row in before))

    def _switch(self, change: Switch) -> int:
        before = switched(self._rows)
        # Several replicas switch together, and each says so: it is one change.
        if before is not None and before.encoder == change.encoder:
            return 0
        was = sum(row[-1] for row in self._rows.of("meta", "WHERE name = 'encoder'"))
        content = json.dumps(asdict(Switched(change.encoder, change.bundle, self._last + 1)))
        now = insert(self._connection, "meta", "encoder", content, replaces=True)
        return self._log("encoder", (*EVERYWHERE, change.encoder), now - was)

    def _collection(self, place: Place) -> list[Row]:
        """Its row; none where there is no such collection."""
        return self._rows.of("collection", "WHERE tenant = ? AND name = ?", *place)

    def _current(self, key: tuple[str, str, str]) -> tuple[int, frozenset[str], int]:
        """The document's version, who may read it, and its checksum; 0 if there is none. Raises StoreDamaged: who may
        replace it is not known then."""
        found = self._rows.of("document", "WHERE tenant = ? AND collection = ? AND id = ? AND gone IS NULL", *key)
        if not found:
            return 0, frozenset(), 0
        now = stored(found[0])
        return now.version, now.document.groups, found[0][-1]

    def _rights(self, place: Place) -> list[frozenset[str]]:
        """The different sets of groups that may read what is current."""
        rows = self._rows(
            "SELECT DISTINCT groups FROM document WHERE tenant = ? AND collection = ? AND gone IS NULL", *place
        )
        return [frozenset(json.loads(row[0])) for row in rows]

    def _end(self, key: tuple[str, str, str], seq: int) -> None:
        """What is current of it ends with that change."""
        self._connection.execute(f"{END} AND id = ?4", (seq, *key))

    def _log(self, op: str, key: tuple[str, str, str], by: int) -> int:
        """The number of the change, which changes the checksum of all that is current `by` so much."""
        self._last, self._state = self._last + 1, self._state + by
        insert(self._connection, "change", self._last, *key[:2], op, key[2], float(self._clock()), self._state)
        return self._last


def _may_write(groups: frozenset[str], writer: frozenset[str] | None) -> bool:
    """Over what these groups may read; see `Batch`."""
    return writer is None or not groups or bool(groups & writer)
