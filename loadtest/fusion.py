"""Ways to make one order of what is found by meaning and by words, beside the served one, on all documents scored.

Every document is scored by both legs, so that ways to fuse differ in nothing but the fusion.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from gateway.knowledge import hybrid, lexical
from gateway.knowledge.generation import Generation
from gateway.knowledge.lexical import LANGUAGE, analyzer
from gateway.knowledge.pages import shared
from gateway.types import Document, Prediction, Principal, Vector

LEG = 100
"""Documents of each leg for fusions that go by a leg's own best ones."""
SIGMAS = 3.0


@dataclass(frozen=True, slots=True)
class Legs:
    """A question against all documents: how near [documents] they are, what they say of it [documents], and that by
    BM25 as it is, without rarity squared."""

    documents: Sequence[Document]
    near: Vector
    said: Vector
    plainly: Vector

    @property
    def served(self) -> Vector:
        return self.near + np.float32(hybrid.LEXICAL_SHARE) * self.said


def legs(whole: Generation, text: str, prediction: Prediction) -> Legs:
    """In a collection without graphs, of which all documents have a passage."""
    terms, now = analyzer(LANGUAGE).question(text), time.time()
    allowed = [part.allowed(Principal(), now) for part in whole.parts]
    kept = [
        np.arange(len(part.segment.documents)) if may is None else np.flatnonzero(may)
        for part, may in zip(whole.parts, allowed, strict=True)
    ]

    def said(power: float) -> Vector:
        covered = lexical.coverage([part.segment.words for part in whole.parts], terms, allowed, power)
        by_page = shared([part.segment.pages for part in whole.parts], covered)
        return np.concatenate([each[its] for each, its in zip(by_page, kept, strict=True)])

    near = [hybrid.dense(part, prediction, its) for part, its in zip(whole.parts, kept, strict=True)]
    documents = [part.segment.documents[at] for part, its in zip(whole.parts, kept, strict=True) for at in its.tolist()]
    return Legs(documents, np.concatenate(near), said(lexical.RARITY_POWER), said(1.0))


Fusion = Callable[[Legs], Vector]


def weighted(share: float) -> Fusion:
    return lambda legs: legs.near + np.float32(share) * legs.said


def reciprocal(k: float) -> Fusion:
    """Reciprocal rank fusion (Cormack, Clarke and Buettcher 2009) of each leg's best; alike ones have the same rank.
    What is nearer comes first where that says nothing."""

    def scores(legs: Legs) -> Vector:
        fused = np.float32(1e-6) * legs.near
        for leg in (legs.near, legs.said):
            ranks = rankdata(-leg, method="min")
            fused = fused + np.where((ranks <= LEG) & (leg > 0), 1 / (k + ranks), 0)
        return np.asarray(fused, np.float32)

    return scores


def by_distribution(legs: Legs) -> Vector:
    """Distribution-based score fusion: of the best of either leg, standard scores within three deviations."""
    best = (rankdata(-legs.near, method="min") <= LEG) | ((rankdata(-legs.said, method="min") <= LEG) & (legs.said > 0))
    fused = np.full(len(best), -np.inf, np.float32)
    fused[best] = sum(_standard(leg[best]) for leg in (legs.near, legs.said))
    return fused


def _standard(values: Vector) -> Vector:
    deviation = float(values.std()) or 1.0
    return np.asarray(np.clip((values - values.mean()) / deviation, -SIGMAS, SIGMAS), np.float32)


def by_range(legs: Legs) -> Vector:
    """Relative scores: each leg's best ones from 0 to 1."""
    return _relative(legs.near) + _relative(legs.said)


def _relative(values: Vector) -> Vector:
    best = np.sort(values)[::-1][:LEG]
    return np.asarray(np.clip((values - best[-1]) / (float(best[0] - best[-1]) or 1.0), 0, None), np.float32)


FUSIONS: Mapping[str, Fusion] = {
    "by meaning alone": lambda legs: legs.near,
    "by words alone": lambda legs: legs.said,
    "words by BM25 as it is": lambda legs: legs.near + legs.plainly,
    **{f"words x {share:g}": weighted(share) for share in (0.5, 0.75, 1.25, 1.5)},
    **{f"reciprocal ranks, k {k}": reciprocal(k) for k in (1, 10, 60)},
    "standard scores": by_distribution,
    "relative scores": by_range,
}


def best(legs: Legs, scores: Vector, most: int) -> list[int]:
    """Numbers of the documents with the best scores that say different things, in order."""
    first: dict[tuple[str, str], int] = {}
    for at in np.argsort(-scores, kind="stable").tolist():
        document = legs.documents[at]
        first.setdefault((document.title, document.text), at)
        if len(first) == most:
            break
    return list(first.values())
