"""The collections of a store as one bundle's encoder sees them: in memory, and in step with every change.

A write is divided and embedded first, then written, and then shown, from the log, in its order: so it does not matter
which process wrote it. It is acknowledged once the next question sees it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from gateway.errors import GatewayError, StoreFailed
from gateway.knowledge.backfill import TOGETHER, Backfill, GoOn, Progress
from gateway.knowledge.changes import (
    EVERYWHERE,
    Batch,
    Calibrate,
    Change,
    Put,
    Receipt,
    Stored,
    Switch,
    Switched,
)
from gateway.knowledge.confidence import Confidences
from gateway.knowledge.current import current
from gateway.knowledge.encoder import Encoder, embedded, kept
from gateway.knowledge.generation import Generation, Part
from gateway.knowledge.history import Place
from gateway.knowledge.lexical import LANGUAGE, WORDS_VERSION
from gateway.knowledge.library import Library
from gateway.knowledge.merges import Merges
from gateway.knowledge.segment import Entry
from gateway.knowledge.segment_files import SegmentFiles
from gateway.knowledge.store import MOST_READ, Store
from gateway.knowledge.turns import Known, Turn, Turns
from gateway.types import Document, StoredFigures

log = logging.getLogger(__name__)

SEPARATOR = "/"
"""In the library's name of a stored collection; no name of a configured one has it."""
MUCH = 16
"""Changes from which a thread is worth its while."""


