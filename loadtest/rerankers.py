"""Ways to put the best documents of a search into another order, without another model."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence, Set
from typing import Protocol

import numpy as np
import Stemmer

from gateway.knowledge.lexical import LANGUAGE
from gateway.knowledge.stopwords import STOPWORDS
from gateway.types import Document, Matrix, Prediction, Vector

WINDOW = 8
"""Words within which two of a question are near each other in a document."""
_WORD = re.compile(r"[^\W_]+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
LEAST_WORDS = 4
MOST_SENTENCES = 40
"""Of a document."""


class Reranker(Protocol):
    def __call__(self, text: str, prediction: Prediction, documents: Sequence[Document]) -> Vector:
        """[documents]: what is added to their scores."""


def proximity(weight: float) -> Reranker:
    """Of the pairs of words that follow each other in the question the share that lie near each other in a document."""

    def added(text: str, prediction: Prediction, documents: Sequence[Document]) -> Vector:
        pairs = list(itertools.pairwise(_stems(text, STOPWORDS[LANGUAGE])))
        return np.array([weight * _near(pairs, _stems(one.text)) for one in documents], np.float32)

    return added


def _stems(text: str, unsaid: Set[str] = frozenset()) -> list[str]:
    """In their order, but for those of words `unsaid`."""
    words = [word for word in _WORD.findall(text.lower()) if word not in unsaid]
    return list(Stemmer.Stemmer(LANGUAGE).stemWords(words))


def _near(pairs: Sequence[tuple[str, str]], words: Sequence[str]) -> float:
    wanted = set(itertools.chain(*pairs))
    places: dict[str, list[int]] = {}
    for at, word in enumerate(words):
        if word in wanted:
            places.setdefault(word, []).append(at)
    found = sum(
        any(abs(at - other) <= WINDOW for at in places.get(one, ()) for other in places.get(two, ()))
        for one, two in pairs
    )
    return found / max(1, len(pairs))


def sentences(weight: float, embed: Callable[[Sequence[str]], Matrix]) -> Reranker:
    """How near a document's nearest sentence is, embedded when it is asked for."""

    def added(text: str, prediction: Prediction, documents: Sequence[Document]) -> Vector:
        divided = [sentences_of(one.text) or [one.title] for one in documents]
        cosines = embed([each for some in divided for each in some]) @ prediction.embedding
        ends = np.cumsum([len(some) for some in divided])
        return np.array([weight * some.max() for some in np.split(cosines, ends[:-1])], np.float32)

    return added


def sentences_of(text: str) -> list[str]:
    """The first MOST_SENTENCES that have at least LEAST_WORDS."""
    return [one for one in _SENTENCE.split(text) if len(one.split()) >= LEAST_WORDS][:MOST_SENTENCES]
