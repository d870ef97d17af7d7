"""The one home of hnswlib: an immutable index of unit vectors, with every misuse that kills the process fenced off.

hnswlib checks little: a query of the wrong width overruns the heap, asking before building is a segmentation fault, and
a search that reaches fewer than k rows raises. So an index here is built once, whole, from checked vectors; queries are
checked against the width it was built with; what the graph cannot deliver is found by exact scan. It checks nothing of
a file but its length, and says nothing where it could not write one: see `segment_files` for what is loaded at all.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path

import hnswlib
import numpy as np
from numpy.typing import NDArray

from gateway.errors import SearchFailed
from gateway.types import Matrix, Vector

Rows = NDArray[np.int64]
Owners = NDArray[np.int32]

EXACT_UP_TO = 1024
"""Up to this many rows a scan of all of them is faster than walking the graph, and misses nothing: 1,024 rows of 384
take 22 us of a core where the walk to 50 of 566 takes 54 (Zen 4)."""

UNIT_TOLERANCE = 1e-3

LEAST_SHARE = 0.1
"""Of the rows that are allowed, from which the graph is tried."""

ADDED = 1024
"""Rows that are added to a graph in one go: a third of a second."""

GRAPH_VERSION = 1
"""Of how graphs are built and written; files of another one are not read."""
LINKS, BUILD_BREADTH, SEARCH_BREADTH = 16, 200, 60  # M, ef_construction, ef
BROADER_FROM = 50_000
"""Rows from which a walk is broader than that."""


class VectorIndex:
    """Nearest rows by cosine. Safe to search from several threads, since nothing changes after construction."""

    def __init__(
        self, vectors: Matrix, exact_up_to: int = EXACT_UP_TO, go_on: Callable[[], None] = lambda: None
    ) -> None:
        """`vectors`: float32 [rows, dim], each of unit length. Raises SearchFailed if they are not, and what `go_on`
        raises, which is called now and then."""
        self._vectors = _checked(vectors, "vectors")
        self._graph: hnswlib.Index | None = None
        if len(vectors) > exact_up_to:
            self._graph = _graph(vectors.shape[1])
            self._graph.init_index(
                max_elements=len(vectors), ef_construction=BUILD_BREADTH, M=LINKS, random_seed=GRAPH_VERSION
            )
            for at in range(0, len(vectors), ADDED):
                go_on()
                some = self._vectors[at : at + ADDED]
                # One thread: with more, hnswlib starts and joins threads for each call.
                self._graph.add_items(some, np.arange(at, at + len(some)), num_threads=1)
            self._graph.set_ef(_breadth(len(vectors)))
        self._columns: Matrix | None = None

    @classmethod
    def kept(cls, vectors: Matrix, graph: Path | None) -> VectorIndex:
        """Of vectors that were checked when they were written, and of the file that `save_graph` wrote for them: one
        that is not what was written ends the process. Exact without one. Raises OSError, ValueError."""
        made = cls.__new__(cls)
        made._vectors, made._graph, made._columns = vectors, None, None
        if graph is not None:
            made._graph = _graph(vectors.shape[1])
            try:
                made._graph.load_index(str(graph), max_elements=len(vectors))
            except RuntimeError as error:
                raise ValueError(f"{graph}: {error}") from error
            if made._graph.get_current_count() != len(vectors):
                raise ValueError(f"{graph}: is of {made._graph.get_current_count()} rows, not of {len(vectors)}")
            made._graph.set_ef(_breadth(len(vectors)))  # not in the file
        return made

    def mapped(self, vectors: Matrix) -> VectorIndex:
        """The same one, with the same `vectors` from another place."""
        made = copy.copy(self)
        made._vectors = vectors
        return made

    def joined(self, other: VectorIndex) -> VectorIndex:
        """Of this one's rows and then those of the other one, exact."""
        return VectorIndex.kept(np.concatenate([self._vectors, other._vectors]), None)

    def save_graph(self, path: Path) -> None:
        """Raises OSError. hnswlib says nothing where a disk is full: so its size is looked at."""
        assert self._graph is not None
        self._graph.save_index(str(path))
        if path.stat().st_size != self._graph.index_file_size():
            raise OSError(
                f"{path}: has {path.stat().st_size} bytes, not {self._graph.index_file_size()}: is the disk full?"
            )

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
        self, query: Vector, count: int, allowed: NDArray[np.bool_] | None = None, owner: Owners | None = None
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
        if len(queries) == 1 or len(self) > EXACT_UP_TO:
            return np.asarray(queries @ self._vectors.T, np.float32)
        if self._columns is None:  # [dim, rows], laid out so: see `cascade.calibration.columns`
            self._columns = np.ascontiguousarray(self._vectors.T)
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
        self, query: Vector, count: int, share: float, allowed: NDArray[np.bool_] | None, owner: Owners | None
    ) -> tuple[Rows, Vector] | None:
        """Over-fetch, then keep the allowed: if enough are left, they are the nearest as far as the graph is right.
        None if not, as where rights go by subject. (A Python filter would hold the GIL at each visit, and a mask of all
        rows costs as much as the walk.)"""
        assert self._graph is not None
        fetch = (
            count if allowed is None else min(len(self), math.ceil((1.5 if share < 0.8 else 1.1) * count / share) + 16)
        )
        try:
            labels, distances = self._graph.knn_query(query[None], k=fetch, num_threads=1)
        except RuntimeError:  # "Cannot return the results": fewer than k could be reached
            return None
        rows, similarity = labels[0].astype(np.int64), (1 - distances[0]).astype(np.float32)
        if allowed is not None:
            kept = allowed[rows if owner is None else owner[rows]]
            rows, similarity = rows[kept], similarity[kept]
        return (rows[:count], similarity[:count]) if len(rows) >= count else None


def _breadth(rows: int) -> int:
    """Of a walk (ef), at least: one for more rows than that is as broad as those are many. As broad for a million rows
    as for a hundred thousand, it missed 6 of 100 of the nearest."""
    return round(SEARCH_BREADTH * max(1.0, math.sqrt(rows / BROADER_FROM)))


def _graph(dim: int) -> hnswlib.Index:
    """A fresh one: to load into one that is in use frees its memory twice."""
    return hnswlib.Index(space="ip", dim=dim)


def _checked(vectors: Matrix, name: str) -> Matrix:
    if vectors.ndim != 2 or 0 in vectors.shape or vectors.dtype != np.float32:
        raise SearchFailed(f"{name} must be float32 [rows, dim], not {vectors.dtype} {list(vectors.shape)}")
    is_unit = np.abs(np.linalg.norm(vectors, axis=1) - 1) <= UNIT_TOLERANCE  # NaN is not
    if not is_unit.all():
        raise SearchFailed(f"{name} must be of unit length; row {int(np.argmin(is_unit))} is not")
    return np.ascontiguousarray(vectors)
