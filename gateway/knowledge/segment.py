"""A block of documents that never changes: their passages, embedded and indexed, and who may read which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from gateway.errors import SearchFailed
from gateway.knowledge.documents import passages
from gateway.knowledge.vectors import EXACT_UP_TO, VectorIndex
from gateway.types import Citation, Document, Hit, Matrix, Pass, Passage, Prediction, Principal, Vector

Embed = Callable[[Sequence[str]], Matrix]
"""Unit embeddings [texts, dim] of texts."""
Mask = NDArray[np.bool_]
PASSAGES_PER_DOCUMENT = 10
"""Passages fetched for each document wanted: several of the nearest may be of one document, and a document whose
nearest passage is not among the first may still win by its average."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A document on its way into a segment, with its content hash, its passages and their unit `vectors` [passages,
    dim]."""

    document: Document
    content_hash: str
    passages: tuple[Passage, ...]
    vectors: Matrix

    @classmethod
    def of(cls, document: Document, divided: Sequence[Passage], vectors: Matrix) -> Entry:
        return cls(document, document.content_hash, tuple(divided), vectors)


def entries(documents: Iterable[Document], embed: Embed) -> list[Entry]:
    """The documents divided and embedded, all texts at once."""
    documents = list(documents)
    divided = [tuple(passages(document)) for document in documents]
    vectors = embed([passage.plain for some in divided for passage in some])
    ends = np.cumsum([len(some) for some in divided])
    return [
        Entry.of(document, some, vectors[end - len(some) : end])
        for document, some, end in zip(documents, divided, ends.tolist(), strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Scan:
    """A pass against a whole segment: `cosines` [questions, passages], and `scores` [questions, documents] of those
    documents that have a passage."""

    cosines: Matrix
    scores: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """`owner` [passages] numbers each passage's document. Each document has `lengths` [documents] passages from
    `first_passage` on; `filled` are the numbers of those that have any.

    `hashes` are the documents' content hashes, kept because the ensemble asks for those of all labels. `rights` are the
    different sets of groups, of which each document has the one that `right` [documents] numbers.
    """

    documents: tuple[Document, ...]
    hashes: tuple[str, ...]
    passages: tuple[Passage, ...]
    owner: NDArray[np.int64]
    first_passage: NDArray[np.int64]
    lengths: Vector
    filled: NDArray[np.int64]
    by_id: dict[str, int]
    rights: tuple[frozenset[str], ...]
    right: NDArray[np.int64]
    index: VectorIndex

    @staticmethod
    def build(given: Sequence[Entry], exact_up_to: int = EXACT_UP_TO) -> Segment:
        """Of documents with different ids and at least one passage. Raises SearchFailed for anything but unit
        vectors."""
        counts = [len(one.passages) for one in given]
        rights = list(dict.fromkeys(one.document.groups for one in given))
        return Segment(
            documents=tuple(one.document for one in given),
            hashes=tuple(one.content_hash for one in given),
            passages=tuple(passage for one in given for passage in one.passages),
            owner=np.repeat(np.arange(len(given)), counts),
            first_passage=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
            lengths=np.array(counts, np.float32),
            filled=np.flatnonzero(counts),
            by_id={one.document.id: number for number, one in enumerate(given)},
            rights=tuple(rights),
            right=np.array([rights.index(one.document.groups) for one in given], np.int64),
            index=VectorIndex(np.concatenate([one.vectors for one in given]), exact_up_to),
        )

    def entry(self, number: int) -> Entry:
        """A document as it was put in."""
        first, end = int(self.first_passage[number]), int(self.first_passage[number + 1])
        vectors = self.index.vectors(slice(first, end))
        return Entry(self.documents[number], self.hashes[number], self.passages[first:end], vectors)

    def readable(self, principal: Principal) -> Mask | None:
        """[documents] that the principal may read; None where all may read all."""
        may = [not groups or bool(groups & principal.groups) for groups in self.rights]
        return None if all(may) else np.array(may)[self.right]

    def rows(self, number: int) -> NDArray[np.int64]:
        """The passages of a document."""
        return np.arange(self.first_passage[number], self.first_passage[number + 1])

    def nearest(self, prediction: Prediction, allowed: Mask | None, least: int, named: Sequence[int]) -> Nearest:
        """Documents [n] of those `allowed` with how near they are: at least `least` nearest ones if there are, and
        `named`. All of them where the index is a scan anyway."""
        if scan := self.scan(prediction):
            numbers, scores = self.filled, scan.scores[prediction.row]
            if allowed is not None:
                is_kept = allowed[numbers]
                numbers, scores = numbers[is_kept], scores[is_kept]
            return numbers, scores
        found = self._by_index(prediction.embedding, allowed, least)
        numbers = np.union1d(found, np.array(named, np.int64))
        return numbers, self.scores(prediction.embedding, numbers)

    def scan(self, prediction: Prediction) -> Scan | None:
        """The question's pass against everything, where the index is a scan anyway."""
        return prediction.forward.shared(self, self._scan) if self.index.is_exact else None

    def _scan(self, forward: Pass) -> Scan:
        cosines = self.index.cosines(forward.embeddings)
        return Scan(cosines, _scores(cosines, self.first_passage[self.filled], self.lengths[self.filled]))

    def _by_index(self, embedding: Vector, allowed: Mask | None, least: int) -> NDArray[np.int64]:
        """Numbers of the documents of the nearest passages: of more of them where a long document has most."""
        count = least * PASSAGES_PER_DOCUMENT
        while True:
            rows, _ = self.index.search(embedding, count, allowed, self.owner)
            owners = np.unique(self.owner[rows])
            if len(owners) >= least or len(rows) < count:
                return owners
            count *= 4

    def scores(self, embedding: Vector, numbers: NDArray[np.int64]) -> Vector:
        """How near some documents are, each of which must have a passage; see `Library.rank`."""
        if not len(numbers):
            return np.empty(0, np.float32)
        firsts = self.first_passage[numbers]
        lengths = self.first_passage[numbers + 1] - firsts
        starts = np.concatenate([[0], np.cumsum(lengths)])
        rows = np.repeat(firsts - starts[:-1], lengths) + np.arange(starts[-1])
        return _scores(self.index.similarities(embedding, rows), starts[:-1], self.lengths[numbers])

    def cosines(self, prediction: Prediction, number: int) -> list[float]:
        """How near the passages of a document are, in their order."""
        rows, scan = self.rows(number), self.scan(prediction)
        found = scan.cosines[prediction.row, rows] if scan else self.index.similarities(prediction.embedding, rows)
        return cast(list[float], found.tolist())

    def hit(self, prediction: Prediction, number: int, citations: int, similarity: float | None = None) -> Hit | None:
        """A document with its `citations` nearest passages as evidence; None if it has none.

        `similarity` is the document's; None: its nearest passage's.
        """
        cosines = self.cosines(prediction, number)
        if not cosines:
            return None
        document, first = self.documents[number], int(self.first_passage[number])
        best = sorted(range(len(cosines)), key=cosines.__getitem__, reverse=True)[: max(citations, 1)]
        cited = tuple([cite(document, self.passages[first + at], cosines[at]) for at in best])
        return Hit(document, cosines[best[0]] if similarity is None else similarity, cited)


Nearest = tuple[NDArray[np.int64], Vector]


def _scores(cosines: Matrix, starts: NDArray[np.int64], lengths: Vector) -> Matrix:
    """[..., documents] of the cosines [..., passages], where each document's passages begin at `starts`."""
    means = np.add.reduceat(cosines, starts, axis=-1) / lengths
    return np.asarray((np.maximum.reduceat(cosines, starts, axis=-1) + means) / 2, np.float32)


def cite(document: Document, passage: Passage, similarity: float) -> Citation:
    """The passage as evidence.

    Raises SearchFailed if its span is not in the stored text: never show what is not there.
    """
    quote = document.text[passage.start : passage.end]
    if not quote or len(quote) != passage.end - passage.start:
        raise SearchFailed(f"{document.id}: passage {passage.number} lies outside of the document's text")
    return Citation(
        document_id=document.id,
        title=document.title,
        uri=document.uri,
        updated=document.updated,
        start=passage.start,
        end=passage.end,
        quote=quote,
        quote_sha256=passage.sha256,
        similarity=round(similarity, 6),
    )
