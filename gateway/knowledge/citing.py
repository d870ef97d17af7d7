"""Documents as they are shown: with the passages nearest to the question, quoted from the stored text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from gateway.errors import SearchFailed
from gateway.knowledge.segment import Segment
from gateway.types import Citation, Document, Hit, Prediction

Shown = tuple[int, float, float]
"""A document's number, what a search ranked it by, and how near it is (cosine)."""


def hits(segment: Segment, prediction: Prediction, shown: Sequence[Shown], citations: int) -> list[Hit]:
    """Documents of a segment, each of which has a passage, with their `citations` nearest ones as evidence, at least
    one. All passages are looked at together: for each document alone that takes three times as long."""
    cosines = segment.cosines(prediction, [number for number, *_ in shown])
    return [_hit(segment, one, near, max(citations, 1)) for one, near in zip(shown, cosines, strict=True)]


def hit(segment: Segment, prediction: Prediction, number: int, citations: int) -> Hit | None:
    """One document, as near as its nearest passage; None if it has none."""
    if not segment.lengths[number]:
        return None
    (cosines,) = segment.cosines(prediction, [number])
    return _hit(segment, (number, 0.0, max(cosines)), cosines, max(citations, 1))


def hit_by(
    segment: Segment, number: int, value: Callable[[str], float], citations: int, score: float = 0.0
) -> Hit | None:
    """One document with the passages of the highest `value`, each as near as 0; None if it has none."""
    if not segment.lengths[number]:
        return None
    document, version = segment.documents[number], int(segment.versions[number])
    first, end = segment.first_passage[number : number + 2].tolist()
    spans = segment.spans[first:end].tolist()
    best = sorted(spans, key=lambda span: value(document.text[span[0] : span[1]]), reverse=True)[: max(citations, 1)]
    return Hit(document, 0.0, tuple([cite(document, version, start, stop, 0.0) for start, stop in best]), score)


def _hit(segment: Segment, shown: Shown, cosines: Sequence[float], citations: int) -> Hit:
    number, score, similarity = shown
    document, version, first = segment.documents[number], int(segment.versions[number]), segment.first_passage[number]
    best = sorted(range(len(cosines)), key=cosines.__getitem__, reverse=True)[:citations]
    spans = segment.spans[first : first + len(cosines)].tolist()
    cited = tuple([cite(document, version, spans[at][0], spans[at][1], cosines[at]) for at in best])
    return Hit(document, similarity, cited, score)


def cite(document: Document, version: int, start: int, end: int, similarity: float) -> Citation:
    """A span of the document as evidence.

    Raises SearchFailed if it is not in the stored text: never show what is not there.
    """
    quote = document.text[start:end]
    if not quote or len(quote) != end - start:
        raise SearchFailed(f"{document.id}: characters {start} to {end} lie outside of the document's text")
    return Citation(
        document_id=document.id,
        title=document.title,
        uri=document.uri,
        updated=document.updated,
        start=start,
        end=end,
        quote=quote,
        quote_sha256=hashlib.sha256(quote.encode()).hexdigest(),
        similarity=similarity,
        version=version,
    )
