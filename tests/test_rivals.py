"""The model's document against its rivals: who is one, and whose candidate comes first."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cascade.calibration import KNOWLEDGE_FEATURES
from gateway.cascade.rivals import Rivalry, candidates, compare

STOOD_FOR = frozenset({"card", "fees"})
RANKED = (("post", 0.9), ("fees", 0.8), ("card", 0.7), ("loan", 0.4))


def rivalry(own: float = 0.7, *rivals: tuple[str, float]) -> Rivalry:
    return Rivalry("card", own, rivals, rivals[0][1] if rivals else own)


def test_rivals_are_what_no_label_stands_for() -> None:
    found = compare(RANKED, "card", STOOD_FOR)
    assert found == Rivalry("card", 0.7, (("post", 0.9), ("loan", 0.4)), 0.9)


def test_a_document_that_was_not_ranked_has_no_rivals() -> None:
    assert compare(RANKED, "gone", STOOD_FOR) is None
    assert compare((), "card", STOOD_FOR) is None


def test_the_lead_is_over_the_nearest_rival() -> None:
    found = compare(RANKED, "card", STOOD_FOR)
    assert found
    assert len(found.features) == len(KNOWLEDGE_FEATURES)
    assert found.features == pytest.approx((0.7, 0.7 - 0.9))


def test_where_no_rival_was_ranked_it_is_at_most_as_near_as_the_last() -> None:
    found = compare((("card", 0.7), ("fees", 0.3)), "card", STOOD_FOR)
    assert found
    assert (found.rivals, found.bar) == ((), 0.3)
    assert found.features == pytest.approx((0.7, 0.4))


def test_a_document_that_was_ranked_because_it_was_named_tells_nothing_of_rivals() -> None:
    found = compare((("fees", 0.7), ("pin", 0.6), ("card", 0.1)), "card", {"card", "fees", "pin"})
    assert found
    assert (found.rivals, found.bar) == ((), 0.6)


def test_both_sides_share_the_mass_by_what_speaks_for_the_label() -> None:
    first, second = candidates(rivalry(0.7, ("post", 0.9), ("loan", 0.8)), 0.25, 0.8, 10.0)
    assert (first.document_id, second.document_id) == ("post", "card")
    assert first.mass == pytest.approx(0.75 / (1 + math.exp(-1)))
    assert second.mass == pytest.approx(0.25 * 0.8)
    assert (first.similarity, second.similarity) == (0.9, 0.7)


def test_a_question_in_scope_is_the_model_s() -> None:
    first, _ = candidates(rivalry(0.7, ("post", 0.9)), 0.9, 0.8, 10.0)
    assert first.document_id == "card"
    assert first.mass == pytest.approx(0.72)


def test_without_rivals_the_model_s_document_stands_alone() -> None:
    assert [one.document_id for one in candidates(rivalry(), 0.1, 0.5, 10.0)] == ["card"]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(1, 200), st.lists(st.floats(-1, 1), max_size=5))
def test_masses_are_shares_of_one_best_first(
    for_label: float, probability: float, sharpness: float, similarities: list[float]
) -> None:
    rivals = tuple((f"rival {at}", one) for at, one in enumerate(sorted(similarities, reverse=True)))
    masses = [one.mass for one in candidates(rivalry(0.5, *rivals), for_label, probability, sharpness)]
    assert masses == sorted(masses, reverse=True)
    assert sum(masses) <= 1 + 1e-6
    assert np.isfinite(masses).all()
