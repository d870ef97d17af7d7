"""Words: what is scored, against BM25 written out; what an index says does not depend on how it lies."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigInvalid
from gateway.knowledge.lexical import RARITY_POWER, SAMPLED, LexicalIndex, Words, analyzer, coverage
from gateway.types import Document

WORDS = ("card", "fee", "pin", "loan", "post", "limit", "app", "tax")
texts = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12), min_size=1, max_size=12)


def document(text: str, title: str = "") -> Document:
    return Document("x", title, "", "", "", text)


def words(*said: str) -> Words:
    return analyzer("none").document(document(" ".join(said)))


def bm25(collection: list[list[str]], asked: set[str], power: float = 1.0) -> list[float]:
    """As Robertson and Zaragoza have it, k1 1.2, b .75, over what it would be without end; by plain loops. `power`: of
    what they raise to none."""
    mean = sum(map(len, collection)) / len(collection)
    has = {one: sum(one in each for each in collection) for one in asked}
    rarity = {one: math.log(1 + (len(collection) - often + 0.5) / (often + 0.5)) ** power for one, often in has.items()}
    there = [one for one in asked if has[one]]
    telling = [one for one in there if has[one] <= 0.2 * len(collection)] or there
    scores = []
    for each in collection:
        often, long = Counter(each), 1.2 * (0.25 + 0.75 * len(each) / mean)
        scores.append(sum(rarity[one] * 2.2 * often[one] / (often[one] + long) for one in telling))
    return [one / (2.2 * sum(rarity.values())) for one in scores]


@given(
    texts, st.sets(st.sampled_from([*WORDS, "nowhere"]), min_size=1), st.integers(0, 12), st.sampled_from([1.0, 2.0])
)
def test_coverage_is_bm25_however_the_documents_lie(
    collection: list[list[str]], asked: set[str], cut: int, power: float
) -> None:
    terms = analyzer("none").question(" ".join(sorted(asked)))
    said = [words(*each) for each in collection]
    expected = pytest.approx(bm25(collection, asked, power), abs=1e-5)
    (whole,) = coverage([LexicalIndex(said, is_compact=True)], terms, [None], power)
    assert whole.tolist() == expected
    parts = [LexicalIndex(said[:cut], is_compact=True), LexicalIndex(said[cut:], is_compact=False)]
    assert np.concatenate(coverage(parts, terms, [None, None], power)).tolist() == expected


@given(texts, st.sets(st.sampled_from(WORDS), min_size=1), st.sets(st.integers(0, 11)), st.booleans())
def test_what_is_not_allowed_is_as_if_it_were_not_there(
    collection: list[list[str]], asked: set[str], hidden: set[int], is_compact: bool
) -> None:
    terms = analyzer("none").question(" ".join(sorted(asked)))
    allowed = np.array([at not in hidden for at in range(len(collection))])
    (found,) = coverage([LexicalIndex([words(*each) for each in collection], is_compact)], terms, [allowed])
    left = [each for each, may in zip(collection, allowed, strict=True) if may]
    expected = iter(bm25(left, asked, RARITY_POWER) if left else [])
    assert found.tolist() == pytest.approx([next(expected) if may else 0.0 for may in allowed], abs=1e-5)


def test_the_rare_word_counts_for_more_than_two_common_ones() -> None:
    """By BM25 itself the story around it would win."""
    story, name = words("card", "fee"), words("zebra", "loan")
    others = [words(one, "tax") for one in ("card", "fee") for _ in range(9)] + [words("tax") for _ in range(80)]
    terms = analyzer("none").question("card fee zebra")
    index = LexicalIndex([story, name, *others], is_compact=True)
    (told,), (once,) = (coverage([index], terms, [None], power) for power in (RARITY_POWER, 1.0))
    assert told[1] > told[0]
    assert once[1] < once[0]


@given(texts, st.booleans())
def test_an_index_gives_back_what_was_put_in(collection: list[list[str]], is_compact: bool) -> None:
    said = [words(*each) for each in collection]
    for found, each in zip(LexicalIndex(said, is_compact).words(), said, strict=True):
        assert (found.terms.tolist(), found.counts.tolist()) == (each.terms.tolist(), each.counts.tolist())


def test_words_are_folded_and_stemmed() -> None:
    asked = analyzer("english").question("Gebühren, ALLERGIES: café 22q11.2?")
    said = analyzer("english").document(document("gebuhren... An allergy at the CAFE; 22Q11 2"))
    assert set(asked.tolist()) <= set(said.terms.tolist())


def test_words_around_a_question_are_not_looked_for() -> None:
    english = analyzer("english")
    assert english.question("Could you please tell me about my card?").tolist() == english.question("card").tolist()
    assert len(english.question("What is it?")) == 3  # there is nothing else


def test_a_title_counts_more_often_than_text() -> None:
    said = analyzer("none").document(document("fee card", "card"))
    assert sorted(said.counts.tolist()) == [1, 4]


def test_a_word_is_counted_up_to_255_times() -> None:
    assert words(*["card"] * 1000).counts.tolist() == [255]


def test_an_unknown_language_names_those_that_are_known() -> None:
    with pytest.raises(ConfigInvalid, match=r"klingon.*english"):
        analyzer("klingon")


@pytest.mark.parametrize("every", [2, 3, 4, 5])
def test_a_word_is_found_whatever_rights_alternate(every: int) -> None:
    count = 5 * SAMPLED
    may = np.arange(count) % every == 1
    (found,) = coverage([LexicalIndex([words("card")] * count, is_compact=True)], words("card").terms, [may])
    assert ((found > 0) == may).all()


def test_an_empty_collection_says_nothing() -> None:
    assert coverage([], analyzer("none").question("card fee"), []) == []
