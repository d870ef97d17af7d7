"""The one home of hnswlib: an immutable index of unit vectors, with every misuse that kills the process fenced off.

hnswlib checks little: a query of the wrong width overruns the heap, asking before building is a segmentation fault, and
a search that reaches fewer than k rows raises. So an index here is built once, whole, from checked vectors; queries are
checked against the width it was built with; what the graph cannot deliver is found by exact scan. Nothing is loaded
from or saved to a file: vectors are rebuilt from the documents, which takes milliseconds for thousands of passages.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import hnswlib
import numpy as np
from numpy.typing import NDArray

from gateway.errors import SearchFailed
from gateway.types import Matrix, Vector

Rows = NDArray[np.int64]

EXACT_UP_TO = 1024
"""Up to this many rows a scan of all of them is faster than walking the graph, and misses nothing: 1,024 rows of 384
take 22 us of a core where the walk to 50 of 566 takes 54 (Zen 4)."""

LEAST_SHARE = 0.1
"""Of the rows that are allowed, from which the graph is tried."""

ADDED = 1024
"""Rows that are added to a graph in one go: a third of a second."""

LINKS, BUILD_BREADTH, SEARCH_BREADTH = 16, 200, 100  # M, ef_construction, ef


class VectorIndex:
    """Nearest rows by cosine. Safe to search from several threads, since nothing changes after construction."""

    def __init__(
        self, vectors: Matrix, exact_up_to: int = EXACT_UP_TO, go_on: Callable[[], None] = lambda: None
    ) -> None:
        """`vectors`: float32 [rows, dim], each of unit length. Raises SearchFailed if they are not, and what `go_on`
        raises, which is called now and then."""
        self._vectors = _checked(vectors, "vectors")
        self._graph: hnswlib.Index | None = None
        # [dim, rows], laid out so: see `cascade.calibration.columns`.
        self._columns = np.ascontiguousarray(vectors.T) if len(vectors) <= EXACT_UP_TO else self._vectors.T
        if len(vectors) > exact_up_to:
            graph = hnswlib.Index(space="ip", dim=vectors.shape[1])
            graph.init_index(max_elements=len(vectors), ef_construction=BUILD_BREADTH, M=LINKS, random_seed=1)
            # One thread: with more, hnswlib starts and joins threads for each call.
            for at in range(0, len(vectors), ADDED):
                go_on()
                some = self._vectors[at : at + ADDED]
                graph.add_items(some, np.arange(at, at + len(some)), num_threads=1)
            graph.set_ef(SEARCH_BREADTH)
            self._graph = graph

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def dim(self) -> int:
        return int(self._vectors.shape[1])

    @property
    def is_exact(self) -> bool:
        """Whether every search is a scan of all rows."""
        return self._graph is None

    def search(
        self, query: Vector, count: int, allowed: NDArray[np.bool_] | None = None, owner: Rows | None = None
    ) -> tuple[Rows, Vector]:
        """(rows, similarities), nearest first, at most `count`, only where `allowed` [rows] is true, or with `owner`
        [rows] where that of a row's owner is.

        Raises SearchFailed for a query that is not float32 [dim] and finite.
        """
        self._check(query)
        share = 1.0 if allowed is None else np.count_nonzero(allowed) / max(1, len(allowed))
        if count <= 0 or not share:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        if self._graph is not None and share >= LEAST_SHARE:
            found = self._by_graph(query, min(count, len(self)), share, allowed, owner)
            if found is not None:
                return found
        return self._exact(query, count, allowed if allowed is None or owner is None else allowed[owner])

    def similarities(self, query: Vector, rows: Rows) -> Vector:
        """The cosines of `query` with just these rows. Raises as `search`."""
        self._check(query)
        return np.asarray(self._vectors[rows] @ query, np.float32)

    def vectors(self, rows: slice) -> Matrix:
        """[rows, dim]"""
        return self._vectors[rows]

    def cosines(self, queries: Matrix) -> Matrix:
        """[queries, rows]: cosines of `queries` [queries, dim] with all rows, if `is_exact`. Raises as `search`."""
        self._check(queries, dims=2)
        return np.asarray(queries @ self._columns, np.float32)

    def _check(self, query: Vector | Matrix, dims: int = 1) -> None:
        if (
            query.ndim != dims
            or query.shape[-1] != self.dim
            or query.dtype != np.float32
            or not np.isfinite(query).all()
        ):
            raise SearchFailed(f"a query must be finite float32 [{self.dim}], not {query.dtype} {list(query.shape)}")

    def _exact(self, query: Vector, count: int, allowed: NDArray[np.bool_] | None) -> tuple[Rows, Vector]:
        similarity = self._vectors @ query
        if allowed is not None:
            similarity = np.where(allowed, similarity, np.float32(-np.inf))
        count = min(count, len(self) if allowed is None else int(np.count_nonzero(allowed)))
        if not count:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        rows = np.argpartition(-similarity, count - 1)[:count]
        rows = rows[np.argsort(-similarity[rows], kind="stable")]
        return rows, np.asarray(similarity[rows], np.float32)

    def _by_graph(
        self, query: Vector, count: int, share: float, allowed: NDArray[np.bool_] | None, owner: Rows | None
    ) -> tuple[Rows, Vector] | None:
        """Over-fetch, then keep the allowed: if enough are left, they are the nearest as far as the graph is right.
        None if not, as where rights go by subject. (A Python filter would hold the GIL at each visit, and a mask of all
        rows costs as much as the walk.)"""
        assert self._graph is not None
        fetch = count if allowed is None else min(len(self), math.ceil(1.5 * count / share) + 32)
        try:
            labels, distances = self._graph.knn_query(query[None], k=fetch, num_threads=1)
        except RuntimeError:  # "Cannot return the results": fewer than k could be reached
            return None
        rows, similarity = labels[0].astype(np.int64), (1 - distances[0]).astype(np.float32)
        if allowed is not None:
            kept = allowed[rows if owner is None else owner[rows]]
            rows, similarity = rows[kept], similarity[kept]
        return (rows[:count], similarity[:count]) if len(rows) >= count else None


def _checked(vectors: Matrix, name: str) -> Matrix:
    if vectors.ndim != 2 or 0 in vectors.shape or vectors.dtype != np.float32:
        raise SearchFailed(f"{name} must be float32 [rows, dim], not {vectors.dtype} {list(vectors.shape)}")
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.allclose(lengths, 1, atol=1e-3):  # also false for NaN
        raise SearchFailed(
            f"{name} must be of unit length; row {int(np.argmax(~np.isclose(lengths, 1, atol=1e-3)))} is not"
        )
    return np.ascontiguousarray(vectors)
