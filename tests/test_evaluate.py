"""Measures: each against its definition, worked out the slow way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cascade.measures import auroc, expected_calibration_error
from gateway.forge.evaluate import (
    IN_SCOPE,
    UNSEEN,
    Case,
    cases,
    coverage_at_risk,
    is_right,
)
from gateway.forge.texts import Labelled
from gateway.types import Answer, Policy, Reason, Route

SCORES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1, width=32), min_size=1, max_size=30)


def scores(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(values, np.float32)


@given(SCORES, SCORES)
def test_auroc_is_the_share_of_pairs_in_order_with_ties_as_halves(inside: list[float], outside: list[float]) -> None:
    pairs = [(one > other) + 0.5 * (one == other) for one in inside for other in outside]
    assert auroc(scores(*inside), scores(*outside)) == pytest.approx(sum(pairs) / len(pairs))


@pytest.mark.parametrize(
    ("inside", "outside", "value"),
    [((0.9, 0.8), (0.1, 0.2), 1.0), ((0.1,), (0.9,), 0.0), ((0.5, 0.5), (0.5,), 0.5), ((0.9, 0.3), (0.5,), 0.5)],
)
def test_auroc_of_clear_cases(inside: tuple[float, ...], outside: tuple[float, ...], value: float) -> None:
    assert auroc(scores(*inside), scores(*outside)) == value


@pytest.mark.parametrize(
    ("right", "risk", "coverage"),
    [
        ([True, True, True, True], 0.05, 1.0),
        ([False, True, True, True], 0.05, 0.0),
        ([True, True, False, True], 0.05, 0.5),
        ([True, True, False, True], 0.25, 1.0),
        ([True, False, True, True], 0.3, 1.0),
        ([False, False, False, False], 0.05, 0.0),
    ],
)
def test_coverage_is_the_largest_share_within_the_risk(right: list[bool], risk: float, coverage: float) -> None:
    assert coverage_at_risk(scores(0.9, 0.8, 0.7, 0.6), np.array(right), risk) == coverage


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=40), st.floats(0, 0.5))
def test_coverage_grows_with_the_risk(pairs: list[tuple[float, bool]], risk: float) -> None:
    confidence, right = scores(*(one for one, _ in pairs)), np.array([one for _, one in pairs])
    assert coverage_at_risk(confidence, right, risk) <= coverage_at_risk(confidence, right, risk + 0.1)
    assert coverage_at_risk(confidence, right, 1.0) == 1.0


def test_calibration_error_is_the_mean_distance_of_the_bins() -> None:
    found = expected_calibration_error(scores(0.1, 0.3, 0.8, 1.0), np.array([False, True, True, True]), bins=2)
    assert found == pytest.approx((abs(0.2 - 0.5) + abs(0.9 - 1.0)) / 2)


def test_a_calibrated_model_has_no_calibration_error() -> None:
    right = np.array([True, False] * 50)
    assert expected_calibration_error(np.full(100, 0.5, np.float32), right, bins=5) == pytest.approx(0)


def test_fewer_questions_than_bins_are_no_error() -> None:
    assert expected_calibration_error(scores(0.75), np.array([True]), bins=15) == pytest.approx(0.25)


def answer(route: Route, document_id: str = "", label: str = "") -> Answer:
    return Answer(route, Reason.CONFIDENT, Policy.CASCADE, 0.9, document_id=document_id, label=label)


@pytest.mark.parametrize(
    ("document_id", "given", "right"),
    [
        ("card", answer(Route.MODEL, "card", "where_is_it"), True),
        ("card", answer(Route.RETRIEVAL, "card"), True),
        ("card", answer(Route.MODEL, "fees", "what_fees"), False),
        ("card", answer(Route.ABSTAIN), False),
        ("card", answer(Route.ABSTAIN, "card"), False),
        ("where_is_it", answer(Route.MODEL, "", "where_is_it"), True),
        ("", answer(Route.ABSTAIN), True),
        ("", answer(Route.RETRIEVAL, "card"), False),
        ("", answer(Route.MODEL, "", ""), False),
    ],
)
def test_right_is_the_right_document_or_silence_where_there_is_none(
    document_id: str, given: Answer, right: bool
) -> None:
    assert is_right(Case("?", IN_SCOPE, document_id=document_id), given) is right


def test_cases_are_grouped_by_what_the_bundle_knows() -> None:
    rows = [
        Labelled("a", "card_arrival"),
        Labelled("b", "Lost_Card"),
        Labelled("c", "fees"),
        Labelled("d", "unheard_of"),
        Labelled("e", ""),
    ]
    found = cases(rows, {"card_arrival": "card-arrival", "fees": ""}, ["card-arrival", "lost-card"])
    assert found == [
        Case("a", IN_SCOPE, "card_arrival", "card-arrival"),
        Case("b", UNSEEN, document_id="lost-card"),
        Case("c", IN_SCOPE, "fees", "fees"),
        Case("d", UNSEEN),
    ]
