"""The statistics of drift: their tails against SciPy's, their p-values where nothing drifts, and where much does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gateway.telemetry.drift.comparisons import largest_difference, shares, stability
from gateway.telemetry.drift.embedding import EmbeddingReference, MeanWindow, features
from gateway.telemetry.drift.tails import chi_square_sum_tail, chi_square_tail, kolmogorov_tail
from gateway.types import DriftReading

REFERENCE, WINDOW = 1000, 250


@pytest.mark.parametrize("degrees", [0.7, 1, 9, 49, 130.5])
@pytest.mark.parametrize("x", [0.0, 0.01, 1.0, 9.0, 60.0, 400.0])
def test_the_chi_square_tail_is_that_of_scipy(x: float, degrees: float) -> None:
    assert chi_square_tail(x, degrees) == pytest.approx(stats.chi2.sf(x, degrees), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("x", [0.0, 0.3, 0.8, 1.36, 2.5, 5.0])
def test_the_kolmogorov_tail_is_that_of_scipy(x: float) -> None:
    assert kolmogorov_tail(x) == pytest.approx(stats.kstwobign.sf(x), rel=1e-9, abs=1e-12)


def test_no_degrees_of_freedom_are_no_evidence() -> None:
    assert (chi_square_tail(5.0, 0), chi_square_sum_tail(5.0, np.zeros(2))) == (1.0, 1.0)


@pytest.mark.parametrize("x", [0.1, 8.0, 15.9, 16.0, 16.1, 30.0, 90.0, 300.0])
def test_equal_weights_make_the_sum_a_chi_square(x: float) -> None:
    assert chi_square_sum_tail(x, np.full(8, 2.0)) == pytest.approx(stats.chi2.sf(x / 2, 8), rel=0.02)


def test_the_sum_of_unlike_weights_is_close_to_what_is_simulated() -> None:
    weights = np.array([1.0, 0.5, 0.25, 0.1, 0.1, 0.05])
    drawn = np.random.default_rng(0).chisquare(1, (400_000, len(weights))) @ weights
    for x in (1.0, 2.0, 3.0, 6.0, 10.0):
        assert chi_square_sum_tail(x, weights) == pytest.approx((drawn > x).mean(), rel=0.05)


def index(chance: np.random.Generator) -> DriftReading:
    """Deciles of the reference itself, as they are served."""
    reference = chance.normal(size=REFERENCE)
    edges = np.quantile(reference, np.linspace(0, 1, 11)[1:-1])
    found = [np.bincount(np.searchsorted(edges, one), minlength=10) for one in (reference, chance.normal(size=WINDOW))]
    return stability(*found)


def difference(chance: np.random.Generator) -> DriftReading:
    return largest_difference(np.sort(chance.normal(size=REFERENCE)), chance.normal(size=WINDOW))


def mix(chance: np.random.Generator) -> DriftReading:
    labels = np.arange(1, 21) / 210
    return shares(chance.multinomial(REFERENCE, labels), chance.multinomial(WINDOW, labels))


def discrepancy(chance: np.random.Generator) -> DriftReading:
    def drawn(count: int) -> NDArray[np.float32]:
        return chance.normal(size=(count, 8)).astype(np.float32)

    reference = EmbeddingReference.of(drawn(REFERENCE), 0)
    return reference.compare(features(drawn(WINDOW), reference.frequencies).mean(axis=0), WINDOW)


@pytest.mark.parametrize(("compare", "runs"), [(index, 2000), (difference, 2000), (mix, 2000), (discrepancy, 200)])
def test_p_values_are_uniform_where_nothing_drifts(
    compare: Callable[[np.random.Generator], DriftReading], runs: int
) -> None:
    chance = np.random.default_rng(3)
    found = np.array([compare(chance).p_value for _ in range(runs)])
    for level in (0.5, 0.1, 0.02):
        expected = runs * level
        assert abs((found < level).sum() - expected) < 5 * np.sqrt(expected) + 0.1 * expected, level


def test_the_usual_bound_of_the_index_means_nothing_for_few_questions() -> None:
    chance = np.random.default_rng(1)
    drawn = [chance.multinomial(100, [0.1] * 10) for _ in range(200)]
    found = [stability(one, other) for one, other in zip(drawn[::2], drawn[1::2], strict=True)]
    assert np.mean([one.statistic > 0.1 for one in found]) > 0.5
    assert np.mean([one.p_value < 0.01 for one in found]) < 0.05


def test_what_is_moved_is_found() -> None:
    chance = np.random.default_rng(2)
    reference, moved = np.sort(chance.normal(size=REFERENCE)), chance.normal(1.0, size=WINDOW)
    assert largest_difference(reference, moved).p_value < 1e-20
    assert stability(np.array([500, 500]), np.array([20, 230])).p_value < 1e-20
    assert shares(np.array([500, 500, 0]), np.array([120, 120, 10])).p_value < 1e-6


def test_nothing_compared_with_something_is_no_drift() -> None:
    some, none = np.array([3, 4]), np.array([0, 0])
    for found in (stability(some, none), shares(some, none), shares(np.array([5]), np.array([5]))):
        assert found.p_value == 1.0
    assert largest_difference(np.array([1.0]), np.array([])).p_value == 1.0


def test_the_discrepancy_is_of_the_last_batches_alone() -> None:
    chance = np.random.default_rng(4)
    embeddings = chance.normal(size=(600, 6)).astype(np.float32)
    reference = EmbeddingReference.of(embeddings, 0)
    window = MeanWindow(reference, blocks=3)
    assert window.compare().p_value == 1.0
    batches = [chance.normal(at, size=(20, 6)).astype(np.float32) for at in (5.0, 0.0, 0.0, 0.0)]
    for batch in batches[:3]:
        window.add(batch)
    assert window.compare().p_value < 1e-9
    window.add(batches[3])
    expected = features(np.concatenate(batches[1:]), reference.frequencies).mean(axis=0)
    assert window.questions == 60
    assert window.compare().statistic == pytest.approx(float(((expected - reference.mean) ** 2).sum()))


def test_products_of_features_are_about_the_kernel() -> None:
    chance = np.random.default_rng(5)
    frequencies = chance.standard_normal((4, 4000)).astype(np.float16)
    one, other = chance.normal(size=(2, 1, 4)).astype(np.float32) * 0.5
    product = float((features(one, frequencies) @ features(other, frequencies).T).item())
    assert product == pytest.approx(float(np.exp(-((one - other) ** 2).sum() / 2)), abs=0.05)
