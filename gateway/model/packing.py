"""From texts to packed rows: token ids, positions and question numbers, side by side without padding between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from gateway.errors import BundleInvalid

FILLER = -1
NARROWEST = 16
"""Tokens of the narrowest bucket."""
Tokens = list[int]


class Tokenization:
    """The bundle's tokenizer. `encode` may be called from several threads."""

    def __init__(self, path: Path, max_tokens: int) -> None:
        """Raises BundleInvalid if the file is no tokenizer."""
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise BundleInvalid(f"{path}: not a tokenizer: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def encode(self, text: str) -> Tokens:
        """Token ids with the special ones, cut at the model's length."""
        ids: Tokens = self._tokenizer.encode(text).ids
        return ids

    def encode_all(self, texts: Sequence[str]) -> list[Tokens]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]


@dataclass(frozen=True, slots=True)
class Packed:
    """int64 [rows, tokens] each; `question` is FILLER where a row has no token. Questions count from 0 in order."""

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    question: NDArray[np.int64]

    def inputs(self) -> dict[str, NDArray[np.int64]]:
        return {"ids": self.ids, "positions": self.positions, "question": self.question}


def pack(questions: Sequence[Tokens], row_tokens: int = 0, is_bucketed: bool = False) -> Packed:
    """Questions side by side, in rows of at most `row_tokens`, or in one row if that is 0.

    One row is best on a CPU, where the attention between 4 to 8 short questions costs less than another row. A GPU
    wants many rows, so that the square mask of each stays small. `is_bucketed`: filled up so that both sides are a
    `bucket`, and several rows are always as wide as `row_tokens`; then few shapes come again and again.
    """
    rows: list[list[int]] = [[]]
    filled = 0
    for number, tokens in enumerate(questions):
        if row_tokens and filled and filled + len(tokens) > row_tokens:
            rows.append([])
            filled = 0
        rows[-1].append(number)
        filled += len(tokens)
    height, width = len(rows), max(sum(len(questions[number]) for number in row) for row in rows)
    if is_bucketed:
        width = bucket(max(width, NARROWEST if height == 1 else row_tokens))
        height = bucket(height)
    ids = np.zeros((height, width), np.int64)
    positions = np.zeros_like(ids)
    question = np.full_like(ids, FILLER)
    for at, row in enumerate(rows):
        start = 0
        for number in row:
            stop = start + len(questions[number])
            ids[at, start:stop] = questions[number]
            positions[at, start:stop] = np.arange(stop - start)
            question[at, start:stop] = number
            start = stop
    return Packed(ids, positions, question)


def bucket(count: int) -> int:
    """The least of 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, ... that is not below `count`: at most half is filled up."""
    power = 1 << (count - 1).bit_length()
    smaller = power * 3 // 4
    return smaller if power >= 4 and count <= smaller else power
