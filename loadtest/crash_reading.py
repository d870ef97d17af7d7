"""All that anybody can read of a store, by the product's own ways to read it: to be held against what was read of it
before it was damaged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from gateway.errors import StoreFailed
from gateway.knowledge.base import key
from loadtest.crash_writer import BEGUN, PLACE, changes, named
from loadtest.proof import DIM, ENCODER, Desk

REFUSED = "refused"
SERVED = "what is served"

Readable = dict[str, str]
"""What was read -> a digest of it, or REFUSED."""


async def readable(desk: Desk) -> Readable:
    """Of every kind there is. Writes nothing, unless a write that was done is not known any more."""
    store = desk.store
    found: Readable = {}

    def read(name: str, get: Callable[..., Any], *of: Any) -> None:
        try:
            found[name] = _digest(get(*of))
        except StoreFailed:
            found[name] = REFUSED

    def vectors(version: int) -> list[bytes]:
        return [one.tobytes() for one in store.vectors(ENCODER, DIM, [version]).values()]

    def served(*place: str) -> list[str]:
        return sorted(map(repr, desk.library.generation(key(*place)).documents))

    read("cleared", store.cleared)
    read("encoder", store.switched)
    try:
        log, places = store.changes(0, 1 << 30), store.collections()
    except StoreFailed:
        return found | {"log": REFUSED}
    found |= {"log": _digest(log), "collections": _digest(places)}
    for place in places:
        read(f"{place}: since", store.since, place)
        read(f"{place}: log", store.changes_of, place, 0, len(log))
        read(f"{place}: confidence", store.confidence, *place)
        read(f"{place}: figures", store.figures, *place)
        read(f"{place}: {SERVED}", served, *place)
    for one in log:
        read(f"around {one.seq}", store.around, one)
        if one.op == "put":
            version = (one.tenant, one.collection, one.document_id, one.seq)
            read(f"version {one.seq}", store.document, *version)
            read(f"{one.seq} was written", store.was_written, *version)
            read(f"vectors of {one.seq}", vectors, one.seq)
    for number in range((len(log) - BEGUN) // 2):
        try:
            found[f"repeat of {number}"] = _digest(await desk.base.write(PLACE, changes(number), named(number)))
        except StoreFailed:
            found[f"repeat of {number}"] = REFUSED
    return found


def _digest(one: object) -> str:
    return hashlib.sha256(repr(one).encode()).hexdigest()[:16]


def differing(now: Readable, before: Readable) -> list[str]:
    """What is read otherwise, without being refused."""
    return sorted(name for name in now.keys() | before.keys() if now.get(name) not in (before.get(name), REFUSED))
