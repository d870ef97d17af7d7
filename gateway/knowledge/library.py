"""The knowledge tier: collections of documents in memory, searched by meaning and by words, as the caller may see
them.

A collection is one immutable generation: replacing it is one assignment, and a search keeps the one that it started
with. Reading rights are checked inside the search, never on its results alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gateway import failpoints
from gateway.cascade.confidence import DEPTH
from gateway.errors import UnknownCollection
from gateway.knowledge import citing, hybrid
from gateway.knowledge.generation import Found, Generation
from gateway.knowledge.lexical import LANGUAGE, analyzer
from gateway.knowledge.probe import Probe
from gateway.knowledge.segment import Segment
from gateway.types import Document, Evidence, Hit, Lookup, Prediction, Principal, Ranker, Ranking, Standing

SPARE = 5
"""Documents beyond those that are asked for, in the place of those that say the same as others."""


class Library:
    """Collections by name. `language`: what their documents are written in, see `lexical.Analyzer`; `now` tells which
    documents it is the time of, in seconds since 1970. `probe` hears of searches."""

    def __init__(
        self,
        collections: dict[str, Generation],
        language: str = LANGUAGE,
        now: Callable[[], float] = time.time,
        probe: Probe | None = None,
    ) -> None:
        self._collections = dict(collections)
        self._probe = probe
        self._analyzer = analyzer(language)
        self._now = now
        self._spells: dict[str, _Spell] = {}
        self._serials: dict[str, int] = {}

    def names(self) -> tuple[str, ...]:
        return tuple(self._collections)

    def find(self, collection: str) -> Generation | None:
        return self._collections.get(collection)

    def generation(self, collection: str) -> Generation:
        """Raises UnknownCollection."""
        found = self._collections.get(collection)
        if found is None:  # and no word of others: they may be another tenant's
            raise UnknownCollection("no such collection here")
        return found

    def serial(self, collection: str) -> int:
        """Another number whenever another generation is served."""
        return self._serials.get(collection, 0)

    def replace(self, collection: str, generation: Generation) -> None:
        """Serve this generation from the next search on."""
        self._serials[collection] = self.serial(collection) + 1
        self._collections = self._collections | {collection: generation}
        self._spells.pop(collection, None)

    def remove(self, collection: str) -> None:
        """Serve it no more."""
        self._collections = {name: one for name, one in self._collections.items() if name != collection}
        self._spells.pop(collection, None)

    def since(self, collection: str) -> float:
        """The last moment at which one of its documents began or ceased to count, in seconds since 1970; 0 if none has.
        What its generation says changes with nothing else."""
        generation, now = self.generation(collection), self._now()
        spell = self._spells.get(collection)
        if spell is None or not spell.start <= now < spell.end:
            spell = self._spells[collection] = _Spell.at(generation, now)
        return spell.start

    def counts(self, collection: str, principal: Principal) -> tuple[int, int]:
        """Documents and passages that the principal may read."""
        documents = passages = 0
        for part in self.generation(collection).parts:
            allowed = part.allowed(principal, self._now())
            documents += len(part.segment.documents) if allowed is None else int(allowed.sum())
            passages += int((part.segment.lengths if allowed is None else part.segment.lengths[allowed]).sum())
        return documents, passages

    def rank(
        self, collection: str, prediction: Prediction, principal: Principal, least: int, also: Sequence[str] = ()
    ) -> Ranking:
        """The documents nearest to the question that the principal may read, and `also` these, if they may be read.

        A document is as near as the mean of two cosines: its nearest passage's, and the average of all of its
        passages'. The nearest alone is easily a sentence about something else in passing (on questions that trained
        nothing: the right document first for 63.6 % with both, 58.9 % with the nearest, 63.5 % with the average).
        """
        generation = self.generation(collection)
        failpoints.reached("knowledge-search")
        now = self._now()
        ranked = generation.ranked(prediction, principal, least, also, now)
        if self._probe is not None:
            self._probe.note(generation, prediction, principal, now)
        return Ranking(
            tuple([(part.segment.documents[number].id, score) for part, number, score in ranked]), generation.version
        )

    def search(
        self,
        collection: str,
        text: str,
        prediction: Prediction,
        principal: Principal,
        limit: int,
        citations: int,
        ranker: Ranker = Ranker.HYBRID,
    ) -> Evidence:
        """The `limit` best documents for a text and its prediction, each with its `citations` nearest passages."""
        generation = self.generation(collection)
        ranked = self._searched(generation, text, prediction, principal, limit, ranker)
        return Evidence(tuple(_shown(ranked, prediction, citations)), generation.version)

    def look(self, collection: str, text: str, prediction: Prediction, principal: Principal) -> Lookup | None:
        """The best documents by meaning and words, and how sure the collection's own confidence is of the first; None
        where it has none that can be used."""
        generation = self.generation(collection)
        held = generation.confidence
        if held is None or held.calibration is None:
            return None
        found = self._searched(generation, text, prediction, principal, DEPTH, Ranker.HYBRID)
        documents = tuple([(part.segment.documents[number].id, score) for part, number, score, _ in found])
        sure = held.calibration.confidence([(score, near) for _, _, score, near in found])
        return Lookup(Ranking(documents, generation.version), sure, held.fitted.threshold)

    def _searched(
        self,
        generation: Generation,
        text: str,
        prediction: Prediction,
        principal: Principal,
        limit: int,
        ranker: Ranker,
    ) -> hybrid.Ranked:
        """The best that are different, if there are so many: looked for among more of them until that is so."""
        failpoints.reached("knowledge-search")
        terms, now = self._analyzer.question(text), self._now()
        if self._probe is not None:
            self._probe.note(generation, prediction, principal, now)
        asked = limit + SPARE
        while True:
            ranked = hybrid.search(generation, prediction, terms, principal, asked, now, ranker)
            different = distinct(ranked)
            if len(different) >= limit or len(ranked) < asked:
                return different[:limit]
            asked *= 4

    def standing(self, collection: str, document_id: str, known_hash: str, principal: Principal) -> Standing:
        """How a label's document is now; `known_hash` is empty where any text will do."""
        found = self.generation(collection).find(document_id)
        if found is None:
            return Standing.WITHDRAWN
        part, number = found
        if not self._is_in_time(part.segment.documents[number]):
            return Standing.WITHDRAWN
        if not may_read(part.segment.documents[number], principal):
            return Standing.FORBIDDEN
        is_known = not known_hash or part.segment.content_hash(number) == known_hash
        return Standing.CURRENT if is_known else Standing.CHANGED

    def read(
        self, collection: str, document_id: str, prediction: Prediction, principal: Principal, citations: int
    ) -> Hit | None:
        """One document with its passages nearest to the question; None where it is gone, empty or not for them."""
        if (found := self._found(collection, document_id, principal)) is None:
            return None
        return citing.hit(found[0].segment, prediction, found[1], citations)

    def search_by_words(self, collection: str, text: str, principal: Principal, limit: int, citations: int) -> Evidence:
        """As `search` with LEXICAL, for when nothing tells what a text means: nothing is near then, and those passages
        are cited that say most of it."""
        generation = self.generation(collection)
        best, asked = self._by_words(generation, text, principal, limit), self._words(text)
        found = (
            citing.hit_by(part.segment, number, lambda passage: len(asked & self._words(passage)), citations, score)
            for part, number, score, _ in best
        )
        return Evidence(tuple([hit for hit in found if hit]), generation.version)

    def rank_by_words(self, collection: str, text: str, principal: Principal, least: int) -> Ranking:
        """The documents that say most of a text, with how much of it: for when nothing tells what it means."""
        generation = self.generation(collection)
        best = self._by_words(generation, text, principal, least)
        return Ranking(
            tuple([(part.segment.documents[number].id, score) for part, number, score, _ in best]), generation.version
        )

    def read_by_words(
        self, collection: str, document_id: str, text: str, principal: Principal, citations: int
    ) -> Hit | None:
        """As `read`, with the passages that say most of a text."""
        if (found := self._found(collection, document_id, principal)) is None:
            return None
        asked = self._words(text)
        return citing.hit_by(found[0].segment, found[1], lambda passage: len(asked & self._words(passage)), citations)

    def _by_words(self, generation: Generation, text: str, principal: Principal, limit: int) -> hybrid.Ranked:
        failpoints.reached("knowledge-search")
        terms, now = self._analyzer.question(text), self._now()
        ranked = hybrid.search(generation, None, terms, principal, limit + SPARE, now, Ranker.LEXICAL)
        return distinct(ranked)[:limit]

    def _words(self, text: str) -> frozenset[int]:
        return frozenset(self._analyzer.question(text).tolist())

    def _found(self, collection: str, document_id: str, principal: Principal) -> Found | None:
        """Where a document is that the principal may read now."""
        found = self.generation(collection).find(document_id)
        if found is None:
            return None
        document = found[0].segment.documents[found[1]]
        return found if may_read(document, principal) and self._is_in_time(document) else None

    def _is_in_time(self, document: Document) -> bool:
        return document.effective <= self._now() < document.expires


