"""An immutable index of unit vectors: by scan, or by a graph of which every misuse is fenced off.

hnswlib and faiss check little. So an index is built once, whole, from checked vectors; queries are checked against the
width it was built with; what the graph cannot deliver is found by exact scan. What codes round off is put right by
whoever asks for `similarities`, which are of the vectors themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gateway.errors import SearchFailed
from gateway.knowledge.graphs import CodeGraph, FloatGraph, GoOn, Graph, Rows
from gateway.types import Matrix, Vector

Owners = NDArray[np.int32]
Build = Callable[[Matrix, GoOn], Graph]

EXACT_UP_TO = 1024
"""Up to this many rows a scan of all of them is faster than walking the graph, and misses nothing: 1,024 rows of 384
take 22 us of a core where the walk to 50 of 566 takes 54 (Zen 4)."""

UNIT_TOLERANCE = 1e-3

LEAST_SHARE = 0.1
"""Of the rows that are allowed, from which the graph is tried."""


class VectorIndex:
    """Nearest rows by cosine. Safe to search from several threads, since nothing changes after construction."""

    def __init__(
        self,
        vectors: Matrix,
        exact_up_to: int = EXACT_UP_TO,
        go_on: GoOn = lambda: None,
        build: Build = FloatGraph,
    ) -> None:
        """`vectors`: float32 [rows, dim], each of unit length. Beyond so many, a graph is built of them by `build`.
        Raises SearchFailed if they are not, and what `go_on` raises, which is called now and then."""
        self._vectors = _checked(vectors, "vectors")
        self._graph = build(self._vectors, go_on) if len(vectors) > exact_up_to else None
        self._columns: Matrix | None = None

    @classmethod
    def kept(cls, vectors: Matrix, graph: Graph | None) -> VectorIndex:
        """Of vectors that were checked when they were written, and their graph. Exact without one."""
        made = cls.__new__(cls)
        made._vectors, made._graph, made._columns = vectors, graph, None
        return made

    @property
    def codes(self) -> CodeGraph | None:
        """What can be kept on disk beside the vectors."""
        return self._graph if isinstance(self._graph, CodeGraph) else None

    def joined(self, other: VectorIndex) -> VectorIndex:
        """Of this one's rows and then those of the other one, exact."""
        return VectorIndex.kept(np.concatenate([self._vectors, other._vectors]), None)

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
    ) -> Rows:
        """The nearest rows first, at most `count`, only where `allowed` [rows] is true, or with `owner` [rows] where
        that of a row's owner is. By graph, those that are nearly as near may change places.

        Raises SearchFailed for a query that is not float32 [dim] and finite.
        """
        self._check(query)
        share = 1.0 if allowed is None else np.count_nonzero(allowed) / max(1, len(allowed))
        if count <= 0 or not share:
            return np.empty(0, np.int64)
        if self._graph is not None and share >= LEAST_SHARE:
            found = self._by_graph(query, min(count, len(self)), share, allowed, owner)
            if found is not None:
                return found
        return self._exact(query, count, allowed if allowed is None or owner is None else allowed[owner])

    def similarities(self, query: Vector, rows: Rows) -> Vector:
        """The cosines of `query` with just these rows. Raises as `search`."""
        self._check(query)
        return np.asarray(self._vectors.take(rows, axis=0) @ query, np.float32)

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
            or not math.isfinite(np.vdot(query, query))  # in a tenth of the time that it takes to ask of each number
        ):
            raise SearchFailed(f"a query must be finite float32 [{self.dim}], not {query.dtype} {list(query.shape)}")

    def _exact(self, query: Vector, count: int, allowed: NDArray[np.bool_] | None) -> Rows:
        similarity = self._vectors @ query
        if allowed is not None:
            similarity = np.where(allowed, similarity, np.float32(-np.inf))
        count = min(count, len(self) if allowed is None else int(np.count_nonzero(allowed)))
        if not count:
            return np.empty(0, np.int64)
        rows = np.argpartition(-similarity, count - 1)[:count]
        return np.asarray(rows[np.argsort(-similarity[rows], kind="stable")], np.int64)

    def _by_graph(
        self, query: Vector, count: int, share: float, allowed: NDArray[np.bool_] | None, owner: Owners | None
    ) -> Rows | None:
        """Over-fetch, then keep the allowed: if enough are left, they are the nearest as far as the graph is right.
        None if not, as where rights go by subject. (A filter in Python would hold the interpreter at each visit, and a
        mask of all rows costs as much as the walk.)"""
        assert self._graph is not None
        fetch = (
            count if allowed is None else min(len(self), math.ceil((1.5 if share < 0.8 else 1.1) * count / share) + 16)
        )
        rows = self._graph.nearest(query, fetch)
        if allowed is not None:
            rows = rows[allowed[rows if owner is None else owner[rows]]]
        return rows[:count] if len(rows) >= count else None


def _checked(vectors: Matrix, name: str) -> Matrix:
    if vectors.ndim != 2 or 0 in vectors.shape or vectors.dtype != np.float32:
        raise SearchFailed(f"{name} must be float32 [rows, dim], not {vectors.dtype} {list(vectors.shape)}")
    is_unit = np.abs(np.linalg.norm(vectors, axis=1) - 1) <= UNIT_TOLERANCE  # NaN is not
    if not is_unit.all():
        raise SearchFailed(f"{name} must be of unit length; row {int(np.argmin(is_unit))} is not")
    return np.ascontiguousarray(vectors)
