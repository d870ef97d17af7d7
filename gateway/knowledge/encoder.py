"""What embeds documents, and what is kept of a document that it has embedded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gateway.knowledge.changes import Stored
from gateway.knowledge.documents import passages
from gateway.knowledge.lexical import analyzer
from gateway.knowledge.segment import Embed, Entry, spans_of
from gateway.types import Matrix

EmbedSoon = Callable[[Sequence[str]], Awaitable[Matrix]]
"""Unit embeddings [texts, dim] of texts, made beside questions."""
UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Encoder:
    """What embeds, and the `name` that tells its vectors from those of others. `bundle`: what it is of."""

    name: str
    dim: int
    embed: Embed
    """Here and now, before questions are taken."""
    embed_soon: EmbedSoon
    bundle: str = ""


def kept(entry: Entry) -> Matrix:
    """What is stored of an entry's vectors: its passages', then its title's."""
    return np.concatenate([entry.vectors, entry.title[None]])


def entry_of(stored: Stored, vectors: Mapping[int, Matrix], language: str) -> Entry | None:
    """None where its vectors are not there, or are none of the passages that it has today."""
    divided = passages(stored.document)
    found = vectors.get(stored.version)
    if found is None or not are_sound(found, len(divided) + 1, found.shape[-1]):
        return None
    words = analyzer(language).document(stored.document)
    return Entry(stored.document, stored.version, spans_of(divided), found[:-1], found[-1], words)


def are_sound(vectors: Matrix, rows: int, dim: int) -> bool:
    lengths = np.linalg.norm(vectors, axis=-1)
    return vectors.shape == (rows, dim) and bool(np.all(np.abs(lengths - 1) < UNIT_TOLERANCE))  # not for NaN either
