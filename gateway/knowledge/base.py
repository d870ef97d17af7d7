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

from gateway.errors import GatewayError, InferenceFailed, InvalidQuestion
from gateway.knowledge.changes import Batch, Change, Changed, Put, Receipt, Stored
from gateway.knowledge.documents import passages
from gateway.knowledge.generation import Generation, Part
from gateway.knowledge.library import Library
from gateway.knowledge.segment import Embed, Entry, Segment, entries
from gateway.knowledge.store import Store
from gateway.knowledge.vectors import EXACT_UP_TO
from gateway.types import Document, Matrix

log = logging.getLogger(__name__)

EmbedSoon = Callable[[Sequence[str]], Awaitable[Matrix]]
"""Unit embeddings [texts, dim] of texts, made beside questions."""
SEPARATOR = "/"
"""In the library's name of a stored collection; no name of a configured one has it."""
TOGETHER = 64
"""Documents that are embedded together at a start."""
UNIT_TOLERANCE = 1e-3
FAN = 4
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
        self._foreign: dict[tuple[Place, int], Stored] = {}  # not embedded by this encoder yet, by version
        self._merges: dict[Place, asyncio.Task[None]] = {}

    @property
    def version(self) -> int:
        """Of the last change that questions see."""
        return self._applied

    def seen(self, place: Place) -> int:
        """The version up to which questions to that place see everything: not what could not be embedded yet."""
        return min((version - 1 for where, version in self._foreign if where == place), default=self._applied)

    @property
    def merging(self) -> Collection[asyncio.Task[None]]:
        """What goes on beside questions."""
        return self._merges.values()

    def load(self) -> None:
        """Everything that is stored, embedded where it is not yet by this encoder. Once, before questions come.

        Searched by scan at first: graphs are built after `start`.
        """
        self._stamp, self._applied = self._store.stamp(), self._store.last()
        for place in self._store.collections():
            stored = self._store.documents(*place)
            vectors = self._store.vectors(self._encoder.name, self._encoder.dim, [one.version for one in stored])
            found = {one.version: entry for one in stored if (entry := _entry(one, vectors))}
            new = [one for one in stored if one.version not in found]
            for at in range(0, len(new), TOGETHER):
                some = new[at : at + TOGETHER]
                made = entries([one.document for one in some], self._encoder.embed)
                found |= {one.version: entry for one, entry in zip(some, made, strict=True)}
                self._store.keep(self._encoder.name, {one.version: found[one.version].vectors for one in some})
            given = [found[one.version] for one in stored]
            self._show(place, Generation(self._applied, ()).changed(self._applied, given))

    def start(self) -> None:
        """Build graphs where a scan takes long, beside questions."""
        for place in self._store.collections():
            if (generation := self._generation(place)) is not None:
                self._merge_if_due(place, generation)

    def _generation(self, place: Place) -> Generation | None:
        return self._libraries[0].find(key(*place))

    def _show(self, place: Place, generation: Generation | None) -> None:
        for library in self._libraries:
            if generation is None:
                library.remove(key(*place))
            else:
                library.replace(key(*place), generation)

    async def write(
        self,
        place: Place,
        changes: Sequence[Change],
        idempotency_key: str = "",
        writer: frozenset[str] | None = None,
    ) -> Receipt:
        """Make the changes together; `writer`: see `Batch`. Raises as `Store.write`, InvalidQuestion for a document
        without a word, and what the encoder raises."""
        divided = await self._embedded([one.document for one in changes if isinstance(one, Put)])
        by_document = {id(one.document): one for one in divided}
        given = tuple(self._with_vectors(one, by_document) for one in changes)
        batch = Batch(*place, given, idempotency_key, writer)
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
        """Raises InvalidQuestion for a document without a word, InferenceFailed where the encoder makes nonsense."""
        divided = [tuple(passages(one)) for one in documents]
        for at, some in enumerate(divided):
            if not some:
                raise InvalidQuestion(f"documents[{at}]", "has no text")
        texts = [passage.plain for some in divided for passage in some]
        vectors = await self._encoder.embed_soon(texts) if texts else np.empty((0, self._encoder.dim), np.float32)
        if not _are_sound(vectors, len(texts), self._encoder.dim):  # before it is on disk
            raise InferenceFailed("the encoder's vectors are not of unit length")
        ends = np.cumsum([len(some) for some in divided]).tolist()
        return [
            Entry.of(document, some, vectors[end - len(some) : end])
            for document, some, end in zip(documents, divided, ends, strict=True)
        ]

    async def follow(self) -> None:
        """Catch up if another process has written, or is being caught up with. Microseconds if none has."""
        if self._store.stamp() != self._stamp:
            await self.catch_up()

    async def catch_up(self, known: Mapping[int, Entry] | None = None) -> None:
        """Show what has been written by now, by whomever. `known`: documents by their versions that are at hand.

        It goes on if who waits for it leaves: others wait too.
        """
        await asyncio.shield(asyncio.create_task(self._catch_up(known or {})))

    async def _catch_up(self, known: Mapping[int, Entry]) -> None:
        async with self._catching_up:
            stamp = self._store.stamp()
            while changes := self._store.changes(self._applied):
                self._apply(changes, known)
            await self._embed_foreign()
            self._stamp = stamp

    def _apply(self, changes: Sequence[Changed], known: Mapping[int, Entry]) -> None:
        """Show the changes, all at once, as a batch is seen whole. Documents that this encoder has not embedded are
        masked and noted, and come when they are embedded: nobody sees what they were."""
        last: dict[Place, dict[str, Changed]] = {}
        for one in changes:
            if one.op in ("create", "drop"):
                last[one.tenant, one.collection] = {"": one}
            else:
                last.setdefault((one.tenant, one.collection), {})[one.document_id] = one
        version = changes[-1].seq
        shown: dict[Place, Generation | None] = {}
        for place, by_id in last.items():
            whole = by_id.pop("", None)
            before = Generation(0, ()) if whole and whole.op == "create" else self._generation(place)
            if before is None or (whole and whole.op == "drop"):
                shown[place] = None
                continue
            new, foreign = self._entries(place, [one for one in by_id.values() if one.op == "put"], known)
            gone = by_id.keys() - {one.document.id for one in new}
            self._foreign |= {(place, one.version): one for one in foreign}
            shown[place] = before.changed(version, new, gone)
        for place, generation in shown.items():
            self._show(place, generation)
            if generation is not None:
                self._merge_if_due(place, generation)
        self._applied = version

    def _entries(
        self, place: Place, put: Sequence[Changed], known: Mapping[int, Entry]
    ) -> tuple[list[Entry], list[Stored]]:
        """Of documents as their changes left them, and those that are not embedded yet."""
        found = [known[one.seq] for one in put if one.seq in known]
        unknown = [one for one in put if one.seq not in known]
        vectors = self._store.vectors(self._encoder.name, self._encoder.dim, [one.seq for one in unknown])
        foreign = []
        for one in unknown:
            stored = self._store.document(*place, one.document_id, one.seq)
            if stored is None or stored.gone:  # changed again since: that change comes too
                continue
            entry = _entry(stored, vectors)
            if entry is not None:
                found.append(entry)
            else:
                foreign.append(stored)
        return found, foreign

    async def _embed_foreign(self) -> None:
        """What another encoder's process wrote. What cannot be embedded now is tried again with the next change; it
        holds up nothing else."""
        for (place, version), stored in list(self._foreign.items()):
            try:
                (entry,) = await self._embedded([stored.document])
            except GatewayError as error:
                log.error("document %s at version %d is not shown yet: %s", stored.document.id, version, error)
                continue
            del self._foreign[place, version]
            now = self._store.document(*place, stored.document.id)
            generation = self._generation(place)
            if generation is not None and now is not None and now.version == version and not now.gone:
                self._show(place, generation.changed(generation.version, [entry]))

    # -- segments -----------------------------------------------------------------------------------------------------

    def _merge_if_due(self, place: Place, generation: Generation) -> None:
        running = self._merges.get(place)
        if running is None or running.done():
            parts = due(generation)
            if parts:
                self._merges[place] = asyncio.create_task(self._merge(place, parts))

    async def _merge(self, place: Place, parts: Sequence[Part]) -> None:
        """And again, until nothing is due: writes may come faster than graphs are built."""
        while parts:
            into = await asyncio.to_thread(_built, parts)
            generation = self._generation(place)
            if generation is None:  # dropped meanwhile
                return
            if generation.has(parts):  # not if it was begun again
                generation = generation.merged(parts, into)
                self._show(place, generation)
                log.info("%s: %d segments are now one of %d passages", key(*place), len(parts), len(into.passages))
            parts = due(generation)

    async def close(self) -> None:
        for task in self._merges.values():
            task.cancel()
        await asyncio.gather(*self._merges.values(), return_exceptions=True)


