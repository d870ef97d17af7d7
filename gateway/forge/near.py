"""Texts that are nearly the same: by the share of their letters' runs that they have in common.

Pairs that are worth a look are found by MinHash and banding (Broder 1997; Leskovec, Rajaraman and Ullman 2014, chapter
3), so that a text is compared with few others, and each of those is compared exactly.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

RUN = 4
"""Letters of a run."""
ALIKE = 0.8
"""Of all runs of two texts, the share that both have, from which on they are nearly the same: a letter or a word apart,
but no other way of asking, which is what training wants."""
BANDS, ROWS = 16, 4
"""A pair that is ALIKE has a band in common with 99.98 %, one at 0.4 with 34 %."""
SURE = 0.6
"""Of the least hashes of two texts, the share that both have, below which they are not compared: a pair that is ALIKE
has so many with 99.99 %."""
_FACTORS = np.random.default_rng(1997).integers(1, 1 << 63, (2, BANDS * ROWS, 1), np.uint64) | np.uint64(1)

_NOT_A_WORD = re.compile(r"[\W_]+")
_DIGITS = re.compile(r"\d+")


def plain(text: str) -> str:
    """Letters and digits, in one case, with single spaces; all numbers are one."""
    return _DIGITS.sub("0", _NOT_A_WORD.sub(" ", text.casefold()).strip())


class Texts:
    """Texts without near duplicates, each known by the number that it was added with."""

    def __init__(self) -> None:
        self._runs: list[frozenset[int]] = []
        self._bands: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, text: str) -> int | None:
        """The number of the first that is nearly the same; None, and it is added, where there is none."""
        runs = _runs(text)
        bands = _banded(_least(runs))
        others = sorted({number for band in bands for number in self._bands.get(band, ())})
        for number in others:
            if _alike(runs, self._runs[number]) >= ALIKE:
                return number
        for band in bands:
            self._bands[band].append(len(self._runs))
        self._runs.append(runs)
        return None


def pairs(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The numbers of all pairs that are nearly the same, (lower, higher)."""
    runs = [_runs(text) for text in texts]
    least = np.stack([_least(one) for one in runs]) if runs else np.empty((0, BANDS * ROWS), np.uint64)
    bands: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    for number, one in enumerate(runs):
        own = _banded(least[number])
        others = np.array(sorted({other for band in own for other in bands.get(band, ())}), np.int64)
        for other in others[(least[others] == least[number]).mean(axis=1) >= SURE].tolist():
            if _alike(one, runs[other]) >= ALIKE:
                yield other, number
        for band in own:
            bands[band].append(number)


def _least(runs: frozenset[int]) -> NDArray[np.uint64]:
    """[BANDS x ROWS]: the least hash of any run, by each function: a product by an odd number of 64 bits, of which the
    high half is folded into the low one, and multiplied again, so that no two functions order the runs alike."""
    each: NDArray[np.uint64] = np.fromiter(runs, np.uint64, len(runs)) * _FACTORS[0]
    each ^= each >> np.uint64(32)
    return (each * _FACTORS[1]).min(axis=1)


def _banded(least: NDArray[np.uint64]) -> list[tuple[int, bytes]]:
    return [(number, band.tobytes()) for number, band in enumerate(least.reshape(BANDS, ROWS))]


def _runs(text: str) -> frozenset[int]:
    """Hashes of all runs of RUN letters; the ends count as letters, so that no text is without."""
    padded = f" {plain(text)} ".ljust(RUN)
    return frozenset(zlib.crc32(padded[at : at + RUN].encode()) for at in range(len(padded) - RUN + 1))


def _alike(one: frozenset[int], other: frozenset[int]) -> float:
    """The Jaccard index."""
    return len(one & other) / len(one | other)
