"""Search by meaning and by words at once, in one generation and under one mask of rights.

Each leg gives its best documents; then both legs score all of them, so that no document is worse off for having been
found by one alone. The score is a sum, `cosine + LEXICAL_SHARE * coverage`: both are on scales that do not depend on
what else was found, so it says the same for a question with one good document and for one with fifty.

Words count for all documents of a page, if the caller may read those that say them: which page a question is about is
often said in one document of it, and answered in another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.knowledge import lexical
from gateway.knowledge.generation import Generation, Part
from gateway.knowledge.lexical import Hashes
from gateway.knowledge.pages import shared
from gateway.knowledge.segment import Mask
from gateway.types import Prediction, Principal, Ranker, Vector

LEXICAL_SHARE = 1.0
"""`gateway loadtest fusion` prints what others find."""

Numbers = NDArray[np.int64]
NOBODY: Numbers = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Breadth:
    """Documents that each leg puts forward at least, and `each`, the passages that are looked at for each of those
    found by meaning. Few of these: to walk a graph to ten passages of each is what costs most, and more documents that
    say the words find more."""

    dense: int = 20
    each: int = 3
    lexical: int = 200


SERVED = Breadth()
"""`gateway loadtest medquad` prints what more would find."""
One = tuple[Part, int, float, float]
"""A document with its score and with how near it is (cosine)."""
Ranked = list[One]
"""Best first."""


def search(
    generation: Generation,
    prediction: Prediction | None,
    terms: Hashes,
    principal: Principal,
    limit: int,
    now: float,
    ranker: Ranker = Ranker.HYBRID,
    breadth: Breadth = SERVED,
) -> Ranked:
    """The `limit` best documents that the principal may read. `terms`: what the question says, by the analyzer of the
    collection. `prediction` None: of no known meaning, for LEXICAL alone; all are then equally near, which is 0."""
    allowed = [part.allowed(principal, now) for part in generation.parts]
    coverage: Sequence[Vector | None] = [None] * len(generation.parts)
    saying: Sequence[Numbers] = [NOBODY] * len(generation.parts)
    if ranker is not Ranker.DENSE:
        covered = coverage = _coverage(generation.parts, terms, allowed, ranker)
        saying = _saying(generation.parts, covered, allowed, max(limit, breadth.lexical))
    most = 0 if ranker is Ranker.LEXICAL else max(limit, breadth.dense)
    wanted = None if prediction is None else _Wanted(prediction, most, breadth.each, limit)
    found: Ranked = []
    for part, may, said, numbers in zip(generation.parts, allowed, coverage, saying, strict=True):
        if wanted is None:
            near = np.zeros(len(numbers), np.float32)
        else:
            numbers, near = _near(part, wanted, may, numbers, said)
        if len(numbers):
            found += _ranked(part, numbers, near, said, limit, ranker)
    # By id where scores are the same: the order must not depend on where documents lie.
    return sorted(found, key=lambda one: (-one[2], one[0].segment.documents[one[1]].id))[:limit]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Of each part: the `most` documents that are nearest, of each of them `each` passages, and the `limit` best."""

    prediction: Prediction
    most: int
    each: int
    limit: int


