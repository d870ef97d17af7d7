"""Search by meaning and by words at once, in one generation and under one mask of rights.

Each leg gives its best documents; then both legs score all of them, so that no document is worse off for having been
found by one alone. The score is a sum, `cosine + LEXICAL_SHARE * coverage`: both are on scales that do not depend on
what else was found, so it says the same for a question with one good document and for one with fifty.

Words count for all documents of a page, if the caller may read those that say them: which page a question is about is
often said in one document of it, and answered in another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.knowledge import lexical
from gateway.knowledge.generation import Generation, Part
from gateway.knowledge.lexical import Hashes
from gateway.knowledge.pages import shared
from gateway.knowledge.segment import Mask
from gateway.types import Prediction, Principal, Ranker, Vector

DENSE_LEG, LEXICAL_LEG = 20, 100
"""Documents that each leg puts forward at least. Fewer of those found by meaning: to walk a graph to ten passages of
each is what costs most."""
EACH = 5
"""Passages that are looked at for each of the first."""
LEXICAL_SHARE = 1.0
"""On 150 questions about MedQuAD: see the README."""

Numbers = NDArray[np.int64]
One = tuple[Part, int, float, float]
"""A document with its score and with how near it is (cosine)."""
Ranked = list[One]
"""Best first."""


def search(
    generation: Generation,
    prediction: Prediction,
    terms: Hashes,
    principal: Principal,
    limit: int,
    now: float,
    ranker: Ranker = Ranker.HYBRID,
) -> Ranked:
    """The `limit` best documents that the principal may read. `terms`: what the question says, by the analyzer of the
    collection."""
    allowed = [part.allowed(principal, now) for part in generation.parts]
    coverage: Sequence[Vector | None] = [None] * len(generation.parts)
    if ranker is not Ranker.DENSE:
        coverage = _coverage(generation.parts, terms, allowed, ranker)
    least = _least([one for one in coverage if one is not None], max(limit, LEXICAL_LEG))
    found: Ranked = []
    for part, may, said in zip(generation.parts, allowed, coverage, strict=True):
        legs = []
        if ranker is not Ranker.LEXICAL:
            most = max(limit, DENSE_LEG)
            numbers, scores = part.segment.nearest(prediction, may, most, each=EACH)
            legs.append(numbers[_best(scores, EACH * most)])  # titles count too, and have not been looked at yet
        if said is not None:
            legs.append(_above(part, said, may, least))
        numbers = np.unique(np.concatenate(legs))
        if len(numbers):
            found += _scored(part, prediction, numbers, said, limit, ranker)
    # By id where scores are the same: the order must not depend on where documents lie.
    return sorted(found, key=lambda one: (-one[2], one[0].segment.documents[one[1]].id))[:limit]


def _scored(
    part: Part, prediction: Prediction, numbers: Numbers, coverage: Vector | None, limit: int, ranker: Ranker
) -> Ranked:
    near = dense(part, prediction, numbers)
    said = np.zeros(len(numbers), np.float32) if coverage is None else coverage[numbers]
    scores = {Ranker.DENSE: near, Ranker.LEXICAL: said}.get(ranker, near + np.float32(LEXICAL_SHARE) * said)
    best = np.argsort(-scores, kind="stable")[:limit]
    each = zip(numbers[best].tolist(), scores[best].tolist(), near[best].tolist(), strict=True)
    return [(part, *one) for one in each]


def dense(part: Part, prediction: Prediction, numbers: Numbers) -> Vector:
    """How near documents are: the mean of what their passages and their titles are. A title alone is what a question is
    most like, where it is one, and tells the documents of one page apart."""
    titles = part.segment.titles[numbers] @ prediction.embedding
    return np.asarray((part.segment.scores(prediction, numbers) + titles) / 2, np.float32)


def _coverage(parts: Sequence[Part], terms: Hashes, allowed: Sequence[Mask | None], ranker: Ranker) -> list[Vector]:
    """[documents] for each part: 0 where they are not allowed, else the best of their page's."""
    found = lexical.coverage([part.segment.words for part in parts], terms)
    covered = [
        one if mask is None else np.where(mask, one, np.float32(0)) for one, mask in zip(found, allowed, strict=True)
    ]
    return covered if ranker is Ranker.LEXICAL else shared([part.segment.pages for part in parts], covered)


def _least(coverage: Sequence[Vector], most: int) -> float:
    """What a document must have to be among the first of all parts."""
    values = np.concatenate([one[one > 0] for one in coverage]) if coverage else np.empty(0, np.float32)
    return float(-np.partition(-values, most)[most]) if len(values) > most else 0.0


def _above(part: Part, coverage: Vector, allowed: Mask | None, least: float) -> Numbers:
    """Documents that may be found by what they say, and have a passage to show."""
    numbers = np.flatnonzero(coverage > least)
    kept = part.segment.lengths[numbers] > 0
    return numbers[kept if allowed is None else np.logical_and(kept, allowed[numbers])]


def _best(scores: Vector, most: int) -> Numbers:
    if len(scores) <= most:
        return np.arange(len(scores))
    return np.argpartition(-scores, most)[:most]
