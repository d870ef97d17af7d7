"""What a store knows of the past of its collections: read, never written."""

from __future__ import annotations

import functools
import json
import math
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.knowledge.changes import Changed, Stored, Switched
from gateway.knowledge.clearing import encoders
from gateway.types import Document, SearchConfidence

Read = Callable[..., list[tuple[Any, ...]]]
"""A statement and its values -> rows."""
Place = tuple[str, str]
"""Tenant and collection."""


@dataclass(frozen=True, slots=True)
class Around:
    """A document around a change: as it was `before`, as that change has `written` it, and as it is `now`. None where
    it was not there, or is not kept. Without their texts."""

    before: Stored | None = None
    written: Stored | None = None
    now: Stored | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """What a collection takes on disk. `oldest`: when the oldest of the superseded versions ended, in seconds since the
    epoch; 0 if there are none. `embedded`: encoder -> current documents that have vectors by it."""

    superseded: int
    oldest: float
    text_bytes: int
    vector_bytes: int
    embedded: Mapping[str, int]


def stored(row: Sequence[Any], gone: int = 0) -> Stored:
    """Of the columns that `store.DOCUMENT` names."""
    document_id, version, title, uri, updated, answer, text, groups, effective, expires = row
    document = Document(
        document_id,
        title,
        uri,
        sys.intern(updated),  # all documents of a collection are in memory, and few dates and rights are different
        answer,
        text,
        _groups(groups),
        effective or 0.0,
        math.inf if expires is None else expires,
    )
    return Stored(document, version, gone)


@functools.lru_cache(maxsize=4096)
def _groups(text: str) -> frozenset[str]:
    return frozenset(json.loads(text))


def changes_of(read: Read, place: Place, after: int, up_to: int) -> list[Changed]:
    """Of the collection, and of all."""
    rows = read(
        "SELECT seq, tenant, collection, op, document, at FROM change "
        "WHERE seq > ? AND seq <= ? AND (tenant = ? AND collection = ? OR op = 'encoder') ORDER BY seq",
        after,
        up_to,
        *place,
    )
    return [Changed(*row) for row in rows]


def around(read: Read, change: Changed) -> Around:
    """Nothing of what was there before the collection was begun."""
    # Each by its own index: a document may have many versions.
    one = (
        "SELECT id, version, '', '', '', '', '', groups, effective, expires, coalesce(gone, 0) FROM document {} "
        "WHERE tenant = ?1 AND collection = ?2 AND id = ?3 AND {} "
        "AND version > (SELECT since FROM collection WHERE tenant = ?1 AND name = ?2)"
    )
    rows = read(
        " UNION ALL ".join(
            one.format(*each)
            for each in (
                ("", "version = ?4"),
                ("INDEXED BY ended", "gone = ?4"),
                ("INDEXED BY current", "gone IS NULL"),
            )
        ),
        change.tenant,
        change.collection,
        change.document_id,
        change.seq,
    )
    found = [stored(row[:-1], row[-1]) for row in rows]
    return Around(
        before=next((one for one in found if one.gone == change.seq), None),
        written=next((one for one in found if one.version == change.seq), None),
        now=next((one for one in found if not one.gone), None),
    )


def was_written(read: Read, place: Place, document_id: str, version: int) -> bool:
    return bool(
        read(
            "SELECT 1 FROM change WHERE seq = ?3 AND tenant = ?1 AND collection = ?2 AND document = ?4 AND op = 'put' "
            "AND seq > (SELECT since FROM collection WHERE tenant = ?1 AND name = ?2)",
            *place,
            version,
            document_id,
        )
    )


def since(read: Read, place: Place) -> int:
    rows = read("SELECT since FROM collection WHERE tenant = ? AND name = ?", *place)
    return int(rows[0][0]) if rows else 0


def confidence(read: Read, place: Place) -> SearchConfidence | None:
    rows = read("SELECT content FROM confidence WHERE tenant = ? AND collection = ?", *place)
    if not rows or rows[0][0] is None:
        return None
    found: dict[str, Any] = json.loads(rows[0][0])
    listed = {name: tuple(found[name]) for name in ("weights", "centre", "scale")}
    return SearchConfidence(**found | listed)


def cleared(read: Read) -> int:
    rows = read("SELECT value FROM meta WHERE name = 'cleared'")
    return int(rows[0][0]) if rows else 0


def switched(read: Read) -> Switched | None:
    """None where it never was."""
    rows = read("SELECT value FROM meta WHERE name = 'encoder'")
    return Switched(**json.loads(rows[0][0])) if rows else None


def figures(connection: sqlite3.Connection, place: Place) -> Figures:
    superseded, oldest, texts = connection.execute(
        "SELECT count(gone), min(at), coalesce(sum("
        "length(CAST(title AS BLOB)) + length(CAST(uri AS BLOB)) + length(CAST(updated AS BLOB)) + "
        "length(CAST(answer AS BLOB)) + length(CAST(text AS BLOB))), 0) "
        "FROM document LEFT JOIN change ON seq = gone WHERE document.tenant = ? AND document.collection = ?",
        place,
    ).fetchone()
    embedded, vectors = {}, 0
    for encoder in encoders(connection):
        size, documents = connection.execute(
            "SELECT coalesce(sum(length(vectors)), 0), count(*) - count(gone) FROM document CROSS JOIN embedding "
            "ON encoder = ? AND embedding.version = document.version WHERE tenant = ? AND collection = ?",
            (encoder, *place),
        ).fetchone()
        vectors += size
        if documents:
            embedded[encoder] = documents
    return Figures(superseded, oldest or 0.0, texts, vectors, embedded)
