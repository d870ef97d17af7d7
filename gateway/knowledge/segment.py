"""A block of documents that never changes: their passages, embedded and indexed, and who may read which."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray

from gateway.knowledge.documents import passages
from gateway.knowledge.graphs import FloatGraph, GoOn
from gateway.knowledge.lexical import LANGUAGE, LexicalIndex, Words, analyzer
from gateway.knowledge.pages import Pages
from gateway.knowledge.vectors import EXACT_UP_TO, Build, VectorIndex
from gateway.types import Document, Matrix, Pass, Passage, Prediction, Principal, Vector

Embed = Callable[[Sequence[str]], Matrix]
"""Unit embeddings [texts, dim] of texts."""
Mask = NDArray[np.bool_]
Spans = NDArray[np.int32]
FEW_ROWS = 8192
"""Up to so many passages that may be read, of many, are gathered and scanned: half a millisecond at most, and exact."""
MOST_READERS = 64
"""Sets of groups whose rights in a segment are kept."""
ALWAYS = (0.0, math.inf)
"""From when until when most documents count."""
PASSAGES_PER_DOCUMENT = 10
"""Passages fetched for each document wanted: several of the nearest may be of one document, and a document whose
nearest passage is not among the first may still win by its average."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A document on its way into a segment.

    `spans` [passages, 2] are where its passages begin and end in its text, `vectors` [passages, dim] their unit
    embeddings, `title` [dim] that of its title alone, `words` what it says literally. `version` is the change that
    wrote it; 0 where none did.
    """

    document: Document
    version: int
    spans: Spans
    vectors: Matrix
    title: Vector
    words: Words


def entries(
    documents: Iterable[Document], embed: Embed, versions: Sequence[int] = (), language: str = LANGUAGE
) -> list[Entry]:
    """The documents divided and embedded, all texts at once."""
    documents = list(documents)
    divided = [passages(document) for document in documents]
    texts = [passage.plain for some in divided for passage in some]
    vectors = embed([*texts, *(document.title for document in documents)])
    at, found = 0, []
    for number, (document, some) in enumerate(zip(documents, divided, strict=True)):
        end = at + len(some)
        title = vectors[len(texts) + number]
        words = analyzer(language).document(document)
        version = versions[number] if versions else 0
        found.append(Entry(document, version, spans_of(some), vectors[at:end], title, words))
        at = end
    return found


def spans_of(divided: Sequence[Passage]) -> Spans:
    return np.array([(one.start, one.end) for one in divided], np.int32).reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class Scan:
    """A pass against a whole segment: `cosines` [questions, passages], and `scores` [questions, documents] of those
    documents that have a passage."""

    cosines: Matrix
    scores: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """`owner` [passages] numbers each passage's document, `spans` [passages, 2] is where it lies in its text. Each
    document has `lengths` [documents] passages from `first_passage` on; `filled` are the numbers of those that have
    any. `titles` [documents, dim] are unit embeddings, `pages` tells which are of one page.

    `rights` are the different sets of groups, of which each document has the one that `right` [documents] numbers.
    `valid` [documents, 2] is from when until when a document counts, in seconds since 1970; None where all always do.
    `name` is under which it is kept on disk, "" if it is not.
    """

    documents: tuple[Document, ...]
    versions: NDArray[np.int64]
    spans: Spans
    owner: NDArray[np.int32]
    first_passage: NDArray[np.int64]
    lengths: Vector
    filled: NDArray[np.int64]
    by_id: dict[str, int]
    rights: tuple[frozenset[str], ...]
    right: NDArray[np.int32]
    valid: NDArray[np.float64] | None
    index: VectorIndex
    titles: Matrix
    pages: Pages
    words: LexicalIndex
    name: str = ""
    _hashes: dict[int, str] = field(default_factory=dict, repr=False)
    _readable: dict[frozenset[str], Mask | None] = field(default_factory=dict, repr=False)

    @staticmethod
    def build(
        given: Sequence[Entry],
        exact_up_to: int = EXACT_UP_TO,
        is_open: bool = False,
        go_on: GoOn = lambda: None,
        build: Build = FloatGraph,
    ) -> Segment:
        """Of documents with different ids and at least one passage. `is_open`: to be built anew soon. `exact_up_to` and
        `build`: see `VectorIndex`. Raises SearchFailed for anything but unit vectors, and what `go_on` raises, which is
        called now and then."""
        return Segment.of(
            [one.document for one in given],
            [one.version for one in given],
            np.concatenate([one.spans for one in given]),
            [len(one.spans) for one in given],
            VectorIndex(np.concatenate([one.vectors for one in given]), exact_up_to, go_on, build),
            np.stack([one.title for one in given]),
            LexicalIndex([one.words for one in given], is_compact=not is_open),
        )

    @staticmethod
    def of(
        documents: Sequence[Document],
        versions: Sequence[int],
        spans: Spans,
        counts: Sequence[int],
        index: VectorIndex,
        titles: Matrix,
        words: LexicalIndex,
        name: str = "",
    ) -> Segment:
        """With as many passages of each document as `counts` says."""
        numbers: dict[frozenset[str], int] = {}
        right = [numbers.setdefault(document.groups, len(numbers)) for document in documents]
        valid = np.array([(document.effective, document.expires) for document in documents])
        return Segment(
            documents=tuple(documents),
            versions=np.array(versions, np.int64),
            spans=spans,
            owner=np.repeat(np.arange(len(documents), dtype=np.int32), counts),
            first_passage=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
            lengths=np.array(counts, np.float32),
            filled=np.flatnonzero(counts),
            by_id={document.id: number for number, document in enumerate(documents)},
            rights=tuple(numbers),
            right=np.array(right, np.int32),
            valid=valid if (valid != ALWAYS).any() else None,
            index=index,
            titles=titles,
            pages=Pages(np.array([_page(document) for document in documents], np.uint64)),
            words=words,
            name=name,
        )

    def joined(self, other: Segment) -> Segment:
        """With another one's documents after its own: of an id that both have, `by_id` has that one's. Searched by
        scan; what it costs is to copy arrays, whatever was there before."""
        numbers = {groups: number for number, groups in enumerate(self.rights)}
        right = np.array([numbers.setdefault(groups, len(numbers)) for groups in other.rights], np.int32)
        count = len(self.documents)
        is_always = self.valid is None and other.valid is None
        return Segment(
            documents=self.documents + other.documents,
            versions=np.concatenate([self.versions, other.versions]),
            spans=np.concatenate([self.spans, other.spans]),
            owner=np.concatenate([self.owner, other.owner + np.int32(count)]),
            first_passage=np.concatenate([self.first_passage[:-1], other.first_passage + self.first_passage[-1]]),
            lengths=np.concatenate([self.lengths, other.lengths]),
            filled=np.concatenate([self.filled, other.filled + count]),
            by_id=self.by_id | {one: count + number for one, number in other.by_id.items()},
            rights=tuple(numbers),
            right=np.concatenate([self.right, right[other.right]]),
            valid=None if is_always else np.concatenate([self._valid(), other._valid()]),
            index=self.index.joined(other.index),
            titles=np.concatenate([self.titles, other.titles]),
            pages=self.pages.joined(other.pages),
            words=self.words.joined(other.words),
        )

    @property
    def is_unkept(self) -> bool:
        """Whether its graph is in memory alone, so that a start would build it anew."""
        return not self.index.is_exact and not self.name

    def _valid(self) -> NDArray[np.float64]:
        return np.tile(np.array(ALWAYS), (len(self.documents), 1)) if self.valid is None else self.valid

    def entries(self, numbers: Iterable[int]) -> Iterator[Entry]:
        """Documents as they were put in."""
        words, bounds = self.words.words(), self.first_passage.tolist()
        for number in numbers:
            rows = slice(bounds[number], bounds[number + 1])
            yield Entry(
                self.documents[number],
                int(self.versions[number]),
                self.spans[rows],
                self.index.vectors(rows),
                self.titles[number],
                words[number],
            )

    def content_hash(self, number: int) -> str:
        """Of a document. Kept, because the ensemble asks for those of all labels with every question."""
        known = self._hashes.get(number)
        if known is None:
            known = self._hashes[number] = self.documents[number].content_hash
        return known

    def readable(self, principal: Principal) -> Mask | None:
        """[documents] that the principal may read; None where all may read all. Kept: callers have few sets of groups,
        and documents may have many."""
        if principal.groups not in self._readable:
            if len(self._readable) >= MOST_READERS:
                self._readable.clear()
            may = [not groups or bool(groups & principal.groups) for groups in self.rights]
            self._readable[principal.groups] = None if all(may) else np.array(may)[self.right]
        return self._readable[principal.groups]

    def in_time(self, now: float) -> Mask | None:
        """[documents] that count at that time; None where all do."""
        if self.valid is None:
            return None
        found = np.logical_and(self.valid[:, 0] <= now, now < self.valid[:, 1])
        return None if found.all() else found

    def nearest(
        self,
        prediction: Prediction,
        allowed: Mask | None,
        least: int,
        named: Sequence[int] = (),
        each: int = PASSAGES_PER_DOCUMENT,
    ) -> Nearest:
        """Documents [n] of those `allowed` with how near they are: at least `least` nearest ones if there are, and
        `named`; `everything` where there is that. `each`: passages to look at for each of `least`."""
        if (everything := self.everything(prediction, allowed)) is not None:
            return everything
        numbers, _ = self._by_index(prediction.embedding, allowed, least, each)
        if named:
            numbers = np.union1d(numbers, np.array(named, np.int64))
        return numbers, self._gathered(prediction.embedding, numbers)

    def walked(
        self, prediction: Prediction, allowed: Mask | None, least: int, each: int
    ) -> tuple[NDArray[np.int64], Vector, float]:
        """As `nearest` by index, with a cosine that no passage of another document exceeds, as far as the index is
        right."""
        numbers, last = self._by_index(prediction.embedding, allowed, least, each)
        beyond = self.index.similarities(prediction.embedding, last).max(initial=-1.0)
        return numbers, self._gathered(prediction.embedding, numbers), float(beyond)

    def everything(self, prediction: Prediction, allowed: Mask | None) -> Nearest | None:
        """All documents [n] that are `allowed` with how near they are, where the index is a scan anyway, or where they
        are few; None where to look for the nearest ones takes less."""
        if allowed is not None and 2 * np.count_nonzero(allowed) < len(allowed):
            few = np.flatnonzero(allowed)
            few = few[self.lengths[few] > 0]
            if float(self.lengths[few].sum()) <= FEW_ROWS:
                return few, self._gathered(prediction.embedding, few)
        scan = self.scan(prediction)
        if scan is None:
            return None
        numbers, scores = self.filled, scan.scores[prediction.row]
        if allowed is None:
            return numbers, scores
        is_kept = allowed[numbers]
        return numbers[is_kept], scores[is_kept]

    def scan(self, prediction: Prediction) -> Scan | None:
        """The question's pass against everything, where the index is a scan anyway."""
        return prediction.forward.shared(self, self._scan) if self.index.is_exact else None

    def _scan(self, forward: Pass) -> Scan:
        cosines = self.index.cosines(forward.embeddings)
        return Scan(cosines, scores_of(cosines, self.first_passage[self.filled], self.lengths[self.filled]))

    def _by_index(
        self, embedding: Vector, allowed: Mask | None, least: int, each: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of the documents of the nearest passages, and the row of the last of these: of more of them where a
        long document has most."""
        count = least * each
        while True:
            rows = self.index.search(embedding, count, allowed, self.owner)
            owners = np.array(sorted(set(self.owner[rows].tolist())), np.int64)
            if len(owners) >= least or len(rows) < count:
                return owners, rows[-1:]
            count *= 4

    def scores(self, prediction: Prediction, numbers: NDArray[np.int64]) -> Vector:
        """How near some documents are, each of which must have a passage; see `Library.rank`."""
        if len(self.filled) == len(self.documents) and (scan := self.scan(prediction)):
            return cast(Vector, scan.scores[prediction.row, numbers])
        return self._gathered(prediction.embedding, numbers)

    def _gathered(self, embedding: Vector, numbers: NDArray[np.int64]) -> Vector:
        if not len(numbers):
            return np.empty(0, np.float32)
        rows, starts = self._rows(numbers)
        return scores_of(self.index.similarities(embedding, rows), starts[:-1], self.lengths[numbers])

    def _rows(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The passages of documents, end to end, and where those of each begin and the last ones end."""
        firsts = self.first_passage[numbers]
        lengths = self.first_passage[numbers + 1] - firsts
        starts = np.zeros(len(numbers) + 1, np.int64)
        np.cumsum(lengths, out=starts[1:])
        return np.arange(starts[-1]) + np.repeat(firsts - starts[:-1], lengths), starts

    def cosines(self, prediction: Prediction, numbers: Sequence[int]) -> list[list[float]]:
        """How near the passages of each document are, in their order, to six places."""
        rows, starts = self._rows(np.array(numbers, np.int64))
        scan = self.scan(prediction)
        found = scan.cosines[prediction.row, rows] if scan else self.index.similarities(prediction.embedding, rows)
        flat = found.astype(np.float64).round(6).tolist()
        return [flat[at:end] for at, end in pairwise(starts.tolist())]


Nearest = tuple[NDArray[np.int64], Vector]


def scores_of(cosines: Matrix, starts: NDArray[np.int64], lengths: Vector) -> Matrix:
    """[..., documents] of the cosines [..., passages], where each document's passages begin at `starts`."""
    means = np.add.reduceat(cosines, starts, axis=-1) / lengths
    return np.asarray((np.maximum.reduceat(cosines, starts, axis=-1) + means) / 2, np.float32)


def _page(document: Document) -> int:
    """A hash of where it is from; one that is from nowhere is alone."""
    name = f"uri\0{document.uri}" if document.uri else f"id\0{document.id}"
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest(), "little")
