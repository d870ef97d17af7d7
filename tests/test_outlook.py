"""What a search promises: Clark's formula against simulation, and the plan that `routing` makes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cascade.calibration import Logistic
from gateway.cascade.outlook import Outlook, Prospect, Quality, expected_best
from gateway.cascade.policy import NEVER, ModelSays, Thresholds, is_worth_a_search
from gateway.types import Standing

SHARES = st.floats(0, 1)
QUALITIES = st.builds(Quality, SHARES, SHARES)
THRESHOLDS = Thresholds(answer=0.8, evidence=0.5)


@pytest.mark.parametrize("correlation", [-0.6, 0.0, 0.7])
def test_the_expected_best_of_two_is_that_of_a_simulation(correlation: float) -> None:
    one, other = Quality(0.7, 0.2), Quality(0.6, 0.3)
    covariance = [[0.04, correlation * 0.06], [correlation * 0.06, 0.09]]
    drawn = np.random.default_rng(0).multivariate_normal([0.7, 0.6], covariance, size=400_000)
    assert expected_best(one, other, correlation) == pytest.approx(drawn.max(axis=1).mean(), abs=2e-3)


@given(QUALITIES, QUALITIES, st.floats(-1, 1))
def test_the_best_is_expected_to_be_no_worse_than_either(one: Quality, other: Quality, correlation: float) -> None:
    assert expected_best(one, other, correlation) >= max(one.mean, other.mean) - 1e-9
    assert expected_best(one, other, correlation) == pytest.approx(expected_best(other, one, correlation))


@pytest.mark.parametrize("one", [Quality(0.7), Quality(0.7, 0.1)])
def test_of_what_will_not_move_apart_the_better_is_the_best(one: Quality) -> None:
    other = replace(one, mean=0.4)
    assert expected_best(one, other, 1.0) == 0.7


def test_an_outlook_moves_by_a_share_of_the_doubt_that_there_is() -> None:
    outlook = Outlook(Logistic((1.0,), 0.0, (0.0,), (1.0,)), 0.25, 1.0, -0.5)
    found = outlook.of([0.0], 0.9, price=0.01)
    assert (found.search, found.correlation, found.price) == (Quality(0.5, 0.5), -0.5, 0.01)
    assert found.model.deviation == pytest.approx(0.5 * 0.3)


def says(confidence: float, standing: Standing = Standing.CURRENT) -> ModelSays:
    return ModelSays("card", confidence, standing, True, {})


def prospect(model: float, search: float, price: float = 0.0, deviation: float = 0.1) -> Prospect:
    return Prospect(Quality(model), Quality(search, deviation), 0.0, price)


@pytest.mark.parametrize(
    ("model", "expected", "price", "is_worth"),
    [
        (says(0.9), 0.95, 0.0, True),
        (says(0.9), 0.95, 0.1, False),  # it costs more than it brings
        (says(0.9), 0.4, 0.001, False),  # the model is surer than the search will be
        (says(0.7), 0.7, 0.1, True),  # the model may not answer: 0.7 is more than an abstention is worth
        (says(0.7), 0.1, 0.001, False),  # neither will be good enough
        (says(0.9, Standing.WITHDRAWN), 0.7, 0.1, True),
    ],
)
def test_a_search_is_made_where_it_brings_more_than_it_costs(
    model: ModelSays, expected: float, price: float, is_worth: bool
) -> None:
    assert is_worth_a_search(model, THRESHOLDS, prospect(model.confidence, expected, price)) is is_worth


@given(SHARES, SHARES, st.floats(0, 0.5), st.floats(0, 0.2))
def test_the_dearer_a_search_the_less_it_is_made(sure: float, expected: float, deviation: float, price: float) -> None:
    cheap = is_worth_a_search(says(sure), THRESHOLDS, prospect(sure, expected, price, deviation))
    dear = is_worth_a_search(says(sure), THRESHOLDS, prospect(sure, expected, price + 0.1, deviation))
    assert cheap or not dear


@given(SHARES, SHARES)
def test_below_the_certified_threshold_the_model_s_word_is_worth_an_abstention(sure: float, expected: float) -> None:
    """However sure the model is: what it may not answer with counts for nothing in the plan."""
    closed = replace(THRESHOLDS, answer=NEVER)
    plans = {is_worth_a_search(says(one), closed, prospect(one, expected, 0.05)) for one in (0.0, sure, 1.0)}
    assert len(plans) == 1
