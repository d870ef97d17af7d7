"""Qdrant Edge: Qdrant's own storage and search in this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from loadtest.vector_stores.world import TOP, Matrix, World

LINKS, BUILD_BREADTH, SEARCH_BREADTH = 16, 200, 100  # as ours
FULL_SCAN_KB = 10_000  # its default
TOGETHER = 1000


class Qdrant:
    # Links within each tenant and group, none between: what it recommends where every question names its tenant.
    settings = (
        f"m 0, payload_m {LINKS}, ef_construct {BUILD_BREADTH}, hnsw_ef {SEARCH_BREADTH}, full_scan_threshold "
        f"{FULL_SCAN_KB} kB, float32 vectors, keyword indices: tenant (is_tenant), groups; optimize() once, before "
        "the searches"
    )
    promise = "fsync: update() and then flush(); update() alone is not on disk"
    is_durable = True

    def __init__(self, folder: Path, world: World) -> None:
        self._world = world
        hnsw = edge.HnswIndexConfig(m=0, ef_construct=BUILD_BREADTH, full_scan_threshold=FULL_SCAN_KB, payload_m=LINKS)
        vectors = edge.EdgeVectorParams(size=world.vectors().shape[1], distance=edge.Distance.Dot)
        self._shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(vectors=vectors, hnsw_config=hnsw))
        for name, is_tenant in (("tenant", True), ("groups", False)):
            schema = edge.KeywordIndexParams(is_tenant=is_tenant)
            self._shard.update(edge.UpdateOperation.create_field_index(name, schema))
        self._params = edge.SearchParams(hnsw_ef=SEARCH_BREADTH)

    async def load(self) -> None:
        vectors = self._world.vectors()
        for at in range(0, len(vectors), TOGETHER):
            some = range(at, min(at + TOGETHER, len(vectors)))
            points = [self._point(number, vectors[number]) for number in some]
            self._shard.update(edge.UpdateOperation.upsert_points(points))
        self._shard.flush()

    async def index(self) -> None:
        self._shard.optimize()

    def search(self, vector: Matrix, tenant: int, group: str) -> Sequence[int]:
        must = [
            edge.FieldCondition("tenant", match=edge.MatchValue(f"t{tenant}")),
            edge.FieldCondition("groups", match=edge.MatchAny([group])),
        ]
        asked = edge.SearchRequest(
            query=edge.Query.Nearest(vector.tolist()),
            limit=TOP,
            filter=edge.Filter(must=must),
            params=self._params,
            with_payload=False,
            with_vector=False,
        )
        return [one.id for one in self._shard.search(asked)]

    async def write(self, number: int, row: int, vector: Matrix) -> None:
        self.write_lightly(number, vector)
        self._shard.flush()

    def write_lightly(self, number: int, vector: Matrix) -> bool:
        self._shard.update(edge.UpdateOperation.upsert_points([self._point(number, vector)]))
        return True

    def _point(self, number: int, vector: Matrix) -> Any:
        payload = {"tenant": f"t{self._world.tenants[number]}", "groups": self._world.groups(number)}
        return edge.Point(number, vector.tolist(), payload)

    def processes(self) -> list[int]:
        return [os.getpid()]

    async def close(self) -> None:
        self._shard.close()


opened = Qdrant
