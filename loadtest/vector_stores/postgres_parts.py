"""pgvector as it is recommended for many tenants: a partition for each, with a graph of its own."""

from __future__ import annotations

from pathlib import Path

from loadtest.vector_stores.postgres import Postgres
from loadtest.vector_stores.world import World


def opened(folder: Path, world: World) -> Postgres:
    return Postgres(folder, world, parts=True)
