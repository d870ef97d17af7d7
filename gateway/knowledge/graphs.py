"""The one home of hnswlib and faiss: graphs (HNSW) that are walked to the rows nearest to a question.

Both check little, so a graph is built once, whole, and `vectors.VectorIndex` alone asks it, with what it has checked:
a query of the wrong width overruns hnswlib's heap, and a file that was altered ends the process with either.

For what is in memory alone hnswlib, which walks the vectors as they are. For what is kept on disk faiss, which walks
codes of 8 bits a value: a third of the memory and as fast, in a file that is mapped, and no call of it holds the
interpreter, where hnswlib does while it writes or reads one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import hnswlib
import numpy as np
from numpy.typing import NDArray

from gateway.types import Matrix, Vector

logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells of each way of loading itself that it tries
import faiss  # noqa: E402 - it is told while it is imported

Rows = NDArray[np.int64]
GoOn = Callable[[], None]
LINKS, BUILD_BREADTH, SEARCH_BREADTH = 16, 200, 60
"""M, efConstruction and efSearch, as those who invented it call them."""
BROADER_FROM = 50_000
"""Rows from which a walk is broader than that."""
ADDED = 1024
"""Rows that are added in one go: half a second."""
PIECE = 1 << 18
"""Bytes of a file that are handed over together."""
CODES = f"faiss {faiss.__version__}, M {LINKS}, efConstruction {BUILD_BREADTH}, 8 bits"
"""How graphs of codes are made and written; files of another way are not read."""


class Graph(Protocol):
    """Of unit vectors, which are known by their rows. Nothing changes once it is built, so that several threads may ask
    it at once."""

    def nearest(self, query: Vector, count: int) -> Rows:
        """At most `count` rows, nearest first; fewer where no more were reached. `query`: finite float32 [dim],
        `count`: at least 1, and no more than there are rows."""


class FloatGraph:
    """In memory alone."""

    def __init__(self, vectors: Matrix, go_on: GoOn = lambda: None) -> None:
        """Raises what `go_on` raises, which is called now and then."""
        self._index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        self._index.init_index(max_elements=len(vectors), ef_construction=BUILD_BREADTH, M=LINKS, random_seed=1)
        for at in range(0, len(vectors), ADDED):
            go_on()
            some = vectors[at : at + ADDED]
            # One thread: with more, hnswlib starts and joins threads for each call.
            self._index.add_items(some, np.arange(at, at + len(some)), num_threads=1)
        self._index.set_ef(breadth(len(vectors)))

    def nearest(self, query: Vector, count: int) -> Rows:
        try:
            labels, _ = self._index.knn_query(query[None], k=count, num_threads=1)
        except RuntimeError:  # "Cannot return the results": fewer than `count` were reached, and it gives none
            return np.empty(0, np.int64)
        return np.asarray(labels[0], np.int64)


class CodeGraph:
    """In memory where it was built, mapped where it was read: memory that the kernel can take back. Of rows that are
    nearly as near, one may come before the other that should not: codes are rounded."""

    def __init__(self, vectors: Matrix, go_on: GoOn = lambda: None) -> None:
        """Raises what `go_on` raises, which is called now and then."""
        faiss.omp_set_num_threads(1)  # this one alone: questions are answered meanwhile
        dim, bits = vectors.shape[1], faiss.ScalarQuantizer.QT_8bit
        self._index = faiss.IndexHNSWSQ(dim, bits, LINKS, faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = BUILD_BREADTH
        self._index.train(vectors)  # between which values those of each dimension lie
        for at in range(0, len(vectors), ADDED):
            go_on()
            self._index.add(vectors[at : at + ADDED])
        self._index.hnsw.efSearch = breadth(len(vectors))

    @classmethod
    def read(cls, path: Path, rows: int, dim: int) -> CodeGraph:
        """What `write` has written, mapped. A file that is not that ends the process: it must have been checked. Raises
        OSError, and ValueError for one of other `rows` or another `dim`."""
        path.stat()  # faiss raises the same whatever is wrong
        made = cls.__new__(cls)
        try:
            made._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise ValueError(f"{path}: {error}") from error
        if (made._index.ntotal, made._index.d) != (rows, dim):
            raise ValueError(f"{path}: is of {made._index.ntotal} x {made._index.d}, not {rows} x {dim}")
        made._index.hnsw.efSearch = breadth(rows)
        return made

    def write(self, write: Callable[[bytes], object]) -> None:
        """All of it, in pieces, one after the other. Raises what `write` raises."""
        faiss.write_index(self._index, faiss.PyCallbackIOWriter(write, PIECE))

    def nearest(self, query: Vector, count: int) -> Rows:
        _, found = self._index.search(query[None], count)
        return np.asarray(found[0][found[0] >= 0], np.int64)  # -1 where no more were reached


def breadth(rows: int) -> int:
    """Of a walk, at least: one for more rows than that is as broad as those are many. As broad for a million rows as
    for a hundred thousand, it missed 6 of 100 of the nearest."""
    return round(SEARCH_BREADTH * max(1.0, math.sqrt(rows / BROADER_FROM)))
