"""Comparing policies: fake documents and outputs whose right answers are plain, and measures that follow from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gateway.forge import policies
from gateway.forge.evaluate import IN_SCOPE, UNSEEN, Case
from gateway.forge.policies import BASELINE, FAR, Taken
from gateway.knowledge.generation import Generation
from gateway.knowledge.library import Library
from gateway.types import Document, Matrix, Policy
from tests.test_cascade import KNOWING

DIM = 2


def embed(texts: object) -> Matrix:
    """Every document lies on the first axis."""
    assert isinstance(texts, list)
    return np.tile(np.array([1, 0], np.float32), (len(texts), 1))


@pytest.fixture(scope="module")
def taken() -> dict[str, Taken]:
    """A sure right answer, a sure wrong one, a doubtful one of an unseen intent, and a text that nothing answers."""
    documents = [Document(name, name, "", "", f"Answer {name}.", f"Text {name}.") for name in ("card", "fees")]
    library = Library({"c": Generation.build(documents, embed)})
    cases = [
        Case("a", IN_SCOPE, "where_is_my_card", "card"),
        Case("b", IN_SCOPE, "what_are_the_fees", "fees"),
        Case("c", UNSEEN, document_id="fees"),
        Case("d", FAR),
    ]
    logits = np.array([[8, 0], [6, 0], [0.1, 0], [0.05, 0]], np.float32)
    embeddings = np.tile(np.array([1, 0], np.float32), (4, 1))
    current = zip(KNOWING.labels, documents, strict=True)
    labels = tuple(replace(label, content_hash=document.content_hash) for label, document in current)
    ways = policies.ways(replace(KNOWING, labels=labels), price=0.0)
    return policies.take(ways, library, "c", cases, (logits, embeddings))


def test_every_policy_and_the_textbook_s_cascade_are_compared(taken: dict[str, Taken]) -> None:
    assert set(taken) == {BASELINE, *(policy.value for policy in Policy)}
    assert all(len(one.right) == 4 for one in taken.values())


def test_a_text_that_nothing_answers_is_right_by_silence_and_never_with_thresholds_open(
    taken: dict[str, Taken],
) -> None:
    alone = taken["model_only"]
    assert (alone.answered[3], alone.right[3], alone.best_right[3]) == (False, True, False)


def test_the_model_alone_answers_what_it_is_sure_of(taken: dict[str, Taken]) -> None:
    alone = taken["model_only"]
    assert alone.answered.tolist() == [True, True, False, False]
    assert alone.right.tolist() == [True, False, False, True]
    assert alone.best_right.tolist() == [True, False, False, False]
    assert not alone.searched.any()
    assert taken["cascade"].searched.all()


def measured(**taken: Taken) -> dict[str, policies.Measured]:
    return policies.measure([IN_SCOPE] * 6 + [UNSEEN] * 4, taken, draws=50, seed=0)


def made(right: list[bool], sure: list[float] | None = None) -> Taken:
    count = len(right)
    return Taken(
        answered=np.ones(count, bool),
        right=np.array(right),
        searched=np.arange(count) % 2 == 0,
        seconds=np.full(count, 0.002),
        sure=np.array(sure or [0.5] * count, np.float32),
        best_right=np.array(right),
    )


def test_a_policy_is_no_better_than_itself_and_better_than_one_that_ranks_worse() -> None:
    right = [True] * 6 + [False] * 4
    told = [0.9, 0.8, 0.85, 0.95, 0.7, 0.75, 0.1, 0.2, 0.3, 0.4]
    found = measured(**{BASELINE: made(right), "better": made(right, told)})
    assert (found[BASELINE].less_augrc.low, found[BASELINE].less_augrc.high) == (0, 0)
    assert found["better"].less_augrc.low > 0
    assert found["better"].more_coverage.low > 0
    assert found["better"].more_gain.value == pytest.approx(0)
    assert found["better"].milliseconds == pytest.approx((2.0, 2.0, 2.0))
    assert found["better"].curve[-1] == pytest.approx((1.0, 0.315 / 0.9))


def test_groups_are_weighed_by_their_shares_whatever_their_sizes() -> None:
    found = measured(**{BASELINE: made([True] * 6 + [False] * 4)})[BASELINE]
    assert found.right.value == pytest.approx(0.585 / 0.9)
    assert found.gain.value == pytest.approx((0.585 - 0.315) / 0.9)
    assert found.searched == pytest.approx(0.5)


def test_by_group_counts_what_is_right_wrong_and_kept_back() -> None:
    one = made([True] * 6 + [False] * 4)
    found = policies.by_group([IN_SCOPE] * 6 + [UNSEEN] * 4, {"x": one})["x"]
    assert found[IN_SCOPE] == {"questions": 6, "right": 1.0, "wrong": 0.0, "abstained": 0.0}
    assert found[UNSEEN]["wrong"] == 1.0