class KnowledgeBase:
    """All methods but `load` on one event loop."""

    def __init__(
        self,
        store: Store,
        libraries: Sequence[Library],
        encoder: Encoder,
        language: str = LANGUAGE,
        progress: Progress | None = None,
    ) -> None:
        """Collections are kept in all of the `libraries`, by `key`. `language`: see `lexical.Analyzer`. `progress`: of
        what is embedded of the same store, by whatever base."""
        self._progress = progress or Progress()
        self._backfill = Backfill(store, encoder, language, self._progress)
        self._store = store
        self._libraries = libraries
        self._encoder = encoder
        self._language = language
        self._applied = 0
        self._written = 0.0
        self._switched: Switched | None = None
        self._stamp = 0
        self._is_lost = False
        self._catching_up = asyncio.Lock()
        self._foreign: dict[tuple[Place, int], Stored] = {}  # not embedded by this encoder yet, by version
        self.scored_by = f"{encoder.name} {WORDS_VERSION} {language}"
        self._files = SegmentFiles(store.path.parent, self.scored_by)
        self._confidences = Confidences(store, self.scored_by)
        self._turns = Turns(store, encoder, language)
        self._merges = Merges(self._generation, self._show, self._files)

    @property
    def version(self) -> int:
        """Of the last change that questions see."""
        return self._applied

    @property
    def encoder(self) -> str:
        return self._encoder.name

    @property
    def switched(self) -> Switched | None:
        """The last word of the log, up to `version`, on which encoder searches go by: perhaps another one than this.
        None where there is none."""
        return self._switched

    def seen(self, place: Place) -> int:
        """The version up to which questions to that place see everything: not what could not be embedded yet."""
        return min((version - 1 for where, version in self._foreign if where == place), default=self._applied)

    def figures(self) -> StoredFigures:
        """Of all collections."""
        library = self._libraries[0]
        generations = [library.generation(name) for name in library.names() if SEPARATOR in name]
        counts = [one.counts() for one in generations]
        return StoredFigures(
            collections=len(counts),
            documents=sum(documents for documents, _ in counts),
            passages=sum(passages for _, passages in counts),
            segments=sum(len(one.parts) for one in generations),
            unkept=sum(part.segment.is_unkept for one in generations for part in one.parts),
            version=self._applied,
            encoder=self.encoder,
            is_encoder_current=self._switched is None or self._switched.encoder == self.encoder,
            backfill=self._progress.figures,
            written=self._written,
        )

    @property
    def merging(self) -> Collection[asyncio.Task[None]]:
        """What goes on beside questions."""
        return self._merges.tasks

    def load(self, go_on: GoOn = lambda: None, share: float | None = None) -> None:
        """Everything that is stored, embedded where it is not yet by this encoder. Once, before questions come.
        `share`: of the time, what embedding may take, as others answer meanwhile; None where nobody does.

        Searched by scan at first: graphs are built after `start`.

        `go_on` is called now and then; what it raises ends it. Raises StoreFailed too.
        """
        if share is not None:
            self._backfill.run(share, go_on)
        self._stamp = self._store.stamp()
        with self._store.moment() as rows:
            there = current(rows, go_on)
        self._applied, self._switched = there.version, there.switched
        self._written = max((one.at for one in self._store.changes(there.version - 1, most=1)), default=0.0)
        with self._store.apart() as rows:
            for place in [*there.documents]:
                go_on()
                parts, left = self._files.parts(place, there.documents.pop(place))
                entries = self._backfill.entries(sorted(left, key=lambda one: one.version), rows, go_on)
                whole = Generation(self._applied, tuple(parts), self._confidences.held(*place))
                self._show(place, whole.begun(entries))
        self._files.clean([part.segment for part in self._parts()])

    def _parts(self) -> Iterator[Part]:
        """Of all collections."""
        generations = (self._generation(place) for place in self._store.collections())
        return (part for generation in generations if generation is not None for part in generation.parts)

    def start(self) -> None:
        """Build graphs where a scan takes long, beside questions."""
        for place in self._store.collections():
            if (generation := self._generation(place)) is not None:
                self._merges.begin_if_due(place, generation)

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
        without a word and a confidence that could not be used, and what the encoder raises."""
        for one in changes:
            if isinstance(one, Calibrate) and one.confidence is not None:
                self._confidences.check(one.confidence)
        divided = await self._embedded([one.document for one in changes if isinstance(one, Put)])
        by_document = {id(one.document): one for one in divided}
        given = tuple(self._with_vectors(one, by_document) for one in changes)
        ahead: Known | None = None

        def entries(receipt: Receipt) -> dict[int, Entry]:
            return {
                version: replace(by_document[id(one.document)], version=version)
                for one, version in zip(changes, receipt.versions, strict=True)
                if isinstance(one, Put)
            }

        def get_ready(receipt: Receipt) -> None:
            nonlocal ahead
            ahead = self._ahead(place, entries(receipt), len(changes))

        receipt = await self._store.write(Batch(*place, given, idempotency_key, writer), get_ready)
        await self.catch_up(ahead or Known(entries(receipt)))
        return receipt

    def _ahead(self, place: Place, entries: Mapping[int, Entry], changes: int) -> Known | None:
        """What a batch of so many changes makes of the collection, where it is of few documents and nothing else."""
        before = self._generation(place)
        is_plain = len({one.document.id for one in entries.values()}) == changes <= MUCH
        if before is None or not is_plain:
            return None
        try:
            return Known.ahead(entries, before)
        except Exception:  # it is on disk soon, and made again from there
            log.exception("%s: what is being written could not be got ready", "/".join(place))
            return None

    async def record(self) -> None:
        """Write into the log that searches go by this encoder from now on. Raises as `Store.write`."""
        await self._store.write(Batch(*EVERYWHERE, (Switch(self._encoder.name, self._encoder.bundle),)))
        await self.catch_up()

    async def _embedded(self, documents: Sequence[Document]) -> list[Entry]:
        return await embedded(documents, self._encoder, self._language)

    def _with_vectors(self, change: Change, known: Mapping[int, Entry]) -> Change:
        if not isinstance(change, Put):
            return change
        return replace(change, encoder=self._encoder.name, vectors=kept(known[id(change.document)]))

    async def follow(self) -> None:
        """Catch up if another process has written, or is being caught up with. Microseconds if none has.

        Where the disk is lost, what was last seen is served: reading goes on, and no write is acknowledged any more.
        """
        try:
            if self._store.stamp() != self._stamp:
                await self.catch_up()
            self._is_lost = False
        except StoreFailed:
            if not self._is_lost:
                log.exception("the knowledge base cannot be read: what was last seen of it is served")
            self._is_lost = True

    async def catch_up(self, known: Known | None = None) -> None:
        """Show what has been written by now, by whomever.

        It goes on if who waits for it leaves: others wait too.
        """
        await asyncio.shield(asyncio.create_task(self._catch_up(known or Known())))

    async def _catch_up(self, known: Known) -> None:
        async with self._catching_up:
            stamp = self._store.stamp()
            is_more = True  # what is written from here on changes the stamp, or is caught up with by who writes it
            while is_more and (changes := self._store.changes(self._applied)):
                is_more = len(changes) == MOST_READ
                # Beside questions, where there is much to read, divide or index.
                is_much = len(changes) > MUCH or any(one.seq not in known.entries for one in changes if one.op == "put")
                of = self._turns.of
                turns = await asyncio.to_thread(of, changes, known) if is_much else of(changes, known)
                if any(one.op == "encoder" for one in changes):
                    self._switched = self._store.switched()
                self._apply(turns, changes[-1].seq, known)
                self._written = changes[-1].at
            await self._embed_foreign()
            self._stamp = stamp

    def _apply(self, turns: Sequence[Turn], version: int, known: Known) -> None:
        """Show them, all at once, as a batch is seen whole. Documents that this encoder has not embedded are masked and
        noted, and come when they are embedded: nobody sees what they were."""
        shown: dict[Place, Generation | None] = {}
        for turn in turns:
            place = turn.place
            self._foreign = {
                (where, at): one
                for (where, at), one in self._foreign.items()
                if where != place or not (turn.is_begun or turn.is_dropped or one.document.id in turn.ids)
            } | {(place, one.version): one for one in turn.foreign}
            before = Generation(0, ()) if turn.is_begun else self._generation(place)
            if before is None or turn.is_dropped:
                shown[place] = None
                continue
            after = known.next(before, version, turn)
            if turn.is_calibrated:  # changed again since: that change comes too
                after = replace(after, confidence=self._confidences.held(*place))
            shown[place] = after
        for place, generation in shown.items():
            self._show(place, generation)
            if generation is not None:
                self._merges.begin_if_due(place, generation)
        self._applied = version

    async def _embed_foreign(self) -> None:
        """What another encoder's process wrote, TOGETHER at a time, and kept for others of this encoder. What cannot be
        embedded now is tried again with the next change."""
        waiting = list(self._foreign.items())
        for at in range(0, len(waiting), TOGETHER):
            some = waiting[at : at + TOGETHER]
            try:
                made = await self._embedded([stored.document for _, stored in some])
            except GatewayError as error:
                log.error("%d documents that another encoder's process wrote are not shown yet: %s", len(some), error)
                continue
            vectors = {version: kept(entry) for ((_, version), _), entry in zip(some, made, strict=True)}
            await asyncio.to_thread(self._store.keep, self._encoder.name, vectors)
            for ((place, version), stored), entry in zip(some, made, strict=True):
                del self._foreign[place, version]
                now = self._store.document(*place, stored.document.id)
                generation = self._generation(place)
                if generation is not None and now is not None and now.version == version and not now.gone:
                    self._show(place, generation.changed(generation.version, [replace(entry, version=version)]))

    async def close(self) -> None:
        await self._merges.close()


def key(tenant: str, collection: str) -> str:
    """A stored collection's name in the library."""
    return f"{tenant}{SEPARATOR}{collection}"
