"""From texts to the rows of a pass: token ids, positions and question numbers, packed side by side or kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
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
            self._tokenizer = _tokenizer(path.read_bytes(), max_tokens)
        except Exception as error:  # the library raises bare Exception
            raise BundleInvalid(f"{path}: not a tokenizer: {error}") from error

    def encode(self, text: str) -> Tokens:
        """Token ids with the special ones, cut at the model's length."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[Tokens]:
        # Fast: without where each token is in the text.
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]


@lru_cache(2)
def _tokenizer(content: bytes, max_tokens: int) -> Tokenizer:
    """Kept: it is built with the interpreter held, for tens of milliseconds, and the bundle that takes another's place
    mostly has the same."""
    made = Tokenizer.from_buffer(content)
    made.no_padding()
    made.enable_truncation(max_tokens)
    return made


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
    row, filled, width = 0, 0, 0
    places = []  # (row, column) of each question's first token
    for tokens in questions:
        if row_tokens and filled and filled + len(tokens) > row_tokens:
            row, filled = row + 1, 0
        places.append((row, filled))
        filled += len(tokens)
        width = max(width, filled)
    height = row + 1
    if is_bucketed:
        width = bucket(max(width, NARROWEST if height == 1 else row_tokens))
        height = bucket(height)
    # All at once: a batch for a GPU has hundreds of questions, and one by one they would take longer than their pass.
    lengths = np.array([len(tokens) for tokens in questions])
    owner = np.repeat(np.arange(len(questions)), lengths)
    positions = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    at = (np.array(places) @ (width, 1))[owner] + positions
    shape = (height, width)
    packed = Packed(np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.full(shape, FILLER, np.int64))
    packed.ids.flat[at] = np.fromiter(chain.from_iterable(questions), np.int64, len(owner))
    packed.positions.flat[at] = positions
    packed.question.flat[at] = owner
    return packed


def apart(questions: Sequence[Tokens]) -> Packed:
    """One question a row, all rows as long as the longest.

    What a question meets in every sum of a pass is then the same as if it were alone, but for zeros at its end: so is
    what rounding to 8 bits makes of it.
    """
    width = max(map(len, questions))
    ids = np.zeros((len(questions), width), np.int64)
    question = np.full_like(ids, FILLER)
    for number, tokens in enumerate(questions):
        ids[number, : len(tokens)] = tokens
        question[number, : len(tokens)] = number
    return Packed(ids, np.broadcast_to(np.arange(width), ids.shape), question)


def bucket(count: int) -> int:
    """The least of 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, ... that is not below `count`: at most half is filled up."""
    power = 1 << (count - 1).bit_length()
    smaller = power * 3 // 4
    return smaller if power >= 4 and count <= smaller else power
