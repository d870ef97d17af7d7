"""Conformal p-values and what is bet on them: exact where nothing drifts, against the plain definitions, and quick."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gateway.telemetry.drift.betting import ACTIVE, MOST, POWERS, PRIOR, Detector, HistogramDetector, PowerDetector
from gateway.telemetry.drift.conformal import BINS, Bag, edges_of

Values = NDArray[np.float64]
BATCH = 32
WIDTHS = np.array([0.5, 0.3, 0.1, 0.1])


def in_batches(detector: Detector, p_values: Values) -> Values:
    return np.concatenate([detector.update(p_values[at : at + BATCH]) for at in range(0, len(p_values), BATCH)])


def test_bins_hold_about_as_much_of_the_reference_each() -> None:
    scores = np.random.default_rng(0).normal(size=10_000)
    counts = np.bincount(np.searchsorted(edges_of(scores), scores, side="right"))
    assert len(counts) == BINS
    assert counts.min() > 30
    assert counts.max() < 50


def test_p_values_stand_among_the_reference_and_all_before() -> None:
    reference = np.array([2, 0, 1, 0])
    bag, lots = Bag(reference, seed=7), np.random.default_rng(7)
    before = [0, 0, 2]
    for batch in ([1, 3, 0], [2, 2]):
        found, lot = bag.p_values(np.array(batch)), lots.random(len(batch))
        for at, one in enumerate(batch):
            lower, equal = sum(other < one for other in before), before.count(one) + 1
            before.append(one)
            assert found[at] == pytest.approx((lower + lot[at] * equal) / len(before))
    bag.restart()
    assert bag.p_values(np.array([0]))[0] <= 3 / 4


def test_p_values_are_uniform_and_independent_whatever_the_distribution() -> None:
    """Also of a small reference and of few bins: what the reference happens to be is in none of them."""
    chance = np.random.default_rng(11)
    found = []
    for run in range(400):
        shares = chance.dirichlet(np.ones(5))
        bag = Bag(chance.multinomial(40, shares), seed=run)
        found.append(bag.p_values(chance.choice(5, size=200, p=shares)))
    p_values = np.array(found)
    assert stats.kstest(p_values.ravel(), "uniform").pvalue > 0.001
    means = p_values.mean(axis=1)  # of one run: independent ones have this spread
    assert means.std() == pytest.approx(np.sqrt(1 / 12 / 200), rel=0.15)


def test_the_power_martingale_sums_up_a_bet_from_every_question_on() -> None:
    p_values = np.random.default_rng(1).random(70)
    exponents = np.array(POWERS)
    densities = np.array(
        [[*(exponents * p ** (exponents - 1)), *(exponents * (1 - p) ** (exponents - 1))] for p in p_values]
    )
    expected = [
        np.mean([sum(np.prod(densities[start : end + 1, bet]) for start in range(end + 1)) for bet in range(8)])
        for end in range(len(p_values))
    ]
    np.testing.assert_allclose(in_batches(PowerDetector(), p_values), expected, rtol=1e-9)


def test_the_histogram_martingale_learns_from_where_it_was_begun() -> None:
    p_values = np.random.default_rng(2).random(3 * BATCH) ** 2
    bins = np.searchsorted(np.cumsum(WIDTHS)[:-1], p_values, side="right")
    expected = []
    for end in range(len(p_values)):
        total = 0.0
        for start in range(0, end + 1, BATCH):
            bet, seen = float(BATCH), PRIOR * len(WIDTHS) * WIDTHS
            for one in bins[start : end + 1]:
                bet *= seen[one] / seen.sum() / WIDTHS[one]
                seen[one] += 1
            total += bet
        expected.append(total)
    np.testing.assert_allclose(in_batches(HistogramDetector(WIDTHS), p_values), expected, rtol=1e-9)


@pytest.mark.parametrize("make", [PowerDetector, lambda: HistogramDetector(WIDTHS)])
def test_nothing_is_won_where_nothing_drifts(make: type[PowerDetector]) -> None:
    """The bound: evidence of n / a within n questions has at most the chance a."""
    chance, questions, runs = np.random.default_rng(3), 20 * BATCH, 500
    highest = np.array([in_batches(make(), chance.random(questions)).max() for _ in range(runs)])
    for a in (0.5, 0.1, 0.02):
        most = runs * a
        assert (highest >= questions / a).sum() <= most + 3 * np.sqrt(most)


@pytest.mark.parametrize("make", [PowerDetector, lambda: HistogramDetector(np.full(10, 0.1))])
@pytest.mark.parametrize("normal", [0, 3200, 32_000])
def test_what_begins_late_is_found_as_soon(make: type[PowerDetector], normal: int) -> None:
    chance = np.random.default_rng(4)
    p_values = np.concatenate([chance.random(normal), chance.beta(0.4, 1.5, 320)])
    found = in_batches(make(), p_values)
    assert found[:normal].max(initial=0.0) < 1e7
    assert found[normal:].argmax() > 0
    assert np.flatnonzero(found > 1e7)[0] - normal < 250


def test_evidence_stays_a_number() -> None:
    for detector in (PowerDetector(), HistogramDetector(WIDTHS)):
        for p_values in (np.zeros(BATCH), np.ones(BATCH) - 1e-16):
            for _ in range(60):
                found = detector.update(p_values)
                assert np.isfinite(found).all()
                assert found.max() <= MOST * ACTIVE
    detector = PowerDetector()
    detector.update(np.zeros(BATCH))
    detector.restart()
    assert detector.update(np.full(1, 0.5)).max() < 2


def test_memory_is_bounded() -> None:
    detector = HistogramDetector(WIDTHS)
    for _ in range(3 * ACTIVE):
        detector.update(np.random.default_rng(0).random(BATCH))
    assert detector._seen.shape == (ACTIVE, len(WIDTHS))