def due(generation: Generation) -> list[Part]:
    """Parts to be made one: FAN or more of about one size, the smallest such; else one that has no graph and is large;
    none if there is nothing to do. Not one that still takes in what is new."""
    by_size: dict[int, list[Part]] = {}
    for part in generation.sealed():
        if part.alive is None or part.alive.any():
            by_size.setdefault(len(part.segment.passages).bit_length() // 3, []).append(part)
    many = next((parts for _, parts in sorted(by_size.items()) if len(parts) >= FAN), None)
    if many:
        return many
    large = (part for parts in by_size.values() for part in parts if len(part.segment.passages) > EXACT_UP_TO)
    return next(([part] for part in large if part.segment.index.is_exact), [])


def _built(parts: Sequence[Part]) -> Segment:
    """One segment of what counts in these."""
    return Segment.build([one for part in parts for one in part.entries()], EXACT_UP_TO)


def key(tenant: str, collection: str) -> str:
    """A stored collection's name in the library."""
    return f"{tenant}{SEPARATOR}{collection}"


def _entry(stored: Stored, vectors: Mapping[int, Matrix]) -> Entry | None:
    """None where its vectors are not there, or are none of the passages that it has today."""
    divided = passages(stored.document)
    found = vectors.get(stored.version)
    if found is None or not _are_sound(found, len(divided), found.shape[-1]):
        return None
    return Entry.of(stored.document, divided, found)


def _are_sound(vectors: Matrix, rows: int, dim: int) -> bool:
    lengths = np.linalg.norm(vectors, axis=-1)
    return vectors.shape == (rows, dim) and bool(np.all(np.abs(lengths - 1) < UNIT_TOLERANCE))  # not for NaN either
