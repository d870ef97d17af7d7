"""The served search beside one that scores every passage: the same where it looks at enough, and less where not."""

from __future__ import annotations

import random

import pytest

from gateway.knowledge import hybrid
from gateway.knowledge.generation import Generation
from gateway.knowledge.hybrid import Breadth
from gateway.types import Document
from loadtest import medquad_fidelity
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


def test_what_few_candidates_miss_is_seen(generation: Generation, monkeypatch: pytest.MonkeyPatch) -> None:
    breadths = {"served": Breadth(dense=1, each=1, lexical=1), "all": Breadth(dense=400, each=2, lexical=400)}
    monkeypatch.setattr(medquad_fidelity, "BREADTHS", breadths)
    monkeypatch.setattr(medquad_fidelity, "SPARE", 0)
    found = measured(generation, TEXTS, [query(text) for text in TEXTS], depth=5)
    assert found["served"]["overlap"] < 1
    assert found["served"]["time"] == 1
    assert (found["all"]["overlap"], found["all"]["first"]) == (1, 1)


def test_the_scan_is_in_the_order_of_the_scores(generation: Generation) -> None:
    whole = scanned(generation)
    assert all(part.segment.index.is_exact for part in whole.parts)
    (part,) = whole.parts
    near = hybrid.dense(part, query("pin"), part.segment.filled)
    assert len(exhaustive(whole, "zebra", query("pin"), 400)) == len(near)
    best = exhaustive(whole, "zebra", query("pin"), 5)  # a word that no document has: by meaning alone
    scores = [float(near[part.segment.by_id[one]]) for one in best]
    assert scores == sorted(near.tolist(), reverse=True)[:5]