def _near(
    part: Part, wanted: _Wanted, allowed: Mask | None, saying: Numbers, coverage: Vector | None
) -> tuple[Numbers, Vector]:
    """Documents with how near they are: at least the nearest ones, and of those that say what was asked all that can be
    among the best."""
    prediction, most = wanted.prediction, wanted.most
    if not most:
        return saying, dense(part, prediction, saying)
    if (everything := part.segment.everything(prediction, allowed)) is not None:
        numbers, scores = everything
        return numbers, _with_titles(part, prediction, numbers, scores)
    numbers, scores, beyond = part.segment.walked(prediction, allowed, most, wanted.each)
    best = _best(scores, wanted.each * most)  # titles count too, and have not been looked at yet
    numbers, scores = numbers[best], scores[best]
    near = _with_titles(part, prediction, numbers, scores)
    if coverage is None:
        return numbers, near
    is_other = np.ones(len(part.segment.documents), bool)
    is_other[numbers] = False
    others = saying[is_other[saying]]
    titles = part.segment.titles[others] @ prediction.embedding
    # As near as they can be, for no passage that the walk has not come to is nearer than its last one: to look at the
    # passages of all of them takes as long as the walk, and few get so far.
    most_near = (titles + np.float32(max(beyond, float(scores.min(initial=1.0))))) / np.float32(2)
    could = _together(most_near, coverage[others]) >= _last(_together(near, coverage[numbers]), wanted.limit)
    others, titles = others[could], titles[could]
    more = (part.segment.scores(prediction, others) + titles) / np.float32(2)
    return np.concatenate([numbers, others]), np.concatenate([near, more])


def _ranked(part: Part, numbers: Numbers, near: Vector, coverage: Vector | None, limit: int, ranker: Ranker) -> Ranked:
    said = np.zeros(len(numbers), np.float32) if coverage is None else coverage[numbers]
    scores = said if ranker is Ranker.LEXICAL else _together(near, said)
    best = np.flatnonzero(scores >= _last(scores, limit))  # all that are as good as the last: ids are what decides
    each = zip(numbers[best].tolist(), scores[best].tolist(), near[best].tolist(), strict=True)
    return [(part, *one) for one in each]


def _together(near: Vector, said: Vector) -> Vector:
    return near + np.float32(LEXICAL_SHARE) * said


def dense(part: Part, prediction: Prediction, numbers: Numbers) -> Vector:
    """How near documents are: the mean of what their passages and their titles are. A title alone is what a question is
    most like, where it is one, and tells the documents of one page apart."""
    return _with_titles(part, prediction, numbers, part.segment.scores(prediction, numbers))


def _with_titles(part: Part, prediction: Prediction, numbers: Numbers, scores: Vector) -> Vector:
    titles = part.segment.titles
    is_most = 2 * len(numbers) > len(titles)  # then to gather them takes longer than to look at all
    cosines = (titles @ prediction.embedding)[numbers] if is_most else titles[numbers] @ prediction.embedding
    return np.asarray((scores + cosines) / 2, np.float32)


def _coverage(parts: Sequence[Part], terms: Hashes, allowed: Sequence[Mask | None], ranker: Ranker) -> list[Vector]:
    """[documents] for each part: 0 where they are not allowed, else the best of their page's."""
    covered = lexical.coverage([part.segment.words for part in parts], terms, allowed)
    return covered if ranker is Ranker.LEXICAL else shared([part.segment.pages for part in parts], covered)


def _saying(
    parts: Sequence[Part], coverage: Sequence[Vector], allowed: Sequence[Mask | None], most: int
) -> list[Numbers]:
    """Of each part those documents that are among the `most` of all by what they say, and have a passage to show."""
    numbers = [np.flatnonzero(one) for one in coverage]
    values = [one[its] for one, its in zip(coverage, numbers, strict=True)]
    if sum(map(len, values)) > most:
        least = -np.partition(-np.concatenate(values), most)[most]
        numbers = [its[one > least] for one, its in zip(values, numbers, strict=True)]
    found = []
    for part, its, mask in zip(parts, numbers, allowed, strict=True):
        kept = part.segment.lengths[its] > 0
        found.append(its[kept if mask is None else np.logical_and(kept, mask[its])])
    return found


def _last(scores: Vector, limit: int) -> float:
    """Of the `limit` best ones the least; where there are fewer, any is enough."""
    return float(np.partition(scores, -limit)[-limit]) if len(scores) >= limit else -np.inf


def _best(scores: Vector, most: int) -> Numbers:
    if len(scores) <= most:
        return np.arange(len(scores))
    return np.argpartition(-scores, most)[:most]
