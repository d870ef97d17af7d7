"""Words: what documents say literally, scored by BM25. Names, codes and rare words are what an embedding blurs.

Words are folded (case, accents), stemmed, and known by a 32-bit hash, so there is no vocabulary to keep, to share or to
grow: that two words of one collection meet in a hash is less likely than a typing error, and costs as little.
"""

from __future__ import annotations

import functools
import itertools
import re
import threading
import unicodedata
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import Stemmer
from numpy.typing import NDArray

from gateway.errors import ConfigInvalid
from gateway.knowledge.stopwords import STOPWORDS
from gateway.types import Document, Vector

Hashes = NDArray[np.uint32]
Numbers = NDArray[np.int64]

SATURATION, LENGTH_SHARE = 1.2, 0.75
"""k1 and b. On 150 questions of laypeople about MedQuAD, others as they are used found no more."""
TITLE_WEIGHT = 3
"""How often the words of a title count."""
RARITY_POWER = 2.0
"""Of the inverse document frequency. BM25 has it once, two vectors of TF-IDF twice, in the question's and in the
document's: people tell a story around the one rare word that says what they ask about. See the README."""
MOST_FREQUENT = 0.2
"""Words in more than this share of all documents tell nothing where rarer ones are asked for, and cost most."""

LANGUAGE = "english"

WORDS_VERSION = 1
"""Of the way in which texts become terms: kept ones of another one are not used."""
SAMPLED = 512
"""Of the documents that have a word, if only some may be read: of more than twice as many, these are looked at. Where
half of them may be read, that has a standard deviation of 4 %."""
PLACES = (np.arange(SAMPLED) + np.random.default_rng(0).random(SAMPLED)) / SAMPLED
"""Where they lie, as shares of all: one in each of as many equal pieces, so that no rights that alternate hide them."""
MOST_KNOWN = 1 << 16
"""Words of which a language's terms are kept: some 10 MB."""
_WORD = re.compile(r"[^\W_]+")
_ACCENT = re.compile("[\u0300-\u036f]")
LANGUAGES = ("none", *Stemmer.algorithms())


@dataclass(frozen=True, slots=True)
class Words:
    """Of one text: different `terms` in ascending order, and how often each is there, at most 255 times."""

    terms: Hashes
    counts: NDArray[np.uint8]

    @property
    def length(self) -> int:
        return int(self.counts.sum(dtype=np.int64))


class Analyzer:
    """Text to terms, for one language: documents and questions need the same one. "none" stems nothing."""

    def __init__(self, language: str = LANGUAGE) -> None:
        self.language = language
        self._own = threading.local()  # a stemmer for each thread: one is not made for two
        self._known: dict[str, int] = {}
        self._unsaid = frozenset(self._hashed(sorted(STOPWORDS.get(language, ()))))

    def document(self, document: Document) -> Words:
        """What it says, its title TITLE_WEIGHT times."""
        counts = Counter(self._terms(document.text))
        for term in self._terms(document.title):
            counts[term] += TITLE_WEIGHT
        return _words_of(counts)

    def question(self, text: str) -> Hashes:
        """The terms to look for: without words that people put around any question, unless there are no others. A
        collection of articles does not have them, so that they would count as rare ones."""
        terms = set(self._terms(text))
        return np.array(sorted(terms - self._unsaid or terms), np.uint32)

    def _terms(self, text: str) -> list[int]:
        """Of each word, in their order."""
        return self._hashed(
            _WORD.findall(text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).lower())
        )

    def _hashed(self, words: list[str]) -> list[int]:
        """Those of words that were seen lately are kept: most are of a few thousand, and to stem is what takes long."""
        known = self._known
        if new := [word for word in dict.fromkeys(words) if word not in known]:
            if len(known) > MOST_KNOWN:
                known = self._known = {}
                new = list(dict.fromkeys(words))
            known.update(zip(new, map(_hash, self._stems(new)), strict=True))
        return [known[word] for word in words]

    def _stems(self, words: list[str]) -> list[str]:
        if self.language == "none":
            return words
        if not hasattr(self._own, "stemmer"):
            self._own.stemmer = Stemmer.Stemmer(self.language)
        return list(self._own.stemmer.stemWords(words))


