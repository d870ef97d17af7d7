"""What one writes in an afternoon: one hnswlib graph, and a Python function that says what may be found."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import hnswlib
import numpy as np

from loadtest.vector_stores.world import GROUPS, TOP, Matrix, World

LINKS, BUILD_BREADTH, SEARCH_BREADTH = 16, 200, 100  # as ours


class Naive:
    settings = f"hnswlib: M {LINKS}, ef_construction {BUILD_BREADTH}, ef {SEARCH_BREADTH}, filter in Python"
    promise = "nothing: in memory alone"
    is_durable = False

    def __init__(self, folder: Path, world: World) -> None:
        self._world = world
        self._file = folder / "graph"
        self._permitted = {group: world.permitted(group) for group in GROUPS}
        count, width = world.vectors().shape
        self._graph = hnswlib.Index(space="ip", dim=width)
        self._graph.init_index(max_elements=count, M=LINKS, ef_construction=BUILD_BREADTH)
        self._graph.set_ef(SEARCH_BREADTH)

    async def load(self) -> None:
        """There is no taking in without building."""

    async def index(self) -> None:
        self._graph.add_items(self._world.vectors())
        self._graph.save_index(str(self._file))

    def search(self, vector: Matrix, tenant: int, group: str) -> Sequence[int]:
        may = (self._world.tenants == tenant) & self._permitted[group]
        count = min(TOP, int(may.sum()))
        try:
            found, _ = self._graph.knn_query(vector, k=count, num_threads=1, filter=may.tolist().__getitem__)
        except RuntimeError:  # fewer were reached, and then it gives none
            return []
        return [int(one) for one in found[0]]

    async def write(self, number: int, row: int, vector: Matrix) -> None:
        self._graph.add_items(vector, np.array([number]), num_threads=1)

    def write_lightly(self, number: int, vector: Matrix) -> bool:
        return False

    def processes(self) -> list[int]:
        return [os.getpid()]

    async def close(self) -> None: ...


opened = Naive
