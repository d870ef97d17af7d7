"""The bounds of a proportion are the textbook's, and scipy's."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from gateway.cascade.bounds import GRID, beta_probability, beta_quantile, grid_sha256, lower, upper

counted = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
levels = st.floats(1e-6, 0.5)
shapes = st.floats(0.5, 5000)


@pytest.mark.parametrize(
    ("trials", "successes", "bound"), [(300, 6, 0.0391), (1000, 40, 0.0518), (59, 0, 0.0495), (10, 10, 1.0)]
)
def test_upper_bounds_are_those_of_the_table(trials: int, successes: int, bound: float) -> None:
    assert upper(successes, trials, 0.05) == pytest.approx(bound, abs=5e-5)


@given(counted, levels)
def test_bounds_are_those_of_scipy(counts: tuple[int, int], level: float) -> None:
    successes, trials = counts
    above = 1.0 if successes == trials else beta.ppf(1 - level, successes + 1, trials - successes)
    below = 0.0 if successes == 0 else beta.ppf(level, successes, trials - successes + 1)
    assert upper(successes, trials, level) == pytest.approx(above, rel=1e-8)
    assert lower(successes, trials, level) == pytest.approx(below, rel=1e-8)


@given(counted, levels)
def test_so_few_are_as_unlikely_under_the_bound_as_it_says(counts: tuple[int, int], level: float) -> None:
    """What a certificate rests on: at the bound, so few successes or fewer come with just that probability."""
    successes, trials = counts
    if successes < trials:
        assert binom.cdf(successes, trials, upper(successes, trials, level)) == pytest.approx(level, rel=1e-6)


@given(counted, levels)
def test_bounds_lie_on_either_side_of_the_share(counts: tuple[int, int], level: float) -> None:
    successes, trials = counts
    assert 0 <= lower(successes, trials, level) <= successes / trials <= upper(successes, trials, level) <= 1


@given(counted, levels)
def test_the_lower_bound_mirrors_the_upper(counts: tuple[int, int], level: float) -> None:
    successes, trials = counts
    assert lower(successes, trials, level) == pytest.approx(1 - upper(trials - successes, trials, level), abs=1e-9)


@given(st.floats(0, 1), shapes, shapes)
def test_the_distribution_function_is_that_of_scipy(x: float, a: float, b: float) -> None:
    assert beta_probability(x, a, b) == pytest.approx(beta.cdf(x, a, b), rel=1e-8, abs=1e-12)


@given(st.floats(1e-6, 1 - 1e-6), shapes, shapes)
def test_a_quantile_has_its_probability(probability: float, a: float, b: float) -> None:
    x = beta_quantile(probability, a, b)
    # Where the density is steep the nearest numbers on either side are as good as it gets.
    below, above = (beta.cdf(math.nextafter(x, to), a, b) for to in (0, 1))
    assert below - 1e-8 <= probability <= above + 1e-8


def test_large_counts_are_exact_too() -> None:
    assert upper(1000, 1_000_000, 0.05) == pytest.approx(beta.ppf(0.95, 1001, 999_000), rel=1e-9)
    assert lower(1000, 1_000_000, 0.05) == pytest.approx(beta.ppf(0.05, 1000, 999_001), rel=1e-9)


def test_the_grid_is_known_by_its_hash() -> None:
    assert len(GRID) == 190
    assert grid_sha256() == "39bec5162fc765d33bb617f58306912aecd34e79052712e08245857d9ccf59fb"
