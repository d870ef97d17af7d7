"""The knowledge tier: collections of documents in memory, searched by embedding, as the caller may see them.

A collection is one immutable generation: replacing it is one assignment, and a search keeps the one that it started
with. Reading rights are checked inside the search, never on its results alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from gateway.errors import SearchFailed, UnknownCollection
from gateway.knowledge.documents import passages
from gateway.knowledge.vectors import EXACT_UP_TO, VectorIndex
from gateway.types import (
    Citation,
    Document,
    Evidence,
    Hit,
    Matrix,
    Pass,
    Passage,
    Prediction,
    Principal,
    Ranking,
    Standing,
    Vector,
)

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Unit embeddings [texts, dim] of texts."""

PASSAGES_PER_DOCUMENT = 10
"""Passages fetched for each document wanted: several of the nearest may be of one document, and a document whose
nearest passage is not among the first may still win by its average."""
MOST_RANKED = 64
"""Documents in a ranking, beside those that were named: enough for everything that listens to one."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One collection at one knowledge version. `owner` [passages] numbers each passage's document.

    `hashes` are the documents' content hashes, kept because the ensemble asks for those of all labels. Each document
    has `lengths` [documents] passages from `first_passage` on; `filled` are the numbers of those that have any.
    """

    version: int
    documents: tuple[Document, ...]
    hashes: tuple[str, ...]
    passages: tuple[Passage, ...]
    owner: NDArray[np.int64]
    first_passage: NDArray[np.int64]
    lengths: NDArray[np.float32]
    filled: NDArray[np.int64]
    by_id: dict[str, int]
    restricted: bool
    index: VectorIndex

    @staticmethod
    def build(
        documents: Iterable[Document], embed: Embed, version: int = 1, exact_up_to: int = EXACT_UP_TO
    ) -> Generation:
        """Divide, embed and index. Raises SearchFailed if the encoder gives anything but unit vectors."""
        documents = tuple(documents)
        divided = [passages(document) for document in documents]
        flat = tuple(passage for some in divided for passage in some)
        counts = [len(some) for some in divided]
        return Generation(
            version=version,
            documents=documents,
            hashes=tuple(document.content_hash for document in documents),
            passages=flat,
            owner=np.repeat(np.arange(len(documents)), counts),
            first_passage=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
            lengths=np.array(counts, np.float32),
            filled=np.flatnonzero(counts),
            by_id={document.id: number for number, document in enumerate(documents)},
            restricted=any(document.groups for document in documents),
            index=VectorIndex(embed([passage.plain for passage in flat]), exact_up_to),
        )

    def readable(self, principal: Principal) -> NDArray[np.bool_] | None:
        """[documents] that the principal may read; None where all may read all."""
        if not self.restricted:
            return None
        return np.fromiter((may_read(one, principal) for one in self.documents), bool, len(self.documents))

    def rows(self, number: int) -> NDArray[np.int64]:
        """The passages of a document."""
        return np.arange(self.first_passage[number], self.first_passage[number + 1])

    def scan(self, prediction: Prediction) -> Scan | None:
        """The question's pass against everything, where the index is a scan anyway."""
        return prediction.forward.shared(self, self._scan) if self.index.is_exact else None

    def _scan(self, forward: Pass) -> Scan:
        cosines = self.index.cosines(forward.embeddings)
        return Scan(cosines, self._scores(cosines, self.first_passage[self.filled], self.lengths[self.filled]))

    def scores(self, embedding: Vector, numbers: NDArray[np.int64]) -> Vector:
        """How near some documents are, each of which must have a passage; see `Library.rank`."""
        if not len(numbers):
            return np.empty(0, np.float32)
        firsts = self.first_passage[numbers]
        lengths = self.first_passage[numbers + 1] - firsts
        starts = np.concatenate([[0], np.cumsum(lengths)])
        rows = np.repeat(firsts - starts[:-1], lengths) + np.arange(starts[-1])
        return self._scores(self.index.similarities(embedding, rows), starts[:-1], self.lengths[numbers])

    @staticmethod
    def _scores(cosines: Matrix, starts: NDArray[np.int64], lengths: Vector) -> Matrix:
        """[..., documents] of the cosines [..., passages], where each document's passages begin at `starts`."""
        means = np.add.reduceat(cosines, starts, axis=-1) / lengths
        return np.asarray((np.maximum.reduceat(cosines, starts, axis=-1) + means) / 2, np.float32)

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


@dataclass(frozen=True, slots=True)
class Scan:
    """A pass against a whole generation: `cosines` [questions, passages], and `scores` [questions, documents] of those
    documents that have a passage."""

    cosines: Matrix
    scores: Matrix


