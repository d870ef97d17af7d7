"""Documents of one page: those that have the same address. What one of them says tells what all of them are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from gateway.types import Vector

Numbers = NDArray[np.int64]
Common = tuple[Numbers, Numbers]
"""Pages of one segment and the same ones of another."""


@dataclass(frozen=True, slots=True)
class _Sorted:
    """`known` are the different hashes [pages], `page` [documents] is each document's. In `order` [documents] those of
    a page are together, from `starts` [pages] on: so the highest value of each is one pass."""

    known: NDArray[np.uint64]
    page: NDArray[np.int32]
    order: NDArray[np.int32]
    starts: Numbers

    @staticmethod
    def of(hashes: NDArray[np.uint64]) -> _Sorted:
        known, page = np.unique(hashes, return_inverse=True)
        order = np.argsort(page, kind="stable").astype(np.int32)
        return _Sorted(known, page.astype(np.int32), order, np.searchsorted(page[order], np.arange(len(known))))


class Pages:
    """Of the documents of one segment, by hashes of their addresses [documents]. Sorted when somebody first asks: a
    segment that takes in what is new is another one with each change."""

    def __init__(self, hashes: NDArray[np.uint64]) -> None:
        self._hashes = hashes
        self._common: WeakKeyDictionary[Pages, Common] = WeakKeyDictionary()

    @cached_property
    def _sorted(self) -> _Sorted:
        return _Sorted.of(self._hashes)

    def joined(self, other: Pages) -> Pages:
        """Of this one's documents, and then those of the other one."""
        return Pages(np.concatenate([self._hashes, other._hashes]))

    def common(self, other: Pages) -> Common:
        """Looked for once: neither changes."""
        found = self._common.get(other)
        if found is None:
            is_smaller = len(self._sorted.known) <= len(other._sorted.known)
            found = self._common[other] = self._found(other) if is_smaller else other.common(self)[::-1]
        return found

    def _found(self, larger: Pages) -> Common:
        known, there = self._sorted.known, larger._sorted.known
        at = np.minimum(np.searchsorted(there, known), len(there) - 1)
        here = np.flatnonzero(there[at] == known)
        return here, at[here]

    def best(self, values: Vector) -> Vector:
        """[pages]: of the documents' values [documents] the highest of each page."""
        ordered = values[self._sorted.order]
        return ordered if self.is_alone else np.asarray(np.maximum.reduceat(ordered, self._sorted.starts), np.float32)

    def spread(self, best: Vector) -> Vector:
        """[documents]: that of the document's page."""
        return best[self._sorted.page]

    @property
    def is_alone(self) -> bool:
        """Whether each document has a page to itself."""
        return len(self._sorted.known) == len(self._hashes)


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
