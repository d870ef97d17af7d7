"""Documents of one page: those that have the same address. What one of them says tells what all of them are about."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from gateway.types import Vector

Numbers = NDArray[np.int64]
Common = tuple[Numbers, Numbers]
"""Pages of one segment and the same ones of another."""


class Pages:
    """Of the documents of one segment, by hashes of their addresses [documents]."""

    def __init__(self, hashes: NDArray[np.uint64]) -> None:
        self._known, page = np.unique(hashes, return_inverse=True)
        self._page = page.astype(np.int32)
        self._is_alone = len(self._known) == len(hashes)
        # Of documents that are in the order of their pages the highest value of each is one pass.
        self._order = np.argsort(page, kind="stable").astype(np.int32)
        self._starts = np.searchsorted(page[self._order], np.arange(len(self._known)))
        self._common: WeakKeyDictionary[Pages, Common] = WeakKeyDictionary()

    def joined(self, other: Pages) -> Pages:
        """Of this one's documents, and then those of the other one."""
        return Pages(np.concatenate([self._known[self._page], other._known[other._page]]))

    def common(self, other: Pages) -> Common:
        """Looked for once: neither changes."""
        found = self._common.get(other)
        if found is None:
            found = self._common[other] = (
                self._found(other) if len(self._known) <= len(other._known) else other.common(self)[::-1]
            )
        return found

    def _found(self, larger: Pages) -> Common:
        at = np.minimum(np.searchsorted(larger._known, self._known), len(larger._known) - 1)
        here = np.flatnonzero(larger._known[at] == self._known)
        return here, at[here]

    def best(self, values: Vector) -> Vector:
        """[pages]: of the documents' values [documents] the highest of each page."""
        ordered = values[self._order]
        return ordered if self._is_alone else np.asarray(np.maximum.reduceat(ordered, self._starts), np.float32)

    def spread(self, best: Vector) -> Vector:
        """[documents]: that of the document's page."""
        return best[self._page]

    @property
    def is_alone(self) -> bool:
        """Whether each document has a page to itself."""
        return self._is_alone


def shared(pages: Sequence[Pages], values: Sequence[Vector]) -> list[Vector]:
    """[documents] of each segment: the highest value of any document of the same page, in whichever segment."""
    pairs = [(one, other, *pages[one].common(pages[other])) for one, other in combinations(range(len(pages)), 2)]
    pairs = [pair for pair in pairs if len(pair[2])]
    touched = {at for pair in pairs for at in pair[:2]}
    bests = {
        at: one.best(some)
        for at, (one, some) in enumerate(zip(pages, values, strict=True))
        if at in touched or not one.is_alone
    }
    for one, other, here, there in pairs:  # in this order the last one has heard of all before any hears of it
        bests[one][here] = bests[other][there] = np.maximum(bests[one][here], bests[other][there])
    return [
        each.spread(bests[at]) if at in bests else some
        for at, (each, some) in enumerate(zip(pages, values, strict=True))
    ]
