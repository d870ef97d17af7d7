"""What a store knows of its collections, now and in the past: read, never written, and checked as it is read."""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.knowledge.changes import Changed, Stored, Switched
from gateway.knowledge.clearing import encoders
from gateway.knowledge.rows import Row, Rows
from gateway.types import Document, SearchConfidence

Place = tuple[str, str]
"""Tenant and collection."""


@dataclass(frozen=True, slots=True)
class Around:
    """A document around a change: as it was `before`, as that change has `written` it, and as it is `now`. None where
    it was not there, or is not kept."""

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


def stored(row: Row) -> Stored:
    """Of a row of documents, see `rows.COLUMNS`."""
    _, _, document_id, version, title, uri, updated, answer, text, groups, effective, expires, gone, _ = row
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
    return Stored(document, version, gone or 0)


@functools.lru_cache(maxsize=4096)
def _groups(text: str) -> frozenset[str]:
    return frozenset(json.loads(text))


def last(rows: Rows) -> int:
    found = rows.of("change", "ORDER BY seq DESC LIMIT 1")
    return int(found[0][0]) if found else 0


def places(rows: Rows) -> list[Place]:
    """Of the collections that there are."""
    return [(tenant, name) for tenant, name, *_ in rows.of("collection")]


def documents(rows: Rows, place: Place, after: str, most: int) -> list[Row]:
    """Current ones in the order of their ids."""
    tail = "WHERE tenant = ? AND collection = ? AND gone IS NULL AND id > ? ORDER BY id LIMIT ?"
    return rows.of("document", tail, *place, after, most)


def document(rows: Rows, place: Place, document_id: str, version: int) -> Stored | None:
    """0: the last one."""
    found = rows.of(
        "document",
        "WHERE tenant = ? AND collection = ? AND id = ? AND version = coalesce(?, version) AND version > ? "
        "ORDER BY version DESC LIMIT 1",
        *place,
        document_id,
        version or None,
        since(rows, place) or math.inf,
    )
    return stored(found[0]) if found else None


def changes(rows: Rows, after: int, most: int) -> list[Changed]:
    return [Changed(*row[:6]) for row in rows.of("change", "WHERE seq > ? ORDER BY seq LIMIT ?", after, most)]


def changes_of(rows: Rows, place: Place, after: int, up_to: int) -> list[Changed]:
    """Of the collection, and of all."""
    tail = "WHERE seq > ? AND seq <= ? AND (tenant = ? AND collection = ? OR op = 'encoder') ORDER BY seq"
    return [Changed(*row[:6]) for row in rows.of("change", tail, after, up_to, *place)]


def around(rows: Rows, change: Changed) -> Around:
    """Nothing of what was there before the collection was begun."""
    place = (change.tenant, change.collection)
    begun = since(rows, place) or math.inf

    def one(index: str, which: str, *values: int) -> Stored | None:
        tail = f"{index} WHERE tenant = ? AND collection = ? AND id = ? AND version > ? AND {which}"
        found = rows.of("document", tail, *place, change.document_id, begun, *values)
        return stored(found[0]) if found else None

    # Each by its own index: a document may have many versions.
    return Around(
        before=one("INDEXED BY ended", "gone = ?", change.seq),
        written=one("", "version = ?", change.seq),
        now=one("INDEXED BY current", "gone IS NULL"),
    )


def was_written(rows: Rows, place: Place, document_id: str, version: int) -> bool:
    found = rows.of("change", "WHERE seq = ?", version)
    if not found or version <= (since(rows, place) or math.inf):
        return False
    return bool(found[0][1:5] == (*place, "put", document_id))


def since(rows: Rows, place: Place) -> int:
    found = rows.of("collection", "WHERE tenant = ? AND name = ?", *place)
    return int(found[0][2]) if found else 0


def confidence(rows: Rows, place: Place) -> SearchConfidence | None:
    row = rows.of("confidence", "WHERE tenant = ? AND collection = ?", *place)
    if not row or row[0][3] is None:
        return None
    found: dict[str, Any] = json.loads(row[0][3])
    listed = {name: tuple(found[name]) for name in ("weights", "centre", "scale")}
    return SearchConfidence(**found | listed)


def cleared(rows: Rows) -> int:
    found = rows.of("meta", "WHERE name = 'cleared'")
    return int(found[0][1]) if found else 0


def switched(rows: Rows) -> Switched | None:
    """None where it never was."""
    found = rows.of("meta", "WHERE name = 'encoder'")
    return Switched(**json.loads(found[0][1])) if found else None


def figures(rows: Rows, place: Place) -> Figures:
    superseded, oldest, texts = rows(
        "SELECT count(gone), min(at), coalesce(sum("
        "length(CAST(title AS BLOB)) + length(CAST(uri AS BLOB)) + length(CAST(updated AS BLOB)) + "
        "length(CAST(answer AS BLOB)) + length(CAST(text AS BLOB))), 0) "
        "FROM document LEFT JOIN change ON seq = gone WHERE document.tenant = ? AND document.collection = ?",
        *place,
    )[0]
    embedded, vectors = {}, 0
    for encoder in encoders(rows.connection):
        size, documents = rows(
            "SELECT coalesce(sum(length(vectors)), 0), count(*) - count(gone) FROM document CROSS JOIN embedding "
            "ON encoder = ? AND embedding.version = document.version WHERE tenant = ? AND collection = ?",
            encoder,
            *place,
        )[0]
        vectors += size
        if documents:
            embedded[encoder] = documents
    return Figures(superseded, oldest or 0.0, texts, vectors, embedded)
