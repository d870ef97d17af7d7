"""The served search beside one that scores every passage: the same where it looks at enough, and less where not."""

from __future__ import annotations

import random

import pytest

from gateway.knowledge import hybrid
from gateway.knowledge.generation import Generation
from gateway.knowledge.library import Library
from gateway.types import Document
from loadtest.medquad_fidelity import exhaustive, measured, scanned
from tests.test_generation import WORDS, embed, query

TEXTS = ("card fee", "loan tax tax", "pin", "app limit post fee")


@pytest.fixture(scope="module")
def generation() -> Generation:
    """Searched by graph."""
    chance = random.Random(7)
    said = [" ".join(chance.choices(WORDS, k=chance.randint(2, 9))) for _ in range(400)]
    some = [
        Document(f"d{at}", text.split()[0], "", "", text, f"{text}.\n\nMore {at}.\n") for at, text in enumerate(said)
    ]
    return Generation.build(some, embed, exact_up_to=0)


def fidelity(generation: Generation) -> dict[str, float]:
    return measured(Library({"x": generation}), "x", TEXTS, [query(text) for text in TEXTS], depth=5)


def test_all_candidates_are_the_same_as_none_chosen(generation: Generation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hybrid, "LEXICAL_LEG", 400)
    monkeypatch.setattr(hybrid, "DENSE_LEG", 400)
    assert fidelity(generation) == {"overlap": 1.0, "first": 1.0}


def test_what_few_candidates_miss_is_seen(generation: Generation, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scanned(generation)
    before = [exhaustive(whole, text, query(text), 5) for text in TEXTS]
    for name in ("LEXICAL_LEG", "DENSE_LEG", "EACH"):
        monkeypatch.setattr(hybrid, name, 1)
    monkeypatch.setattr("gateway.knowledge.library.SPARE", 0)
    assert fidelity(generation)["overlap"] < 1
    assert [exhaustive(whole, text, query(text), 5) for text in TEXTS] == before  # it does not go by candidates


def test_the_scan_is_in_the_order_of_the_scores(generation: Generation) -> None:
    whole = scanned(generation)
    assert all(part.segment.index.is_exact for part in whole.parts)
    (part,) = whole.parts
    near = hybrid.dense(part, query("pin"), part.segment.filled)
    assert len(exhaustive(whole, "zebra", query("pin"), 400)) == len(near)
    best = exhaustive(whole, "zebra", query("pin"), 5)  # a word that no document has: by meaning alone
    scores = [float(near[part.segment.by_id[one]]) for one in best]
    assert scores == sorted(near.tolist(), reverse=True)[:5]
