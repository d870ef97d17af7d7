"""Whether what a store holds is what it should hold: by the file, by the log, and by the vectors."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from gateway.knowledge.changes import Stored
from gateway.knowledge.clearing import encoders
from gateway.knowledge.documents import PASSAGES_VERSION, passages
from gateway.knowledge.history import stored, switched
from gateway.knowledge.store import DOCUMENT, Store

Progress = Callable[[int, int], None]
"""Hears how many documents are done, and of how many."""
UNIT_TOLERANCE = 1e-3
FLOAT = 4
"""Bytes of one."""


def verify(store: Store, progress: Progress) -> Iterator[str]:
    """What is wrong, as of one moment, beside writes; nothing if all is well. Reads everything."""
    yield from (f"the file is damaged: {one}" for one in store.check())
    with store.reading() as connection:
        yield from _wrong_log(connection)
        yield from _wrong_documents(connection)
        yield from _wrong_encoder(connection)
        yield from _wrong_embeddings(connection, progress)


def _wrong_log(connection: sqlite3.Connection) -> Iterator[str]:
    following = 1
    for (seq,) in connection.execute("SELECT seq FROM change ORDER BY seq"):
        if seq != following:
            yield f"the log has no change {following}" + (f" to {seq - 1}" if seq > following + 1 else "")
        following = seq + 1


def _wrong_documents(connection: sqlite3.Connection) -> Iterator[str]:
    """The log, done again, must come to what is there."""
    expected: dict[tuple[str, str], dict[str, int]] = {}
    calibrated: dict[tuple[str, str], int] = {}
    for seq, tenant, name, op, document_id in connection.execute(
        "SELECT seq, tenant, collection, op, document FROM change ORDER BY seq"
    ):
        if op == "create":
            expected[tenant, name] = {}
        elif op == "drop":
            expected.pop((tenant, name), None)
            calibrated.pop((tenant, name), None)
        elif op == "confidence":
            calibrated[tenant, name] = seq
        elif op == "put":
            expected.setdefault((tenant, name), {})[document_id] = seq
        else:
            expected.get((tenant, name), {}).pop(document_id, None)
    there = set(connection.execute("SELECT tenant, name FROM collection"))
    for tenant, name in sorted(there ^ expected.keys()):
        yield f"{tenant}/{name}: " + ("is there, and not in the log" if (tenant, name) in there else "is not there")
    kept = {
        (row[0], row[1]): row[2] for row in connection.execute("SELECT tenant, collection, version FROM confidence")
    }
    for tenant, name in sorted(kept.keys() | calibrated.keys()):
        version, wanted = kept.get((tenant, name)), calibrated.get((tenant, name))
        if version != wanted:
            yield f"{tenant}/{name}: its confidence is of version {version}, by the log it is of {wanted}"
    current: Counter[tuple[str, str, str]] = Counter()
    for tenant, name, document_id, version in connection.execute(
        "SELECT tenant, collection, id, version FROM document WHERE gone IS NULL"
    ):
        current[tenant, name, document_id] += 1
        wanted = expected.get((tenant, name), {}).get(document_id)
        if wanted != version:
            yield f"{tenant}/{name}/{document_id}: version {version} is current, by the log it is {wanted or 'none'}"
    for (tenant, name), documents in expected.items():
        for document_id in documents:
            if (count := current[tenant, name, document_id]) != 1:
                yield f"{tenant}/{name}/{document_id}: has {count} current versions"


def _wrong_encoder(connection: sqlite3.Connection) -> Iterator[str]:
    logged = connection.execute(
        "SELECT document, seq FROM change WHERE op = 'encoder' ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    now = switched(lambda statement: connection.execute(statement).fetchall())
    known = (now.encoder, now.version) if now else None
    if known != logged:
        yield f"searches go by the encoder and change {known}, by the log it is {logged}"


def _wrong_embeddings(connection: sqlite3.Connection, progress: Progress) -> Iterator[str]:
    """Of every version that is kept, by every encoder that divides documents as they are divided today."""
    total = connection.execute("SELECT count(*) FROM document").fetchone()[0]
    # By the last word of its name an encoder says how documents were divided for it. Those of other ways are not used.
    current = [one for one in encoders(connection) if one.split()[-1] == str(PASSAGES_VERSION)]
    widths: dict[str, int] = {}
    for done, row in enumerate(
        connection.execute(f"SELECT {DOCUMENT}, tenant, collection FROM document"),  # noqa: S608 - our own words
        start=1,
    ):
        one, place = stored(row[:-2]), f"{row[-2]}/{row[-1]}"
        for encoder in current:
            found = connection.execute(
                "SELECT vectors FROM embedding WHERE encoder = ? AND version = ?", (encoder, one.version)
            ).fetchone()
            if found and (wrong := _wrong_vectors(one, found[0], encoder, widths)):
                yield f"{place}/{one.document.id} at version {one.version}, by {encoder}: {wrong}"
        progress(done, total)


def _wrong_vectors(one: Stored, blob: bytes, encoder: str, widths: dict[str, int]) -> str:
    """Empty if nothing is. `widths`: of encoders' vectors, as far as they are known."""
    count = len(passages(one.document))
    rows = count + 1
    if not blob or len(blob) % (FLOAT * rows):
        return f"{len(blob)} bytes are no vectors of its {count} passages and its title"
    width = len(blob) // (FLOAT * rows)
    if width != widths.setdefault(encoder, width):
        return f"its vectors for {count} passages and its title are {width} wide, and others are {widths[encoder]}"
    lengths = np.linalg.norm(np.frombuffer(blob, np.float32).reshape(rows, width), axis=1)
    if not np.all(np.abs(lengths - 1) < UNIT_TOLERANCE):  # not for NaN either
        return "its vectors are not of unit length"
    return ""
