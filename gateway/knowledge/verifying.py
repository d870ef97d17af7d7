"""Whether what a store holds is what it should hold: by the file, by its checksums, by the log, and by the vectors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from gateway.knowledge.changes import Stored
from gateway.knowledge.clearing import encoders
from gateway.knowledge.documents import PASSAGES_VERSION, passages
from gateway.knowledge.history import Place, stored
from gateway.knowledge.replaying import Replay, gaps
from gateway.knowledge.rows import Rows, damages
from gateway.knowledge.store import Store

Progress = Callable[[int, int], None]
"""Hears how many documents are done, and of how many."""
UNIT_TOLERANCE = 1e-3
FLOAT = 4
"""Bytes of one."""


def verify(store: Store, progress: Progress) -> Iterator[str]:
    """What is wrong, as of one moment, beside writes; nothing if all is well. Reads everything."""
    yield from (f"the file is damaged: {one}" for one in store.check())
    with store.moment() as rows:
        rows.connection.text_factory = lambda text: text.decode("utf-8", "replace")  # what is none is damaged
        yield from damages(rows)
        yield from gaps(rows)
        replay = Replay.of(rows)
        yield from _wrong_collections(rows, replay)
        yield from _wrong_documents(rows, replay)
        yield from _wrong_encoder(rows)
        yield from _wrong_embeddings(rows, progress)


def _wrong_collections(rows: Rows, replay: Replay) -> Iterator[str]:
    there = set(rows("SELECT tenant, name FROM collection"))
    for tenant, name in sorted(there ^ replay.documents.keys(), key=str):
        yield f"{tenant}/{name}: " + ("is there, and not in the log" if (tenant, name) in there else "is not there")
    kept = {(row[0], row[1]): row[2] for row in rows("SELECT tenant, collection, version FROM confidence")}
    for place in sorted(kept.keys() | replay.calibrated.keys(), key=str):
        version, wanted = kept.get(place), replay.calibrated.get(place)
        if version != wanted:
            yield f"{_named(*place)}: its confidence is of version {version}, by the log it is of {wanted}"


def _wrong_documents(rows: Rows, replay: Replay) -> Iterator[str]:
    current: Counter[tuple[Place, str]] = Counter()
    ended: dict[int, int] = {}
    documents = rows.connection.execute("SELECT version, gone, id, tenant, collection FROM document")
    for version, gone, document_id, *where in documents:
        place = (where[0], where[1])
        if gone is not None:
            ended[version] = gone
            continue
        current[place, document_id] += 1
        wanted = replay.documents.get(place, {}).get(document_id)
        if wanted != version:
            yield f"{_named(*place, document_id)}: version {version} is current, by the log it is {wanted or 'none'}"
    for place, ids in replay.documents.items():
        for document_id in ids:
            if (count := current[place, document_id]) != 1:
                yield f"{_named(*place, document_id)}: has {count} current versions"
    gone_before = int(_meta(rows).get("cleared", 0))
    for version, (place, document_id, wanted) in replay.ended.items():
        if ended.get(version) != wanted and (version in ended or wanted > gone_before):
            yield f"{_named(*place, document_id)}: version {version} is not kept as change {wanted} ended it"


def _wrong_encoder(rows: Rows) -> Iterator[str]:
    logged = rows("SELECT document, seq FROM change WHERE op = 'encoder' ORDER BY seq DESC LIMIT 1")
    now = json.loads(_meta(rows).get("encoder", "{}"))
    known = [(now["encoder"], now["version"])] if now else []
    if known != logged:
        said, wanted = (one[0] if one else None for one in (known, logged))
        yield f"searches go by the encoder and change {said}, by the log it is {wanted}"


def _meta(rows: Rows) -> dict[str, str]:
    """What is as it was written."""
    return {row[0]: row[1] for row, is_right in rows.each("meta") if is_right}


def _named(*words: object) -> str:
    """By a flipped bit a text may have become bytes."""
    return "/".join(map(str, words))


def _wrong_embeddings(rows: Rows, progress: Progress) -> Iterator[str]:
    """Of every version that is kept, by every encoder that divides documents as they are divided today."""
    total = rows("SELECT count(*) FROM document")[0][0]
    # By the last word of its name an encoder says how documents were divided for it. Those of other ways are not used.
    current = [one for one in encoders(rows.connection) if one.split()[-1] == str(PASSAGES_VERSION)]
    widths: dict[str, int] = {}
    for done, (row, is_right) in enumerate(rows.each("document"), start=1):
        for encoder in current if is_right else ():
            found = rows("SELECT vectors FROM embedding WHERE encoder = ? AND version = ?", encoder, row[3])
            if found and (wrong := _wrong_vectors(stored(row), found[0][0], encoder, widths)):
                yield f"{'/'.join(row[:3])} at version {row[3]}, by {encoder}: {wrong}"
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
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(np.frombuffer(blob, np.float32).reshape(rows, width), axis=1)
    if not np.all(np.abs(lengths - 1) < UNIT_TOLERANCE):  # not for NaN either
        return "its vectors are not of unit length"
    return ""
