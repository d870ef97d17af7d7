"""A collection at one knowledge version: segments, and which of their documents still count.

A change makes another generation that shares all segments with the one before, but for the last and smallest: what is
new lies there, and is searched by scan. Documents that were replaced or deleted stay where they are and are masked,
until segments are merged. Searches keep the generation that they began with.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from gateway.knowledge.confidence import Held
from gateway.knowledge.lexical import LANGUAGE
from gateway.knowledge.segment import Embed, Entry, Mask, Segment, entries
from gateway.knowledge.vectors import EXACT_UP_TO
from gateway.types import Document, Prediction, Principal

MOST_RANKED = 64
"""Documents in a ranking, beside those that were named: enough for everything that listens to one."""
LEAST_LIVE = 0.75
"""Share of a segment's passages that must count for it to stay as it is: the rest costs memory and time."""
OPEN_ROWS = 512
"""Passages up to which a segment takes in what is new: it is built anew for each change."""


@dataclass(frozen=True, eq=False)
class Part:
    """A segment and which of its documents count; `alive` None: all."""

    segment: Segment
    alive: Mask | None = None

    @staticmethod
    def build(given: Sequence[Entry]) -> Part | None:
        """Of new documents; None where none has a passage. Searched by scan, however many: to build a graph takes
        milliseconds for each row, and is done beside questions."""
        given = [one for one in given if len(one.spans)]
        rows = sum(len(one.spans) for one in given)
        return Part(Segment.build(given, sys.maxsize, is_open=rows < OPEN_ROWS)) if given else None

    def allowed(self, principal: Principal, now: float) -> Mask | None:
        """[documents] that count at that time and that the principal may read; None where that is all."""
        masks = [
            one for one in (self.alive, self.segment.readable(principal), self.segment.in_time(now)) if one is not None
        ]
        return np.logical_and.reduce(masks) if len(masks) > 1 else masks[0] if masks else None

    def number(self, document_id: str) -> int | None:
        """Of a document that is there, whether it is its time or not."""
        number = self.segment.by_id.get(document_id)
        return None if number is None or (self.alive is not None and not self.alive[number]) else number

    def without(self, ids: Set[str]) -> Part:
        """The same, in which those do not count any more."""
        gone = [number for one in ids if (number := self.number(one)) is not None]
        if not gone:
            return self
        alive = np.ones(len(self.segment.documents), bool) if self.alive is None else self.alive.copy()
        alive[gone] = False
        return replace(self, alive=alive)

    @cached_property
    def rows(self) -> int:
        """Passages that count."""
        lengths = self.segment.lengths
        return int((lengths if self.alive is None else lengths[self.alive]).sum())

    @property
    def is_worn(self) -> bool:
        return self.rows < LEAST_LIVE * len(self.segment.spans)

    def joined(self, other: Part) -> Part:
        """One of both; what does not count stays where it is, until segments are merged."""
        segment = self.segment.joined(other.segment)
        if self.alive is None and other.alive is None:
            return Part(segment)
        masks = [np.ones(len(one.segment.documents), bool) if one.alive is None else one.alive for one in (self, other)]
        return Part(segment, np.concatenate(masks))

    def numbers(self) -> list[int]:
        """Of all documents that count."""
        every = range(len(self.segment.documents))
        return list(every) if self.alive is None else np.flatnonzero(self.alive).tolist()

    def entries(self) -> Iterator[Entry]:
        return self.segment.entries(self.numbers())