def _hash(stem: str) -> int:
    """Stemmers know accents; who types a question often leaves them out."""
    return zlib.crc32((stem if stem.isascii() else _ACCENT.sub("", unicodedata.normalize("NFKD", stem))).encode())


@functools.cache
def analyzer(language: str) -> Analyzer:
    """Raises ConfigInvalid for a language that there is no stemmer for."""
    if language not in LANGUAGES:
        raise ConfigInvalid(f"knowledge.language is {language!r}, and must be one of {', '.join(LANGUAGES)}")
    return Analyzer(language)


def _words_of(counts: Counter[int]) -> Words:
    terms = np.fromiter(counts, np.uint32, len(counts))
    often = np.minimum(np.fromiter(counts.values(), np.int64, len(counts)), 255).astype(np.uint8)
    order = np.argsort(terms, kind="stable")
    return Words(terms[order], often[order])


class Postings(NamedTuple):
    """Documents that have a term, by number, and how often."""

    documents: NDArray[np.int32]
    counts: NDArray[np.uint8]


class LexicalIndex:
    """An inverted index that never changes: which documents have a term, and how often, in the order of terms. Where it
    `is_compact` each term is kept once, else with each of its documents: so it grows by those of another one without
    looking for the terms anew."""

    def __init__(self, words: Sequence[Words], is_compact: bool) -> None:
        sizes = [len(one.terms) for one in words]
        terms = np.concatenate([np.empty(0, np.uint32), *(one.terms for one in words)])
        counts = np.concatenate([np.empty(0, np.uint8), *(one.counts for one in words)])
        order = np.argsort(terms, kind="stable")
        self.lengths = np.array([one.length for one in words], np.float32)
        """[documents]: words in each."""
        self._terms, self._counts = terms[order], counts[order]
        self._documents = np.repeat(np.arange(len(words), dtype=np.int32), sizes)[order]
        self._starts: Numbers | None = None
        self._bounds = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        if is_compact:
            self._terms, starts = np.unique(self._terms, return_index=True)
            self._starts = np.append(starts, len(order))

    @property
    def is_compact(self) -> bool:
        return self._starts is not None

    def joined(self, other: LexicalIndex) -> LexicalIndex:
        """Of this one's documents, and then those of the other one; not compact."""
        terms, added = self._each(), other._each()
        at = np.searchsorted(terms, added, side="right") + np.arange(len(added))
        is_old = np.ones(len(terms) + len(added), bool)
        is_old[at] = False

        def together(old: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
            made = np.empty(len(is_old), old.dtype)
            made[at], made[is_old] = new, old
            return made

        made = LexicalIndex((), is_compact=False)
        made.lengths = np.concatenate([self.lengths, other.lengths])
        made._terms = together(terms, added)
        made._counts = together(self._counts, other._counts)
        made._documents = together(self._documents, other._documents + np.int32(len(self.lengths)))
        made._bounds = np.concatenate([self._bounds[:-1], other._bounds + self._bounds[-1]])
        return made

    def _each(self) -> Hashes:
        """The term of each posting."""
        return self._terms if self._starts is None else np.repeat(self._terms, np.diff(self._starts))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that it consists of, if it is compact; see `kept`."""
        assert self._starts is not None
        return {
            "terms": self._terms,
            "starts": self._starts,
            "documents": self._documents,
            "counts": self._counts,
            "lengths": self.lengths,
            "bounds": self._bounds,
        }

    @classmethod
    def kept(cls, arrays: Mapping[str, NDArray[Any]]) -> LexicalIndex:
        """Of `arrays`."""
        made = cls((), is_compact=False)
        made._terms, made._starts = arrays["terms"], arrays["starts"]
        made._documents, made._counts = arrays["documents"], arrays["counts"]
        made.lengths, made._bounds = arrays["lengths"], arrays["bounds"]
        return made

    def postings(self, terms: Hashes) -> list[Postings]:
        """Of each term."""
        starts = self._terms.searchsorted(terms)
        ends = self._terms.searchsorted(terms, side="right")
        if self._starts is not None:
            starts, ends = self._starts[starts], self._starts[ends]
        documents, counts = self._documents, self._counts
        bounds = zip(starts.tolist(), ends.tolist(), strict=True)
        return [Postings(documents[at:end], counts[at:end]) for at, end in bounds]

    def words(self) -> list[Words]:
        """Of each document, as they were put in."""
        order = np.argsort(self._documents, kind="stable")
        terms, counts = self._each()[order], self._counts[order]
        bounds = self._bounds.tolist()
        return [Words(terms[at:end], counts[at:end]) for at, end in itertools.pairwise(bounds)]


def coverage(
    indexes: Sequence[LexicalIndex],
    terms: Hashes,
    allowed: Sequence[NDArray[np.bool_] | None],
    rarity_power: float = RARITY_POWER,
) -> list[Vector]:
    """A question's terms against several indexes that are one collection: [documents] of each, 0 for those that are not
    `allowed` ([documents] of each, None for all).

    That is the BM25 score, with the rarity of each term raised to `rarity_power`, as a share of what a document can
    have at most, which says all of the terms again and again.
    So it is 0 to 1, whatever the question and the collection. Frequencies and lengths are of the allowed documents in
    all indexes: where a document lies changes nothing, and nothing is told of what may not be read, or is no more.
    """
    total, mean = _sizes(indexes, allowed)
    found = [one.postings(terms) for one in indexes]
    often = np.zeros(len(terms))  # also where a collection is empty
    for its, mask in zip(found, allowed, strict=True):
        often += _frequencies(its, mask)
    rarity = np.log(1 + (total - often + 0.5) / (often + 0.5)) ** rarity_power
    shares = rarity / (float(rarity.sum()) or 1.0)
    counting = [at for at, one in enumerate(often.tolist()) if one]
    telling = [at for at in counting if often[at] <= MOST_FREQUENT * total] or counting
    told = shares[telling].astype(np.float32)
    covered = []
    for index, its, mask in zip(indexes, found, allowed, strict=True):
        scores = _scored(index.lengths, [its[at] for at in telling], told, mean)
        covered.append(scores if mask is None else scores * mask)
    return covered


def _sizes(indexes: Sequence[LexicalIndex], allowed: Sequence[NDArray[np.bool_] | None]) -> tuple[int, float]:
    """How many documents are allowed, and how many words are in each on average, at least 1."""
    total, words = 0, 0.0
    for index, mask in zip(indexes, allowed, strict=True):
        total += len(index.lengths) if mask is None else int(np.count_nonzero(mask))
        words += float(index.lengths.sum() if mask is None else index.lengths @ mask.astype(np.float32))
    return total, max(1.0, words / max(1, total))


def _frequencies(found: Sequence[Postings], allowed: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """[terms]: how many allowed documents have each; of a very frequent term about how many, which tells as much."""
    if allowed is None:
        return np.array([len(one.documents) for one in found], np.float64)
    return np.array([_frequency(one.documents, allowed) for one in found], np.float64)


def _frequency(documents: NDArray[np.int32], allowed: NDArray[np.bool_]) -> float:
    """How many of these are allowed; of many about how many."""
    count = len(documents)
    if count <= 2 * SAMPLED:
        return float(np.count_nonzero(allowed.take(documents)))
    sampled = documents.take((PLACES * count).astype(np.int64))
    return float(np.count_nonzero(allowed.take(sampled))) * count / SAMPLED


def _scored(lengths: Vector, hits: Sequence[Postings], shares: Vector, mean: float) -> Vector:
    """[documents] of `lengths` [documents], for terms that each give so much of the whole (`shares`) at most."""
    if not any(len(one.documents) for one in hits):
        return np.zeros(len(lengths), np.float32)
    documents = np.concatenate([one.documents for one in hits])
    counts = np.concatenate([one.counts for one in hits])
    long = lengths.take(documents) * np.float32(SATURATION * LENGTH_SHARE / mean) + np.float32(
        SATURATION * (1 - LENGTH_SHARE)
    )
    weights = counts / (counts + long) * np.repeat(shares, [len(one.documents) for one in hits])
    return np.bincount(documents, weights, len(lengths)).astype(np.float32)
