"""The vector index: every misuse is refused, and what the graph finds is what a scan finds."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import SearchFailed
from gateway.knowledge.graphs import CodeGraph, FloatGraph
from gateway.knowledge.vectors import Build, VectorIndex
from gateway.types import Matrix

ROWS, DIM = 2000, 32


def unit(rows: int, dim: int = DIM, seed: int = 0) -> Matrix:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


KINDS = ("scan", "floats", "codes")


def index(vectors: Matrix, kind: str) -> VectorIndex:
    if kind == "scan":
        return VectorIndex(vectors, exact_up_to=len(vectors))
    return VectorIndex(vectors, exact_up_to=0, build=FloatGraph if kind == "floats" else CodeGraph)


@pytest.fixture(scope="module", params=KINDS[1:])
def graph(request: pytest.FixtureRequest) -> VectorIndex:
    return index(unit(ROWS), request.param)


@pytest.fixture(scope="module")
def exact() -> VectorIndex:
    return index(unit(ROWS), "scan")


@pytest.mark.parametrize("kind", KINDS)
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
def test_a_query_that_does_not_fit_is_refused(query: Matrix, kind: str) -> None:
    with pytest.raises(SearchFailed, match="a query must be finite float32"):
        index(unit(20), kind).search(query, 3)


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


@pytest.mark.parametrize("kind", KINDS)
def test_the_nearest_come_first_with_their_cosines(kind: str) -> None:
    made = index(np.eye(4, dtype=np.float32), kind)
    query = np.array([0.1, 0.7, 0.2, 0.5], np.float32)
    rows = made.search(query, 3)
    assert rows.tolist() == [1, 3, 2]
    assert made.similarities(query, rows).tolist() == pytest.approx([0.7, 0.5, 0.2])


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_there_are_is_all_there_are(kind: str) -> None:
    query = unit(1, seed=9)[0]
    rows = index(unit(5), kind).search(query, 50)
    assert rows.tolist() == np.argsort(-(unit(5) @ query)).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_caller_who_may_read_nothing_finds_nothing(kind: str) -> None:
    assert not len(index(unit(5), kind).search(unit(1)[0], 3, np.zeros(5, bool)))


def test_none_wanted_is_none_found(exact: VectorIndex) -> None:
    assert not len(exact.search(unit(1)[0], 0))


def test_similarities_are_the_cosines_of_just_those_rows(exact: VectorIndex) -> None:
    query, rows = unit(1, seed=3)[0], np.array([7, 3])
    assert exact.similarities(query, rows).tolist() == pytest.approx((unit(ROWS)[rows] @ query).tolist())


def test_the_graph_finds_what_a_scan_finds(graph: VectorIndex, exact: VectorIndex) -> None:
    queries = unit(50, seed=1)
    hits = [len({*graph.search(one, 10).tolist()} & {*exact.search(one, 10).tolist()}) for one in queries]
    assert sum(hits) / (10 * len(queries)) >= 0.95


@pytest.mark.parametrize("share", [0.02, 0.4, 0.6, 0.95])
def test_a_masked_search_finds_what_a_masked_scan_finds(graph: VectorIndex, exact: VectorIndex, share: float) -> None:
    allowed = np.random.default_rng(5).random(ROWS) < share
    queries = unit(20, seed=4)
    hits = [
        len({*graph.search(one, 10, allowed).tolist()} & {*exact.search(one, 10, allowed).tolist()}) for one in queries
    ]
    assert sum(hits) / (10 * len(queries)) >= 0.95


def test_what_the_graph_cannot_deliver_is_found_by_a_scan(graph: VectorIndex, exact: VectorIndex) -> None:
    query = unit(1, seed=6)[0]
    allowed = np.ones(ROWS, bool)
    allowed[exact.search(query, 800)] = False  # all that the graph would come across
    assert graph.search(query, 10, allowed).tolist() == exact.search(query, 10, allowed).tolist()


SMALL = {kind: index(unit(40, 8), kind) for kind in KINDS}


@settings(max_examples=100)
@given(
    st.sampled_from(KINDS),
    st.lists(st.booleans(), min_size=40, max_size=40),
    st.integers(1, 60),
    st.integers(0, 1000),
)
def test_no_forbidden_row_is_ever_found(kind: str, readable: list[bool], count: int, seed: int) -> None:
    allowed = np.array(readable)
    rows = SMALL[kind].search(unit(1, 8, seed)[0], count, allowed)
    assert allowed[rows].all()
    assert len(set(rows.tolist())) == len(rows) == min(count, int(allowed.sum()))


def written(path: Path, vectors: Matrix) -> CodeGraph:
    graph = CodeGraph(vectors)
    with path.open("wb") as file:
        graph.write(file.write)
    return graph


def test_a_graph_of_codes_finds_the_same_from_its_file(tmp_path: Path) -> None:
    graph = written(tmp_path / "graph", unit(ROWS))
    again = CodeGraph.read(tmp_path / "graph", ROWS, DIM)
    (tmp_path / "graph").unlink()  # what is mapped stays
    for query in unit(20, seed=7):
        assert again.nearest(query, 30).tolist() == graph.nearest(query, 30).tolist()


def test_a_file_of_other_vectors_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "graph", unit(20))
    for rows, dim in ((21, DIM), (20, DIM + 1)):
        with pytest.raises(ValueError, match=f"is of 20 x {DIM}, not {rows} x {dim}"):
            CodeGraph.read(tmp_path / "graph", rows, dim)
    (tmp_path / "graph").write_bytes(b"nothing of it")
    with pytest.raises(ValueError, match="graph: "):
        CodeGraph.read(tmp_path / "graph", 20, DIM)
    with pytest.raises(FileNotFoundError):
        CodeGraph.read(tmp_path / "nothing", 20, DIM)


def test_a_graph_that_cannot_be_written_says_why() -> None:
    def full(piece: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        CodeGraph(unit(20)).write(full)


@pytest.mark.parametrize("build", [FloatGraph, CodeGraph])
def test_who_builds_can_be_stopped(build: Build) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        VectorIndex(unit(20), 0, stop, build)


@pytest.mark.parametrize("build", [FloatGraph, CodeGraph])
def test_a_graph_is_built_and_asked_in_its_own_thread_alone(build: Build) -> None:
    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    before = threads()
    made = VectorIndex(unit(ROWS), 0, build=build)
    made.search(unit(1)[0], 10)
    assert threads() == before
