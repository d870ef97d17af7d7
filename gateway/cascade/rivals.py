"""The model's document against its rivals: the documents that no label stands for, so that no logit speaks for them.

What a search found tells on which side of that line a question lies, and the model's word ranks what is on its own
side. Both tiers are surer for having heard the other. Documents that other labels stand for are no rivals: the model
has spoken about them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass

Ranked = Sequence[tuple[str, float]]
"""Documents with their similarities, nearest first."""


@dataclass(frozen=True, slots=True)
class Rivalry:
    """`own` is the similarity of the label's document, `rivals` are those of others, nearest first.

    `bar` is the nearest rival's similarity, or what it can at most be where none was ranked.
    """

    document_id: str
    own: float
    rivals: tuple[tuple[str, float], ...]
    bar: float

    @property
    def features(self) -> tuple[float, float]:
        """KNOWLEDGE_FEATURES."""
        return self.own, self.own - self.bar


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document that could be the answer. `mass` ranks the two of a question; `InformedCalibration.blended` makes a
    probability of it."""

    document_id: str
    mass: float
    similarity: float


def compare(ranked: Ranked, document_id: str, stood_for: Set[str]) -> Rivalry | None:
    """None where the label's document was not ranked: it is gone, or not for this caller."""
    own: float | None = None
    rivals: list[tuple[str, float]] = []
    others: list[float] = []
    for pair in ranked:
        one, similarity = pair
        if one == document_id:
            own = similarity
            continue
        others.append(similarity)
        if one not in stood_for:
            rivals.append(pair)
    if own is None:
        return None
    # The label's own document may have been ranked only because it was named, below others that were not.
    bar = rivals[0][1] if rivals else others[-1] if others else own
    return Rivalry(document_id, own, tuple(rivals), bar)


def candidates(rivalry: Rivalry, for_label: float, probability: float, sharpness: float) -> tuple[Candidate, ...]:
    """The label's document and the nearest rival, the better one first.

    The first has `for_label`, how much speaks for the side of the labels, times its label's probability; the second the
    rest times its part in the softmax of the rivals' similarities.
    """
    own = Candidate(rivalry.document_id, for_label * probability, rivalry.own)
    if not rivalry.rivals:
        return (own,)
    nearest, similarity = rivalry.rivals[0]
    share = 1 / sum([math.exp(sharpness * (one - similarity)) for _, one in rivalry.rivals])
    rival = Candidate(nearest, (1 - for_label) * share, similarity)
    return (own, rival) if own.mass >= rival.mass else (rival, own)
