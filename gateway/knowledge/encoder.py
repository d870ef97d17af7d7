"""What embeds documents, and what is kept of a document that it has embedded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gateway.errors import InferenceFailed, InvalidQuestion
from gateway.knowledge.changes import Stored
from gateway.knowledge.documents import passages
from gateway.knowledge.lexical import Words, analyzer
from gateway.knowledge.segment import Embed, Entry, spans_of
from gateway.types import Document, Matrix, Passage

EmbedSoon = Callable[[Sequence[str]], Awaitable[Matrix]]
"""Unit embeddings [texts, dim] of texts, made beside questions."""
UNIT_TOLERANCE = 1e-3
LONG = 20_000
"""Characters from which documents are divided in a thread."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """What embeds, and the `name` that tells its vectors from those of others. `bundle`: what it is of."""

    name: str
    dim: int
    embed: Embed
    """Here and now, before questions are taken."""
    embed_soon: EmbedSoon
    bundle: str = ""


async def embedded(documents: Sequence[Document], encoder: Encoder, language: str) -> list[Entry]:
    """Beside questions. Raises InvalidQuestion for a document without a word, InferenceFailed where the encoder makes
    nonsense, and what it raises."""
    is_long = sum(len(one.text) for one in documents) > LONG
    # A batch of long texts takes tens of milliseconds to divide, and questions come meanwhile.
    read = await asyncio.to_thread(_read, documents, language) if is_long else _read(documents, language)
    for at, (divided, _) in enumerate(read):
        if not divided:
            raise InvalidQuestion(f"documents[{at}]", "has no text")
    texts = [passage.plain for divided, _ in read for passage in divided]
    titles = len(texts)
    texts += [one.title for one in documents]
    vectors = await encoder.embed_soon(texts) if texts else np.empty((0, encoder.dim), np.float32)
    if not are_sound(vectors, len(texts), encoder.dim):  # before it is on disk
        raise InferenceFailed("the encoder's vectors are not of unit length")
    found, start = [], 0
    for at, (document, (divided, words)) in enumerate(zip(documents, read, strict=True)):
        end = start + len(divided)
        found.append(Entry(document, 0, spans_of(divided), vectors[start:end], vectors[titles + at], words))
        start = end
    return found


def _read(documents: Sequence[Document], language: str) -> list[tuple[list[Passage], Words]]:
    """How each is divided, and what it says. In any thread."""
    words = analyzer(language)
    return [(passages(one), words.document(one)) for one in documents]


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
