"""The collections of a store as one bundle's encoder sees them: in memory, and in step with every change.

A write is divided and embedded first, then written, and then shown, from the log, in its order: so it does not matter
which process wrote it. It is acknowledged once the next question sees it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gateway.errors import InvalidQuestion, UnknownCollection
from gateway.knowledge.documents import passages
from gateway.knowledge.generation import Generation, Part
from gateway.knowledge.library import Library
from gateway.knowledge.segment import Embed, Entry, Segment, entries
from gateway.knowledge.store import Batch, Change, Changed, Put, Receipt, Store, Stored
from gateway.types import Document, Matrix

log = logging.getLogger(__name__)

EmbedSoon = Callable[[Sequence[str]], Awaitable[Matrix]]
"""Unit embeddings [texts, dim] of texts, made beside questions."""
SEPARATOR = "/"
"""In the library's name of a stored collection; no name of a configured one has it."""
FAN = 8
"""Segments of about one size that are merged into one."""

Place = tuple[str, str]
"""Tenant and collection."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """What embeds, and the `name` that tells its vectors from those of others."""

    name: str
    dim: int
    embed: Embed
    """Here and now, before questions are taken."""
    embed_soon: EmbedSoon


class KnowledgeBase:
    """All methods but `load` on one event loop."""

    def __init__(self, store: Store, libraries: Sequence[Library], encoder: Encoder) -> None:
        """Collections are kept in all of the `libraries`, by `key`."""
        self._store = store
        self._libraries = libraries
        self._encoder = encoder
        self._applied = 0
        self._stamp = 0
        self._catching_up = asyncio.Lock()
        self._merges: dict[Place, asyncio.Task[None]] = {}

    @property
    def store(self) -> Store:
        return self._store

    @property
    def version(self) -> int:
        """Of the last change that questions see."""
        return self._applied

    @property
    def merging(self) -> Collection[asyncio.Task[None]]:
        """What goes on beside questions."""
        return self._merges.values()

    def load(self) -> None:
        """Everything that is stored, embedded where it is not yet by this encoder. Once, before questions come."""
        self._stamp, self._applied = self._store.stamp(), self._store.last()
        for place in self._store.collections():
            stored = self._store.documents(*place)
            vectors = self._store.vectors(self._encoder.name, self._encoder.dim, [one.version for one in stored])
            found = [(one, _entry(one, vectors)) for one in stored]
            known = [entry for _, entry in found if entry]
            new = [one.document for one, entry in found if entry is None]
            given = [*known, *(entries(new, self._encoder.embed) if new else [])]
            self._show(place, Generation(self._applied, ()).changed(self._applied, given))

    def _generation(self, place: Place) -> Generation:
        return self._libraries[0].generation(key(*place))

    def _show(self, place: Place, generation: Generation | None) -> None:
        for library in self._libraries:
            if generation is None:
                library.remove(key(*place))
            else:
                library.replace(key(*place), generation)

    async def write(self, place: Place, changes: Sequence[Change], idempotency_key: str = "") -> Receipt:
        """Make the changes together. Raises as `Store.write`, InvalidQuestion for a document without a word, and what
        the encoder raises."""
        divided = await self._embedded([one.document for one in changes if isinstance(one, Put)])
        by_document = {id(one.document): one for one in divided}
        batch = Batch(*place, tuple(self._with_vectors(one, by_document) for one in changes), idempotency_key)
        receipt = await self._store.write(batch)
        known = {
            version: by_document[id(one.document)]
            for one, version in zip(changes, receipt.versions, strict=True)
            if isinstance(one, Put)
        }
        await self.catch_up(known)
        return receipt

    def _with_vectors(self, change: Change, known: Mapping[int, Entry]) -> Change:
        if not isinstance(change, Put):
            return change
        return replace(change, encoder=self._encoder.name, vectors=known[id(change.document)].vectors)

    async def _embedded(self, documents: Sequence[Document]) -> list[Entry]:
        divided = [tuple(passages(one)) for one in documents]
        for at, some in enumerate(divided):
            if not some:
                raise InvalidQuestion(f"documents[{at}]", "has no text")
        texts = [passage.plain for some in divided for passage in some]
        vectors = await self._encoder.embed_soon(texts) if texts else np.empty((0, self._encoder.dim), np.float32)
        ends = np.cumsum([len(some) for some in divided]).tolist()
        return [
            Entry(document, some, vectors[end - len(some) : end])
            for document, some, end in zip(documents, divided, ends, strict=True)
        ]

    async def catch_up(self, known: Mapping[int, Entry] | None = None) -> None:
        """Show what has been written by now, by whomever. `known`: documents by their versions that are at hand."""
        async with self._catching_up:
            self._stamp = self._store.stamp()
            while changes := self._store.changes(self._applied):
                await self._apply(changes, known or {})

    async def follow(self) -> None:
        """Catch up if another process has written. Microseconds if none has."""
        if self._store.stamp() != self._stamp:
            await self.catch_up()

    async def _apply(self, changes: Sequence[Changed], known: Mapping[int, Entry]) -> None:
        last: dict[Place, dict[str, Changed]] = {}
        for one in changes:
            if one.op in ("create", "drop"):
                last[one.tenant, one.collection] = {"": one}
            else:
                last.setdefault((one.tenant, one.collection), {})[one.document_id] = one
        shown: dict[Place, Generation | None] = {}
        for place, by_id in last.items():
            whole = by_id.pop("", None)
            put = [one for one in by_id.values() if one.op == "put"]
            new = await self._entries(place, put, known)
            if whole is not None and whole.op == "drop":
                shown[place] = None
                continue
            before = Generation(0, ()) if whole else self._generation(place)
            gone = {one.document_id for one in by_id.values() if one.op == "remove"}
            shown[place] = before.changed(changes[-1].seq, new, gone)
        # All at once: a batch is seen whole.
        for place, generation in shown.items():
            self._show(place, generation)
            if generation is not None:
                self._merge_if_due(place, generation)
        self._applied = changes[-1].seq

    async def _entries(self, place: Place, put: Sequence[Changed], known: Mapping[int, Entry]) -> list[Entry]:
        """Of documents as their changes left them; those that have been changed again come with that change."""
        found = [known[one.seq] for one in put if one.seq in known]
        unknown = [one for one in put if one.seq not in known]
        if not unknown:
            return found
        vectors = self._store.vectors(self._encoder.name, self._encoder.dim, [one.seq for one in unknown])
        foreign = []
        for one in unknown:
            stored = self._store.document(*place, one.document_id, one.seq)
            if stored is None:  # superseded, and cleared away
                continue
            entry = _entry(stored, vectors)
            if entry is not None:
                found.append(entry)
            else:
                foreign.append(stored.document)
        return found + (await self._embedded(foreign) if foreign else [])

    # -- segments -----------------------------------------------------------------------------------------------------

    def _merge_if_due(self, place: Place, generation: Generation) -> None:
        running = self._merges.get(place)
        if running is None or running.done():
            parts = due(generation)
            if parts:
                self._merges[place] = asyncio.create_task(self._merge(place, parts))

    async def _merge(self, place: Place, parts: Sequence[Part]) -> None:
        into = await asyncio.to_thread(lambda: Segment.build([one for part in parts for one in part.entries()]))
        try:
            now = self._generation(place)
        except UnknownCollection:  # dropped meanwhile
            return
        generation = now.merged(parts, into)
        self._show(place, generation)
        log.info("%s: %d segments merged into one of %d passages", key(*place), len(parts), len(into.passages))

    async def close(self) -> None:
        for task in self._merges.values():
            task.cancel()
        await asyncio.gather(*self._merges.values(), return_exceptions=True)


def due(generation: Generation) -> list[Part]:
    """Parts that are to be merged: FAN of about one size, the smallest such; none if there are not so many."""
    by_size: dict[int, list[Part]] = {}
    for part in generation.parts:
        by_size.setdefault(len(part.segment.passages).bit_length() // 3, []).append(part)
    return next((parts for _, parts in sorted(by_size.items()) if len(parts) >= FAN), [])


def key(tenant: str, collection: str) -> str:
    """A stored collection's name in the library."""
    return f"{tenant}{SEPARATOR}{collection}"


def _entry(stored: Stored, vectors: Mapping[int, Matrix]) -> Entry | None:
    """None where its vectors are not there, or are of other passages than it has today."""
    divided = tuple(passages(stored.document))
    found = vectors.get(stored.version)
    return Entry(stored.document, divided, found) if found is not None and len(found) == len(divided) else None
