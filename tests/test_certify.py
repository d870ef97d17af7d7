"""The certificate: its bounds grow as they must, its sequence stops where it must, and its promise is kept."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cascade.bounds import GRID, upper
from gateway.forge.certify import Asked, Certified, Confidence, Counts, Known, Sample, back_off, certify, needed

NOBODY = np.empty(0, np.float32)
IN_SCOPE = Asked(0.05, 0.95, 0.0)
ASKED = Asked(0.05, 0.95, 0.1)


def sure(*groups: tuple[int, float]) -> Confidence:
    """So many questions at each confidence."""
    return np.concatenate([np.full(count, value, np.float32) for count, value in groups])


def all_right(*groups: tuple[int, float], outside: Confidence = NOBODY) -> Sample:
    confidence = sure(*groups)
    return Sample(confidence, np.ones(len(confidence), bool), outside)


counts = st.builds(
    lambda questions, accepted, wrong, outliers, out: Counts(
        questions,
        round(accepted * questions),
        round(wrong * round(accepted * questions)),
        outliers,
        round(out * outliers),
    ),
    st.integers(1, 500),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(1, 500),
    st.floats(0, 1),
)
levels = st.floats(0.001, 0.3)
shares = st.floats(0, 0.99)


def test_without_outsiders_the_bound_is_of_the_wrong_among_the_accepted() -> None:
    sample = Sample(sure((300, 0.9), (700, 0.1)), np.append(np.arange(300) >= 6, np.ones(700, bool)), NOBODY)
    assert sample.counts(0.5).risk_bound(0.1, 0.05) == upper(6, 300, 0.05)


@given(counts, st.lists(shares, min_size=2, max_size=6), levels)
def test_the_bound_grows_with_the_share_out_of_scope(some: Counts, at: list[float], level: float) -> None:
    bounds = some.risk_bounds(sorted(at), level)
    assert all(one <= other + 1e-12 for one, other in pairwise(bounds))


@given(counts, shares, levels)
def test_the_bound_is_never_under_what_was_seen(some: Counts, share: float, level: float) -> None:
    assert some.risk(share) - 1e-9 <= some.risk_bound(share, level) <= 1 + 1e-12


@given(counts, shares, levels)
def test_more_that_are_wrong_raise_the_bound(some: Counts, share: float, level: float) -> None:
    worse = Counts(
        some.questions, some.accepted, min(some.wrong + 1, some.accepted), some.outliers, some.outliers_accepted
    )
    stranger = Counts(
        some.questions, some.accepted, some.wrong, some.outliers, min(some.outliers_accepted + 1, some.outliers)
    )
    now = some.risk_bound(share, level)
    assert worse.risk_bound(share, level) >= now - 1e-12
    assert stranger.risk_bound(share, level) >= now - 1e-12


@given(counts, st.floats(0.01, 0.4), levels)
def test_up_to_the_share_within_the_risk_the_bound_is_within_it_and_not_beyond(
    some: Counts, risk: float, level: float
) -> None:
    share = some.share_within(risk, level)
    (at_most,) = some.risk_bounds((share,), level)
    (beyond,) = some.risk_bounds((min(1.0, share + 1e-3),), level)
    assert at_most <= risk + 1e-9 or share == 0
    assert beyond >= risk - 1e-9


def test_each_of_the_three_bounds_has_a_third_of_the_error() -> None:
    some = Counts(600, 500, 10, 1000, 5)
    third = 0.05 / 3
    r, b = upper(10, 500, third), upper(5, 1000, third)
    c = 1 - upper(100, 600, third)  # the lower bound of the accepted is the upper one of the refused
    assert some.risk_bound(0.1, 0.05) == pytest.approx((0.9 * c * r + 0.1 * b) / (0.9 * c + 0.1 * b))


def test_the_loosest_threshold_within_the_risk_is_taken() -> None:
    sample = Sample(sure((400, 0.9), (400, 0.7), (400, 0.5)), np.repeat([True, True, False], 400), NOBODY)
    found = certify(sample, IN_SCOPE, 1.0, (0.8, 0.6, 0.4))
    assert (found.threshold, found.counts.accepted, found.counts.wrong) == (0.6, 800, 0)
    assert found.upper_bound == upper(0, 800, 0.05)
    assert found.holds


def test_the_sequence_ends_at_its_first_failure() -> None:
    right = np.repeat([True, False, True], (400, 100, 9000))
    sample = Sample(sure((400, 0.9), (100, 0.7), (9000, 0.5)), right, NOBODY)
    assert sample.counts(0.4).risk_bound(0.0, 0.05) < 0.05  # it would pass, were it asked
    assert certify(sample, IN_SCOPE, 1.0, (0.8, 0.6, 0.4)).threshold == 0.8


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(0, 8))
def test_what_is_certified_is_the_last_before_the_first_failure_whatever_comes_after(
    passes: list[bool], begin: int
) -> None:
    """Thresholds of 200 questions each, all right where one is to pass and all wrong where it is to fail."""
    grid = tuple(round(0.9 - 0.1 * at, 1) for at in range(len(passes)))
    sample = Sample(sure(*((200, at + 0.05) for at in grid)), np.repeat(passes, 200), NOBODY)
    start = grid[begin] if begin < len(grid) else 0.01
    tried = [at for at in grid if at <= start]
    bounds = [sample.counts(at).risk_bound(0.0, 0.05) for at in tried]
    failed = next((at for at, bound in enumerate(bounds) if bound > 0.05), len(tried))
    found = certify(sample, IN_SCOPE, start, grid)
    assert found.threshold == (tried[failed - 1] if failed else 2.0)


def test_a_first_failure_certifies_nothing() -> None:
    sample = Sample(sure((100, 0.9), (9000, 0.5)), np.arange(9100) >= 50, NOBODY)
    found = certify(sample, IN_SCOPE, 1.0, (0.8, 0.4))
    assert not found.holds
    assert (found.threshold, found.counts.accepted, found.upper_bound) == (2.0, 0, 1.0)


def test_nothing_before_the_start_is_tried() -> None:
    right = np.append(np.zeros(5, bool), np.ones(995, bool))  # 5 of 59 fail
    sample = Sample(sure((59, 0.9), (941, 0.7)), right, NOBODY)
    assert not certify(sample, IN_SCOPE, 1.0, (0.8, 0.6)).holds
    assert certify(sample, IN_SCOPE, 0.7, (0.8, 0.6)).threshold == 0.6


def test_without_outsiders_the_certificate_is_for_questions_in_scope() -> None:
    found = certify(all_right((1000, 0.9)), ASKED, 1.0, (0.8,))
    assert (found.asked.oos_share, found.oos_share, found.risk_by_share()) == (0, 0, ())
    found = certify(all_right((1000, 0.9), outside=sure((500, 0.1))), ASKED, 1.0, (0.8,))
    assert found.asked.oos_share == 0.1
    assert found.oos_share > 0.1


def test_it_holds_up_to_the_share_that_all_thresholds_pass_that_were_tried() -> None:
    """The first accepts an outlier among few, and passes at a smaller share than the second."""
    sample = all_right((200, 0.9), (2000, 0.7), outside=sure((10, 0.9), (490, 0.1)))
    first, second = (certify(sample, Asked(0.1, 0.95, 0.05), at, (at,)) for at in (0.8, 0.6))
    both = certify(sample, Asked(0.1, 0.95, 0.05), 1.0, (0.8, 0.6))
    assert first.oos_share < second.oos_share
    assert (both.threshold, both.oos_share) == (0.6, first.oos_share)


def test_the_share_that_was_asked_for_is_certified() -> None:
    sample = all_right((2000, 0.9), outside=sure((20, 0.9), (480, 0.1)))
    found = certify(sample, Asked(0.05, 0.95, 0.2), 1.0, (0.8,))
    assert found.holds
    assert found.oos_share >= 0.2
    assert dict(found.risk_by_share())[0.2] == pytest.approx(found.upper_bound)


def known(sample: Sample, outliers: int = 0) -> Known:
    return Known(sample, len(sample.right), outliers)


def test_the_start_accepts_enough_and_few_that_are_doubtful() -> None:
    sample = Sample(sure((20, 0.99), (380, 0.97), (100, 0.5)), np.arange(500) < 400, NOBODY)
    assert known(sample).starting_point(IN_SCOPE, (0.98, 0.9, 0.4)) == 0.9


def test_outsiders_move_the_start_to_where_they_are_not() -> None:
    groups, far = ((300, 0.95), (200, 0.85)), sure((50, 0.85))
    assert known(all_right(*groups)).starting_point(ASKED, (0.9, 0.8)) == 0.8
    assert known(all_right(*groups, outside=far), 500).starting_point(ASKED, (0.9, 0.8)) == 0.9


def test_the_strict_start_is_stricter_and_likely_to_pass() -> None:
    sample = Sample(sure((100, 0.99), (200, 0.95), (700, 0.85)), np.arange(1000) < 999, NOBODY)
    assert known(sample).starting_point(IN_SCOPE, (0.98, 0.9, 0.8)) == 0.8
    assert known(sample).strict_start(IN_SCOPE, (0.98, 0.9, 0.8)) == 0.9
    hopeless = Sample(sure((100, 0.9)), np.arange(100) % 2 == 0, NOBODY)
    assert known(hopeless).strict_start(IN_SCOPE, (0.95, 0.8)) == known(hopeless).starting_point(IN_SCOPE, (0.95, 0.8))


def test_what_to_go_back_to_is_certified_at_half_of_the_risk_where_that_can_be_shown() -> None:
    sample = Sample(sure((400, 0.9), (400, 0.7)), np.arange(800) < 784, NOBODY)
    found = back_off(sample, IN_SCOPE, 1.0, 1.0, (0.8, 0.6))
    assert (found.threshold, found.asked.risk) == (0.8, 0.025)
    assert certify(sample, IN_SCOPE, 1.0, (0.8, 0.6)).threshold == 0.6


def test_where_half_cannot_be_shown_it_is_the_threshold_with_the_least_bound() -> None:
    right = np.append(np.arange(200) >= 3, np.ones(200, bool))
    sample = Sample(sure((200, 0.9), (100, 0.8), (100, 0.6)), np.where(np.arange(400) < 310, right, False), NOBODY)
    grid = (0.85, 0.75, 0.5)
    assert [round(100 * sample.counts(at).risk_bound(0.0, 0.05), 1) for at in grid] == [3.8, 2.6, 27.0]
    found = back_off(sample, IN_SCOPE, 1.0, 1.0, grid)
    assert (found.threshold, found.asked.risk, found.counts.accepted) == (0.75, 0.05, 300)


def test_where_nothing_is_certified_there_is_nothing_to_go_back_to() -> None:
    wrong = Sample(sure((100, 0.9)), np.zeros(100, bool), NOBODY)
    assert not back_off(wrong, IN_SCOPE, 1.0, 1.0, (0.8,)).holds


def test_what_is_needed_falls_to_what_there_is() -> None:
    assert 59 <= needed(all_right((40, 0.9)), IN_SCOPE) <= 80
    assert needed(all_right((400, 0.9)), IN_SCOPE) == 400


def test_no_number_is_enough_for_a_model_that_is_wrong() -> None:
    assert needed(Sample(sure((40, 0.9)), np.arange(40) % 2 == 0, NOBODY), IN_SCOPE) == 0


def test_outsiders_that_look_in_scope_prevent_a_certificate() -> None:
    assert certify(all_right((1000, 0.9), outside=sure((500, 0.1))), ASKED, 1.0, (0.8,)).holds
    assert not certify(all_right((1000, 0.9), outside=sure((500, 0.9))), ASKED, 1.0, (0.8,)).holds


def test_a_part_of_a_sample_accepts_its_own_alone() -> None:
    sample = Sample(sure((4, 0.9)), np.array([True, False, True, False]), sure((2, 0.9)))
    part = sample.part(np.array([True, True, False, False]), np.array([False, True]))
    assert part.counts(0.5) == Counts(4, 2, 1, 2, 1)


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


def draw(chance: np.random.Generator, count: int) -> Sample:
    """`count` questions in scope and outside."""
    confidence = chance.random(count).astype(np.float32)
    right = chance.random(count) < confidence ** (1 / 8)
    return Sample(confidence, right, chance.random((count, 6)).min(axis=1).astype(np.float32))


@pytest.mark.parametrize(("oos_share", "count"), [(0.0, 400), (0.0, 1500), (0.1, 3000)])
def test_the_promise_is_kept_as_often_as_it_says(oos_share: float, count: int) -> None:
    chance = np.random.default_rng(11)
    asked = Asked(RISK, ASSURANCE, oos_share)
    made: list[Certified] = []
    for _ in range(DRAWS):
        sample, before = draw(chance, count), draw(chance, count)  # the start is chosen by the latter alone
        begin = Known(before, count, count).starting_point(asked, GRID_OF_DRAWS)
        made.append(certify(sample, asked, begin, GRID_OF_DRAWS))
    broken = sum(one.holds and true_risk(one.threshold, oos_share) > RISK for one in made)
    beyond = sum(one.holds and true_risk(one.threshold, one.oos_share) > RISK for one in made)
    made = [one for one in made if one.holds]
    assert len(made) > DRAWS / 4
    assert broken / DRAWS <= 1 - ASSURANCE + SLACK
    assert oos_share == 0 or beyond / DRAWS <= 1 - ASSURANCE + SLACK


@pytest.mark.parametrize("outliers", [0, 900])
def test_575_questions_of_smooth_confidence_get_a_certificate(outliers: int) -> None:
    """Confidence that is right as often as it says, on the whole grid: no step to begin at by luck."""
    chance = np.random.default_rng(5)

    def some(count: int) -> Sample:
        confidence = (1 - chance.beta(0.3, 5, count)).astype(np.float32)
        right = chance.random(count) < confidence
        return Sample(confidence, right, chance.beta(1, 12, outliers).astype(np.float32))

    asked = Asked(0.1, 0.95, 0.1)
    found = []
    for _ in range(40):
        before, sample = some(430), some(575)
        found.append(certify(sample, asked, Known(before, 575, outliers).starting_point(asked)))
    made = [one for one in found if one.holds]
    assert len(made) >= 0.85 * len(found)
    assert np.median([one.counts.accepted for one in made]) > 0.6 * 575


def test_a_threshold_without_a_bound_would_break_the_promise() -> None:
    """The same draws by the observed risk alone: what the simulation above is able to see."""
    chance = np.random.default_rng(11)
    broken = 0
    for _ in range(DRAWS):
        sample = draw(chance, 400)
        observed = [sample.counts(threshold).risk(0.0) for threshold in GRID_OF_DRAWS]
        loosest = max(at for at, risk in enumerate([0.0, *observed]) if risk <= RISK)
        broken += loosest > 0 and true_risk(GRID_OF_DRAWS[loosest - 1], 0.0) > RISK
    assert broken / DRAWS > 1 - ASSURANCE + SLACK
