"""Search by meaning and words at once: against every document scored one by one, whatever the segments and rights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.knowledge import hybrid, lexical
from gateway.knowledge.generation import Generation, Part
from gateway.knowledge.lexical import analyzer
from gateway.knowledge.library import Library
from gateway.knowledge.segment import Segment, entries
from gateway.types import Document, Principal, Ranker
from tests.test_generation import NOBODY, STAFF, embed, query

ENGLISH = analyzer("english")
words = st.sampled_from(("card", "fee", "pin", "loan", "zebra", "yak"))
documents = st.lists(
    st.tuples(st.lists(words, min_size=1, max_size=5), st.sampled_from("uvw"), st.booleans()), min_size=1, max_size=10
)


def document(name: str, text: str, uri: str = "", groups: tuple[str, ...] = ()) -> Document:
    return Document(name, f"On {text.split()[0]}", uri, "", f"{text}.", f"{text}.\n\nMore.\n", frozenset(groups))


def parts_of(some: list[Document], cut: int) -> Generation:
    halves = [half for half in (some[:cut], some[cut:]) if half]
    return Generation(
        1, tuple(Part(Segment.build(entries(half, embed), 0, is_open=bool(at))) for at, half in enumerate(halves))
    )


def found(
    generation: Generation, text: str, principal: Principal = NOBODY, ranker: Ranker = Ranker.HYBRID
) -> list[str]:
    hits = Library({"x": generation}).search("x", text, query(text), principal, 99, 1, ranker).hits
    return [hit.document.id for hit in hits]


@settings(deadline=None)
@given(documents, st.lists(words, min_size=1, max_size=3), st.integers(0, 10), st.sampled_from([NOBODY, STAFF]))
def test_scores_are_those_of_all_documents_that_may_be_read(
    given: list[tuple[list[str], str, bool]], asked: list[str], cut: int, principal: Principal
) -> None:
    """What may not be read counts for nothing: not as a document, and not in how frequent a word is."""
    some = [
        document(f"d{at}", " ".join(said), uri, ("staff",) if is_secret else ())
        for at, (said, uri, is_secret) in enumerate(given)
    ]
    text = " ".join(asked)
    ranked = hybrid.search(parts_of(some, cut), query(text), ENGLISH.question(text), principal, 99, 0.0)
    whole = parts_of(some, 0)
    (part,) = whole.parts
    numbers = np.arange(len(some))
    near = hybrid.dense(part, query(text), numbers)
    may = [one.groups <= principal.groups for one in some]
    (said,) = lexical.coverage([part.segment.words], ENGLISH.question(text), [np.array(may)])
    best = {
        one.uri: max((said[at] for at, other in enumerate(some) if may[at] and other.uri == one.uri), default=0)
        for one in some
    }
    expected = {one.id: near[at] + best[one.uri] for at, one in enumerate(some) if may[at]}
    assert {part.segment.documents[at].id: score for part, at, score, _ in ranked} == pytest.approx(expected, abs=1e-5)
    scores = [score for _, _, score, _ in ranked]
    assert scores == sorted(scores, reverse=True)


def test_words_find_what_meaning_does_not() -> None:
    some = [document(f"d{at}", "something else") for at in range(30)] + [document("code", "Error E4711 again")]
    generation = parts_of(some, 31)
    assert found(generation, "E4711")[0] == "code"
    assert found(generation, "E4711", ranker=Ranker.LEXICAL) == ["code"]


def test_documents_of_a_page_vouch_for_each_other() -> None:
    page = "https://help.example/yak"
    signs = document("signs", "A zebra means yak", page)
    some = [document(f"d{at}", "fee and more") for at in range(30)]
    cure, other = document("cure", "pin it", page), document("other", "pin it", "https://help.example/other")
    assert found(parts_of([*some, other, cure, signs], 31), "pin zebra").index("cure") < 2
    hidden = replace(signs, groups=frozenset({"staff"}))
    generation = parts_of([*some, other, cure, hidden], 31)
    (_, _, score, _), (_, _, same, _) = (
        next(
            one
            for one in hybrid.search(generation, query("pin zebra"), ENGLISH.question("pin zebra"), NOBODY, 99, 0.0)
            if one[0].segment.documents[one[1]].id == name
        )
        for name in ("cure", "other")
    )
    assert score == pytest.approx(same)  # what may not be read says nothing


@pytest.mark.parametrize("ranker", Ranker)
def test_what_may_not_be_read_or_is_not_in_time_is_never_found(ranker: Ranker) -> None:
    secret = document("secret", "zebra", groups=("staff",))
    early, late = replace(document("early", "zebra"), effective=100.0), replace(document("late", "zebra"), expires=50.0)
    library = Library({"x": parts_of([secret, early, late, document("open", "zebra")], 2)}, now=lambda: 75.0)
    hits = library.search("x", "zebra", query("zebra"), NOBODY, 99, 1, ranker).hits
    assert [hit.document.id for hit in hits] == ["open"]