class Library:
    """Collections by name."""

    def __init__(self, collections: dict[str, Generation]) -> None:
        self._collections = dict(collections)

    def names(self) -> tuple[str, ...]:
        return tuple(self._collections)

    def generation(self, collection: str) -> Generation:
        """Raises UnknownCollection."""
        try:
            return self._collections[collection]
        except KeyError:
            raise UnknownCollection(f"no collection {collection!r}; there is {', '.join(self._collections)}") from None

    def replace(self, collection: str, generation: Generation) -> None:
        """Serve this generation from the next search on."""
        self._collections = self._collections | {collection: generation}

    def rank(
        self, collection: str, prediction: Prediction, principal: Principal, least: int, also: Sequence[str] = ()
    ) -> Ranking:
        """The documents nearest to the question that the principal may read, and `also` these, if they may be read.

        A document is as near as the mean of two cosines: its nearest passage's, and the average of all of its
        passages'. The nearest alone is easily a sentence about something else in passing (on questions that trained
        nothing: the right document first for 63.6 % with both, 58.9 % with the nearest, 63.5 % with the average).
        """
        generation = self.generation(collection)
        ranked = self._ranked(generation, prediction, principal, least, also)
        documents = generation.documents
        return Ranking(tuple([(documents[number].id, score) for number, score in ranked]), generation.version)

    def search(
        self, collection: str, prediction: Prediction, principal: Principal, limit: int, citations: int
    ) -> Evidence:
        """The `limit` nearest documents, ranked as `rank` does, each with its `citations` nearest passages."""
        generation = self.generation(collection)
        ranked = self._ranked(generation, prediction, principal, limit)[:limit]
        hits = [generation.hit(prediction, number, citations, score) for number, score in ranked]
        return Evidence(tuple(hit for hit in hits if hit), generation.version)

    def _ranked(
        self,
        generation: Generation,
        prediction: Prediction,
        principal: Principal,
        least: int,
        also: Sequence[str] = (),
    ) -> list[tuple[int, float]]:
        """Numbers of documents with how near they are, nearest first."""
        readable = generation.readable(principal)
        named = [generation.by_id[one] for one in also if one in generation.by_id]
        named = [one for one in named if (readable is None or readable[one]) and generation.lengths[one]]
        if scan := generation.scan(prediction):
            numbers, scores = generation.filled, scan.scores[prediction.row]
            if readable is not None:
                is_kept = readable[numbers]
                numbers, scores = numbers[is_kept], scores[is_kept]
        else:
            nearest = self._nearest(generation, prediction.embedding, readable, least)
            numbers = np.union1d(nearest, named).astype(np.int64)
            scores = generation.scores(prediction.embedding, numbers)
        order = np.argsort(-scores, kind="stable")
        picked = order[: max(least, MOST_RANKED)]
        late = [at for at in np.searchsorted(numbers, named).tolist() if not (picked == at).any()] if named else []
        if late:
            picked = np.concatenate([picked, order[np.isin(order, late)]])
        return list(zip(numbers[picked].tolist(), scores[picked].tolist(), strict=True))

    def _nearest(
        self, generation: Generation, embedding: Vector, readable: NDArray[np.bool_] | None, least: int
    ) -> NDArray[np.int64]:
        """Numbers of the documents of the nearest passages: of more of them where a long document has most."""
        allowed = None if readable is None else readable[generation.owner]
        count = least * PASSAGES_PER_DOCUMENT
        while True:
            rows, _ = generation.index.search(embedding, count, allowed)
            owners = np.unique(generation.owner[rows])
            if len(owners) >= least or len(rows) < count:
                return owners
            count *= 4

    def standing(self, collection: str, document_id: str, known_hash: str, principal: Principal) -> Standing:
        """How a label's document is now; `known_hash` is empty where any text will do."""
        generation = self.generation(collection)
        number = generation.by_id.get(document_id)
        if number is None:
            return Standing.WITHDRAWN
        if not may_read(generation.documents[number], principal):
            return Standing.FORBIDDEN
        return Standing.CHANGED if known_hash and generation.hashes[number] != known_hash else Standing.CURRENT

    def read(
        self, collection: str, document_id: str, prediction: Prediction, principal: Principal, citations: int
    ) -> Hit | None:
        """One document with its passages nearest to the question; None where it is gone, empty or not for them."""
        generation = self.generation(collection)
        number = generation.by_id.get(document_id)
        if number is None or not may_read(generation.documents[number], principal):
            return None
        return generation.hit(prediction, number, citations)


def may_read(document: Document, principal: Principal) -> bool:
    """A document without groups is for everybody; one with groups only for those who are in one of them."""
    return not document.groups or bool(document.groups & principal.groups)


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
