"""The certificate: its bounds are the textbook's, its sequence stops where it must, and its promise is kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.forge.certify import GRID, Confidence, certify, lower, needed, risk_bound, starting_point, upper

NOBODY = np.empty(0, np.float32)


def sure(*groups: tuple[int, float]) -> Confidence:
    """So many questions at each confidence."""
    return np.concatenate([np.full(count, value, np.float32) for count, value in groups])


@pytest.mark.parametrize(
    ("trials", "successes", "bound"), [(300, 6, 0.0391), (1000, 40, 0.0518), (59, 0, 0.0495), (10, 10, 1.0)]
)
def test_upper_bounds_are_those_of_the_table(trials: int, successes: int, bound: float) -> None:
    assert upper(successes, trials, 0.05) == pytest.approx(bound, abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.001, 0.2))
def test_bounds_lie_on_either_side_of_the_share(counts: tuple[int, int], level: float) -> None:
    successes, trials = counts
    assert 0 <= lower(successes, trials, level) <= successes / trials <= upper(successes, trials, level) <= 1


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_lower_bound_mirrors_the_upper(counts: tuple[int, int]) -> None:
    successes, trials = counts
    assert lower(successes, trials, 0.05) == pytest.approx(1 - upper(trials - successes, trials, 0.05), abs=1e-9)


def test_without_outsiders_the_bound_is_of_the_wrong_among_the_accepted() -> None:
    right = np.arange(300) >= 6
    found = risk_bound(0.5, sure((300, 0.9), (700, 0.1)), np.append(right, np.ones(700, bool)), NOBODY, 0.1, 0.05)
    assert found == upper(6, 300, 0.05)


def test_the_bound_grows_with_the_share_out_of_scope() -> None:
    confidence, right, outside = sure((500, 0.9)), np.arange(500) >= 5, sure((20, 0.9), (480, 0.1))
    bounds = [risk_bound(0.5, confidence, right, outside, share, 0.05) for share in (0.01, 0.1, 0.3, 0.6)]
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[-1]


@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 400), st.floats(0.01, 0.9), st.floats(0.01, 0.2))
def test_the_bound_is_never_under_what_was_seen(
    accepted: int, wrong: int, outsiders: int, share: float, level: float
) -> None:
    wrong = min(wrong, accepted)
    confidence = sure((accepted, 0.9), (400 - accepted, 0.1))
    right = np.arange(400) >= wrong
    bound = risk_bound(0.5, confidence, right, sure((outsiders, 0.9), (400 - outsiders, 0.1)), share, level)
    bad = (1 - share) * wrong + share * outsiders
    answered = (1 - share) * accepted + share * outsiders
    assert bound <= 1
    assert bound >= (bad / answered if answered else 0) - 1e-9


def test_the_loosest_threshold_within_the_risk_is_taken() -> None:
    confidence = sure((400, 0.9), (400, 0.7), (400, 0.5))
    right = np.repeat([True, True, False], 400)
    found = certify(confidence, right, NOBODY, 0.05, 0.95, 0.0, 1.0, (0.8, 0.6, 0.4))
    assert (found.threshold, found.accepted, found.wrong) == (0.6, 800, 0)
    assert found.upper_bound == upper(0, 800, 0.05)
    assert found.holds


def test_the_sequence_ends_at_its_first_failure() -> None:
    confidence = sure((400, 0.9), (100, 0.7), (9000, 0.5))
    right = np.repeat([True, False, True], (400, 100, 9000))
    grid = (0.8, 0.6, 0.4)
    assert risk_bound(0.4, confidence, right, NOBODY, 0.0, 0.05) < 0.05  # it would pass, were it asked
    assert certify(confidence, right, NOBODY, 0.05, 0.95, 0.0, 1.0, grid).threshold == 0.8


def test_a_first_failure_certifies_nothing() -> None:
    found = certify(sure((100, 0.9), (9000, 0.5)), np.arange(9100) >= 50, NOBODY, 0.05, 0.95, 0.0, 1.0, (0.8, 0.4))
    assert not found.holds
    assert (found.threshold, found.accepted, found.upper_bound) == (2.0, 0, 1.0)


def test_nothing_before_the_start_is_tried() -> None:
    confidence = sure((59, 0.9), (941, 0.7))
    right = np.append(np.zeros(5, bool), np.ones(995, bool))  # 5 of 59 fail
    assert not certify(confidence, right, NOBODY, 0.05, 0.95, 0.0, 1.0, (0.8, 0.6)).holds
    assert certify(confidence, right, NOBODY, 0.05, 0.95, 0.0, 0.7, (0.8, 0.6)).threshold == 0.6


def test_without_outsiders_the_certificate_is_for_questions_in_scope() -> None:
    confidence, right = sure((1000, 0.9)), np.ones(1000, bool)
    assert certify(confidence, right, NOBODY, 0.05, 0.95, 0.1, 1.0, (0.8,)).oos_share == 0
    assert certify(confidence, right, sure((500, 0.1)), 0.05, 0.95, 0.1, 1.0, (0.8,)).oos_share == 0.1


def test_the_start_accepts_enough_and_few_that_are_doubtful() -> None:
    confidence = sure((20, 0.99), (380, 0.97), (100, 0.5))
    assert starting_point(confidence, np.arange(500) < 400, NOBODY, (500, 0), 0.95, 0.0, (0.98, 0.9, 0.4)) == 0.9


def test_outsiders_move_the_start_to_where_they_are_not() -> None:
    confidence = sure((300, 0.95), (200, 0.85))
    right, far = np.ones(500, bool), sure((50, 0.85))
    assert starting_point(confidence, right, NOBODY, (500, 0), 0.95, 0.1, (0.9, 0.8)) == 0.8
    assert starting_point(confidence, right, far, (500, 500), 0.95, 0.1, (0.9, 0.8)) == 0.9


def test_what_is_needed_falls_to_what_there_is() -> None:
    right = np.ones(40, bool)
    found = needed(sure((40, 0.9)), right, NOBODY, 0.05, 0.95, 0.0)
    assert 59 <= found <= 80
    assert needed(sure((400, 0.9)), np.ones(400, bool), NOBODY, 0.05, 0.95, 0.0) == 400


def test_no_number_is_enough_for_a_model_that_is_wrong() -> None:
    assert needed(sure((40, 0.9)), np.arange(40) % 2 == 0, NOBODY, 0.05, 0.95, 0.0) == 0


def test_outsiders_that_look_in_scope_prevent_a_certificate() -> None:
    confidence, right = sure((1000, 0.9)), np.ones(1000, bool)
    assert certify(confidence, right, sure((500, 0.1)), 0.05, 0.95, 0.1, 1.0, (0.8,)).holds
    assert not certify(confidence, right, sure((500, 0.9)), 0.05, 0.95, 0.1, 1.0, (0.8,)).holds


def test_the_grid_runs_from_strict_to_loose() -> None:
    assert list(GRID) == sorted(set(GRID), reverse=True)
    assert 0 < GRID[-1] < GRID[0] < 1


GRID_OF_DRAWS = tuple(np.round(np.arange(0.9, 0.2, -0.05), 2).tolist())
RISK, ASSURANCE, DRAWS = 0.05, 0.9, 300
SLACK = 3 * np.sqrt((1 - ASSURANCE) * ASSURANCE / DRAWS)


def true_risk(threshold: float, oos_share: float) -> float:
    """In a population whose confidence c is uniform and right with c^(1/8); outsiders have the least of six such."""
    taken: float = 1 - threshold
    outside: float = taken**6
    wrong: float = taken - (1 - threshold ** (9 / 8)) * 8 / 9
    return ((1 - oos_share) * wrong + oos_share * outside) / ((1 - oos_share) * taken + oos_share * outside)


def draw(chance: np.random.Generator, count: int) -> tuple[Confidence, NDArray[np.bool_], Confidence]:
    """(confidence, right, outsiders' confidence) of `count` questions each."""
    confidence = chance.random(count).astype(np.float32)
    right = chance.random(count) < confidence ** (1 / 8)
    return confidence, right, chance.random((count, 6)).min(axis=1).astype(np.float32)


@pytest.mark.parametrize(("oos_share", "count"), [(0.0, 400), (0.0, 1500), (0.1, 3000)])
def test_the_promise_is_kept_as_often_as_it_says(oos_share: float, count: int) -> None:
    chance = np.random.default_rng(11)
    made = broken = 0
    for _ in range(DRAWS):
        confidence, right, outside = draw(chance, count)
        known, known_right, known_outside = draw(
            chance, count
        )  # calibration questions: the start is chosen by them alone
        begin = starting_point(known, known_right, known_outside, (count, count), ASSURANCE, oos_share, GRID_OF_DRAWS)
        found = certify(confidence, right, outside, RISK, ASSURANCE, oos_share, begin, GRID_OF_DRAWS)
        made += found.holds
        broken += found.holds and true_risk(found.threshold, oos_share) > RISK
    assert made > DRAWS / 4
    assert broken / DRAWS <= 1 - ASSURANCE + SLACK


@pytest.mark.parametrize("outliers", [0, 900])
def test_575_questions_of_smooth_confidence_get_a_certificate(outliers: int) -> None:
    """Confidence that is right as often as it says, on the whole grid: no step to begin at by luck."""
    chance = np.random.default_rng(5)

    def some(count: int) -> tuple[Confidence, NDArray[np.bool_]]:
        confidence = (1 - chance.beta(0.3, 5, count)).astype(np.float32)
        return confidence, chance.random(count) < confidence

    found = []
    for _ in range(40):
        (known, known_right), (confidence, right) = some(430), some(575)
        far, outside = (chance.beta(1, 12, outliers).astype(np.float32) for _ in range(2))
        begin = starting_point(known, known_right, far, (575, outliers), 0.95, 0.1)
        found.append(certify(confidence, right, outside, 0.1, 0.95, 0.1, begin))
    made = [one for one in found if one.holds]
    assert len(made) >= 0.85 * len(found)
    assert np.median([one.accepted for one in made]) > 0.6 * 575


def test_a_threshold_without_a_bound_would_break_the_promise() -> None:
    """The same draws by the observed risk alone: what the simulation above is able to see."""
    chance = np.random.default_rng(11)
    broken = 0
    for _ in range(DRAWS):
        confidence, right, _ = draw(chance, 400)
        observed = [float((~right[confidence >= threshold]).mean()) for threshold in GRID_OF_DRAWS]
        loosest = max(at for at, risk in enumerate([0.0, *observed]) if risk <= RISK)
        broken += loosest > 0 and true_risk(GRID_OF_DRAWS[loosest - 1], 0.0) > RISK
    assert broken / DRAWS > 1 - ASSURANCE + SLACK