def _shown(ranked: hybrid.Ranked, prediction: Prediction, citations: int) -> list[Hit]:
    """In their order; those of one segment are made together."""
    by_segment: dict[int, tuple[Segment, list[int]]] = {}
    for place, (part, *_) in enumerate(ranked):
        by_segment.setdefault(id(part.segment), (part.segment, []))[1].append(place)
    made: dict[int, Hit] = {}
    for segment, places in by_segment.values():
        hits = citing.hits(segment, prediction, [ranked[place][1:] for place in places], citations)
        made.update(zip(places, hits, strict=True))
    return [made[place] for place in range(len(ranked))]


def distinct(ranked: hybrid.Ranked) -> hybrid.Ranked:
    """Of documents that say the same the first: imported twice, or kept on two pages."""
    first: dict[tuple[str, str], hybrid.One] = {}
    for one in ranked:
        document = one[0].segment.documents[one[1]]
        first.setdefault((document.title, document.text), one)
    return list(first.values())


@dataclass(frozen=True, slots=True)
class _Spell:
    """From when until when the same documents of a generation count."""

    start: float
    end: float

    @staticmethod
    def at(generation: Generation, now: float) -> _Spell:
        # Of those that were replaced, too: a moment too many costs an answer that is not kept, and no more.
        bounds = [valid.ravel() for part in generation.parts if (valid := part.segment.valid) is not None]
        every = np.concatenate(bounds) if bounds else np.empty(0)
        start, end = every[every <= now].max(initial=0.0), every[every > now].min(initial=math.inf)
        return _Spell(float(start), float(end))


def may_read(document: Document, principal: Principal) -> bool:
    """A document without groups is for everybody; one with groups only for those who are in one of them."""
    return not document.groups or bool(document.groups & principal.groups)
