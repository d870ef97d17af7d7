"""Generations: what changes in one is as if the collection had been built anew, whatever it was before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.knowledge import generation as generations
from gateway.knowledge.generation import Generation, Part
from gateway.knowledge.library import Library
from gateway.knowledge.merges import due
from gateway.knowledge.segment import Segment, entries
from gateway.types import Document, Matrix, Prediction, Principal

WORDS = ("card", "fee", "pin", "loan", "post", "limit", "app", "tax")
STAFF, NOBODY = Principal("acme", frozenset({"staff"})), Principal("acme")


def embed(texts: Sequence[str]) -> Matrix:
    counts = np.array([[text.lower().count(word) for word in WORDS] + [0.1] for text in texts], np.float32)
    return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True), np.float32)


def document(name: str, text: str, is_secret: bool = False) -> Document:
    return Document(name, name, "", "", f"{text}.", f"{text}.\n\nMore.\n", frozenset({"staff"} if is_secret else ()))


def query(text: str) -> Prediction:
    return Prediction.alone(np.zeros(1, np.float32), embed([text])[0])


def ranked(generation: Generation, text: str, principal: Principal = STAFF) -> dict[str, float]:
    return dict(Library({"x": generation}).rank("x", query(text), principal, 99).documents)


names = st.sampled_from("abcdefgh")
changes = st.lists(
    st.tuples(
        st.lists(st.tuples(names, st.sampled_from(WORDS), st.booleans()), max_size=3, unique_by=lambda one: one[0]),
        st.sets(names, max_size=2),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)
@given(changes, st.integers(1, 6))
def test_changes_and_merges_are_as_if_built_anew(
    steps: list[tuple[list[tuple[str, str, bool]], set[str], bool]], rows: int
) -> None:
    """Against a plain dictionary, with segments so small that there are many, and merges in between."""
    oracle: dict[str, Document] = {}
    now = Generation(0, ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generations, "OPEN_ROWS", rows)
        for version, (put, gone, merges) in enumerate(steps, 1):
            before = now.parts
            documents = [document(*one) for one in put]
            now = now.changed(
                version, entries(documents, embed) if documents else [], gone - {one.id for one in documents}
            )
            for one in gone:
                oracle.pop(one, None)
            oracle |= {one.id: one for one in documents}
            if merges and len(before) > 1:  # begun before this change, and done after it
                alive = [entry for part in before for entry in part.entries()]
                now = now.merged(before, Segment.build(alive)) if alive else now
            assert {one.id: one for one in now.documents} == oracle
            assert now.counts() == (len(oracle), 2 * len(oracle))
            assert now.version == version
            for principal in (STAFF, NOBODY):
                visible = [one for one in oracle.values() if not one.groups or principal is STAFF]
                expected = ranked(Generation.build(visible, embed), "card pin", principal) if visible else {}
                assert ranked(now, "card pin", principal) == pytest.approx(expected, abs=1e-6)
            for one in "abcdefgh":
                assert (now.find(one) is not None) is (one in oracle)


def test_a_generation_keeps_what_it_was() -> None:
    first = Generation(0, ()).changed(1, entries([document("a", "card"), document("b", "fee")], embed))
    second = first.changed(2, entries([document("a", "tax")], embed), {"b"})
    assert {one.id: one.answer for one in first.documents} == {"a": "card.", "b": "fee."}
    assert {one.id: one.answer for one in second.documents} == {"a": "tax."}
    assert (first.version, second.version) == (1, 2)


def test_what_is_named_is_ranked_however_far_in_whichever_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations, "OPEN_ROWS", 1)
    monkeypatch.setattr(generations, "MOST_RANKED", 2)
    now = Generation(0, ())
    for at, word in enumerate(("card card", "card", "card fee", "tax")):
        now = now.changed(at + 1, entries([document(f"d{at}", word)], embed))
    assert len(now.parts) == 4
    library = Library({"x": now})
    assert {one for one, _ in library.rank("x", query("card"), STAFF, 1).documents} == {"d0", "d1"}
    assert [one for one, _ in library.rank("x", query("card"), STAFF, 1, ("d3",)).documents][2:] == ["d3"]


def parts(*sizes: int) -> list[Part]:
    """Of documents of two passages."""
    return [
        Part(Segment.build(entries([document(f"p{at}-{one}", "card") for one in range(size)], embed), 8 * size))
        for at, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("sizes", "merged"),
    [
        ((9,), []),
        ((9, 4), []),  # more than twice as large
        ((9, 5), [9, 5]),
        ((40, 2, 2), [2, 2]),
        ((40, 12, 3, 2, 1), [12, 3, 2, 1]),
        ((36, 12, 3, 2, 1), [36, 12, 3, 2, 1]),
    ],
)
def test_the_smallest_parts_are_merged_as_long_as_the_next_is_not_far_larger(
    sizes: tuple[int, ...], merged: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "OPEN_ROWS", 1)
    some = parts(*sizes)
    assert sorted(part.rows for part in due(Generation(1, tuple(some)))) == sorted(2 * one for one in merged)


def test_a_part_that_takes_in_what_is_new_is_not_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    some = parts(4, 4)
    monkeypatch.setattr(generations, "OPEN_ROWS", 9)
    assert due(Generation(1, tuple(some))) == []


def test_a_part_of_which_most_is_gone_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations, "OPEN_ROWS", 1)
    (part,) = parts(9)
    (left,) = [part.without({f"p0-{at}" for at in range(gone)}) for gone in (5,)]
    assert due(Generation(1, (part.without({"p0-0"}),))) == []
    assert due(Generation(1, (left,))) == [left]
    assert Generation(1, (left,)).merged([left], None).parts == ()
