"""The vector index: every misuse is refused, and what the graph finds is what a scan finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import SearchFailed
from gateway.knowledge.vectors import VectorIndex
from gateway.types import Matrix

ROWS, DIM = 2000, 32


def unit(rows: int, dim: int = DIM, seed: int = 0) -> Matrix:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def graph() -> VectorIndex:
    return VectorIndex(unit(ROWS), exact_up_to=0)


@pytest.fixture(scope="module")
def exact() -> VectorIndex:
    return VectorIndex(unit(ROWS), exact_up_to=ROWS)


@pytest.mark.parametrize("exact_up_to", [0, 100])
@pytest.mark.parametrize(
    "query",
    [
        np.zeros(DIM + 1, np.float32),
        np.zeros(DIM - 1, np.float32),
        np.zeros((1, DIM), np.float32),
        np.zeros(DIM, np.float64),
        np.zeros(DIM, np.float16),
        np.full(DIM, np.nan, np.float32),
        np.full(DIM, np.inf, np.float32),
    ],
)
def test_a_query_that_does_not_fit_is_refused(query: Matrix, exact_up_to: int) -> None:
    with pytest.raises(SearchFailed, match="a query must be finite float32"):
        VectorIndex(unit(20), exact_up_to).search(query, 3)


@pytest.mark.parametrize(
    "vectors",
    [
        2 * unit(3),
        np.zeros((3, DIM), np.float32),
        np.full((3, DIM), np.nan, np.float32),
        unit(3).astype(np.float64),
        unit(3)[0],
        np.empty((0, DIM), np.float32),
        np.empty((3, 0), np.float32),
    ],
)
def test_vectors_that_are_no_unit_vectors_are_refused(vectors: Matrix) -> None:
    with pytest.raises(SearchFailed, match="vectors must be"):
        VectorIndex(vectors)


def test_the_row_that_is_not_of_unit_length_is_named() -> None:
    vectors = unit(5)
    vectors[3] *= 1.5
    with pytest.raises(SearchFailed, match="row 3 is not"):
        VectorIndex(vectors)


@pytest.mark.parametrize("exact_up_to", [0, 100])
def test_the_nearest_come_first_with_their_cosines(exact_up_to: int) -> None:
    index = VectorIndex(np.eye(4, dtype=np.float32), exact_up_to)
    rows, similarities = index.search(np.array([0.1, 0.7, 0.2, 0.5], np.float32), 3)
    assert rows.tolist() == [1, 3, 2]
    assert similarities.tolist() == pytest.approx([0.7, 0.5, 0.2])


@pytest.mark.parametrize("exact_up_to", [0, 100])
def test_more_than_there_are_is_all_there_are(exact_up_to: int) -> None:
    rows, similarities = VectorIndex(unit(5), exact_up_to).search(unit(1)[0], 50)
    assert sorted(rows.tolist()) == [0, 1, 2, 3, 4]
    assert similarities.tolist() == sorted(similarities.tolist(), reverse=True)


@pytest.mark.parametrize("exact_up_to", [0, 100])
def test_a_caller_who_may_read_nothing_finds_nothing(exact_up_to: int) -> None:
    rows, similarities = VectorIndex(unit(5), exact_up_to).search(unit(1)[0], 3, np.zeros(5, bool))
    assert (len(rows), len(similarities)) == (0, 0)


def test_none_wanted_is_none_found(exact: VectorIndex) -> None:
    assert len(exact.search(unit(1)[0], 0)[0]) == 0


def test_similarities_are_the_cosines_of_just_those_rows(exact: VectorIndex) -> None:
    query, rows = unit(1, seed=3)[0], np.array([7, 3])
    assert exact.similarities(query, rows).tolist() == pytest.approx((unit(ROWS)[rows] @ query).tolist())


def test_the_graph_finds_what_a_scan_finds(graph: VectorIndex, exact: VectorIndex) -> None:
    queries = unit(50, seed=1)
    hits = [len({*graph.search(one, 10)[0].tolist()} & {*exact.search(one, 10)[0].tolist()}) for one in queries]
    assert sum(hits) / (10 * len(queries)) >= 0.95


def test_the_graph_s_similarities_are_cosines(graph: VectorIndex) -> None:
    query = unit(1, seed=2)[0]
    rows, similarities = graph.search(query, 10)
    assert similarities.tolist() == pytest.approx((unit(ROWS)[rows] @ query).tolist(), abs=1e-5)


@pytest.mark.parametrize("share", [0.02, 0.4, 0.6, 0.95])
def test_a_masked_search_finds_what_a_masked_scan_finds(graph: VectorIndex, exact: VectorIndex, share: float) -> None:
    allowed = np.random.default_rng(5).random(ROWS) < share
    queries = unit(20, seed=4)
    hits = [
        len({*graph.search(one, 10, allowed)[0].tolist()} & {*exact.search(one, 10, allowed)[0].tolist()})
        for one in queries
    ]
    assert sum(hits) / (10 * len(queries)) >= 0.95


def test_what_the_graph_cannot_deliver_is_found_by_a_scan(graph: VectorIndex, exact: VectorIndex) -> None:
    query = unit(1, seed=6)[0]
    allowed = np.ones(ROWS, bool)
    allowed[exact.search(query, 800)[0]] = False  # all that the graph would come across
    assert graph.search(query, 10, allowed)[0].tolist() == exact.search(query, 10, allowed)[0].tolist()


SMALL = {exact_up_to: VectorIndex(unit(40, 8), exact_up_to) for exact_up_to in (0, 100)}


@settings(max_examples=100)
@given(
    st.sampled_from([0, 100]),
    st.lists(st.booleans(), min_size=40, max_size=40),
    st.integers(1, 60),
    st.integers(0, 1000),
)
def test_no_forbidden_row_is_ever_found(exact_up_to: int, readable: list[bool], count: int, seed: int) -> None:
    allowed = np.array(readable)
    rows, _ = SMALL[exact_up_to].search(unit(1, 8, seed)[0], count, allowed)
    assert allowed[rows].all()
    assert len(set(rows.tolist())) == len(rows) == min(count, int(allowed.sum()))