Found = tuple[Part, int]
"""Where a document is."""


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """Parts in the order in which they were begun; a document counts in one of them at most. `confidence`: how sure a
    search in it makes; None if nobody has fitted that."""

    version: int
    parts: tuple[Part, ...]
    confidence: Held | None = None

    @staticmethod
    def build(
        documents: Iterable[Document],
        embed: Embed,
        version: int = 1,
        exact_up_to: int = EXACT_UP_TO,
        language: str = LANGUAGE,
    ) -> Generation:
        """Divide, embed and index. Raises SearchFailed if the encoder gives anything but unit vectors."""
        return Generation(version, (Part(Segment.build(entries(documents, embed, (), language), exact_up_to)),))

    @property
    def documents(self) -> Iterator[Document]:
        return (part.segment.documents[number] for part in self.parts for number in part.numbers())

    def counts(self) -> tuple[int, int]:
        """Documents and passages that count."""
        documents = sum(
            len(part.segment.documents) if part.alive is None else int(np.count_nonzero(part.alive))
            for part in self.parts
        )
        return documents, sum(part.rows for part in self.parts)

    def find(self, document_id: str) -> Found | None:
        """Where that document is, if there is one."""
        for part in reversed(self.parts):
            number = part.number(document_id)
            if number is not None:
                return part, number
        return None

    def ranked(
        self, prediction: Prediction, principal: Principal, least: int, also: Sequence[str] = (), now: float = 0.0
    ) -> list[tuple[Part, int, float]]:
        """Documents with how near they are, nearest first: at least `least` if there are, and `also` these."""
        ranked = [each for part in self.parts for each in _ranked(part, prediction, principal, least, also, now)]
        if len(self.parts) == 1:
            return ranked
        ranked.sort(key=lambda one: -one[2])
        most = max(least, MOST_RANKED)
        named = set(also)
        return ranked[:most] + [one for one in ranked[most:] if one[0].segment.documents[one[1]].id in named]

    def changed(self, version: int, new: Sequence[Entry], gone: Set[str] = frozenset()) -> Generation:
        """The next one, with `new` documents in the place of those of the same ids, and without `gone`. A document
        without a passage cannot be found, and is left out."""
        return self.with_part(version, Part.build(new), gone | {one.document.id for one in new})

    def begun(self, entries: Sequence[Entry]) -> Generation:
        """With these too, oldest first, as a start finds them beside segments: the newest still take in what is new, as
        they did before, and the others do not. All in one they would be more than the next larger segments bear without
        a merge."""
        rows = np.cumsum([len(one.spans) for one in reversed(entries)])
        at = len(entries) - int(np.searchsorted(rows, OPEN_ROWS))
        parts = [part for some in (entries[:at], entries[at:]) if (part := Part.build(some)) is not None]
        return replace(self, parts=(*self.parts, *parts))

    def with_part(self, version: int, new: Part | None, gone: Set[str]) -> Generation:
        """The next one, with those documents and without `gone`, among which are the earlier ones of the same ids."""
        parts = [part.without(gone) for part in self.parts]
        if new is not None:
            parts.append(parts.pop().joined(new) if parts and self._is_open(parts[-1]) else new)
        return replace(self, version=version, parts=tuple(parts))

    @staticmethod
    def _is_open(part: Part) -> bool:
        return len(part.segment.spans) < OPEN_ROWS and part.segment.index.is_exact

    def sealed(self) -> tuple[Part, ...]:
        """All parts but the one that takes in what is new."""
        return self.parts[:-1] if self.parts and self._is_open(self.parts[-1]) else self.parts

    def has(self, parts: Sequence[Part]) -> bool:
        """Whether the segments of all of these are still in it."""
        return {id(part.segment) for part in parts} <= {id(part.segment) for part in self.parts}

    def merged(self, merged: Sequence[Part], into: Segment | None) -> Generation:
        """The same documents, with one segment in the place of several: `into` was built of what counted in `merged`,
        parts of an earlier generation; None if nothing did. What has changed since then is not in it, or does not
        count."""
        segments = {id(part.segment) for part in merged}
        left = [part for part in self.parts if id(part.segment) not in segments]
        if into is None:
            return replace(self, parts=tuple(left))
        counting = {
            part.segment.documents[number].id
            for part in self.parts
            if id(part.segment) in segments
            for number in part.numbers()
        }
        one = Part(into).without(into.by_id.keys() - counting)
        return replace(self, parts=(one, *left))


def _ranked(
    part: Part, prediction: Prediction, principal: Principal, least: int, also: Sequence[str], now: float
) -> list[tuple[Part, int, float]]:
    """One part's, as `Generation.ranked`."""
    segment, allowed = part.segment, part.allowed(principal, now)
    named = [number for one in also if (number := part.number(one)) is not None]
    named = [number for number in named if (allowed is None or allowed[number]) and segment.lengths[number]]
    numbers, scores = segment.nearest(prediction, allowed, least, named)
    order = np.argsort(-scores, kind="stable")
    picked = order[: max(least, MOST_RANKED)]
    late = [at for at in np.searchsorted(numbers, named).tolist() if not (picked == at).any()] if named else []
    if late:
        picked = np.concatenate([picked, order[np.isin(order, late)]])
    return [
        (part, number, score) for number, score in zip(numbers[picked].tolist(), scores[picked].tolist(), strict=True)
    ]
