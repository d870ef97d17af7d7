"""Documents of one page: those that have the same address. What one of them says tells what all of them are about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.types import Vector

SHARED = 100
"""Pages of a segment, those of the highest values, whose values count for documents of other segments too."""


class Pages:
    """Of the documents of one segment, by hashes of their addresses [documents]."""

    def __init__(self, hashes: NDArray[np.uint64]) -> None:
        self._order = np.argsort(hashes, kind="stable").astype(np.int32)
        self._known, self._starts, lengths = np.unique(hashes[self._order], return_index=True, return_counts=True)
        self._page = np.empty(len(hashes), np.int32)
        self._page[self._order] = np.repeat(np.arange(len(self._known)), lengths)

    def best(self, values: Vector) -> Vector:
        """[pages]: of the documents' values [documents] the highest of each page."""
        return np.asarray(np.maximum.reduceat(values[self._order], self._starts), np.float32)

    def spread(self, best: Vector) -> Vector:
        """[documents]: that of the document's page."""
        return best[self._page]

    def top(self, best: Vector) -> tuple[NDArray[np.uint64], Vector]:
        """The SHARED pages of the highest values, and these."""
        some = np.argpartition(-best, SHARED)[:SHARED] if len(best) > SHARED else np.arange(len(best))
        return self._known[some], best[some]

    def raise_to(self, best: Vector, hashes: NDArray[np.uint64], values: Vector) -> None:
        """Pages that are here too, to what they are elsewhere."""
        at = np.minimum(np.searchsorted(self._known, hashes), len(self._known) - 1)
        here = self._known[at] == hashes
        np.maximum.at(best, at[here], values[here])


def shared(pages: Sequence[Pages], values: Sequence[Vector]) -> list[Vector]:
    """[documents] of each segment: the highest value of any document of the same page, in whichever segment."""
    bests = [one.best(some) for one, some in zip(pages, values, strict=True)]
    if len(pages) > 1:
        tops = [one.top(best) for one, best in zip(pages, bests, strict=True)]
        for at, (one, best) in enumerate(zip(pages, bests, strict=True)):
            others = [top for other, top in enumerate(tops) if other != at]
            one.raise_to(best, np.concatenate([top[0] for top in others]), np.concatenate([top[1] for top in others]))
    return [one.spread(best) for one, best in zip(pages, bests, strict=True)]
