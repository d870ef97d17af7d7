"""What is kept of the past, and for how long: superseded versions of documents, and the keys of requests.

Cleared in pieces, each a transaction of few rows, so that no write waits for long.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from typing import Protocol

from gateway.errors import GatewayError
from gateway.knowledge.rows import Rows, insert

log = logging.getLogger(__name__)

AT_ONCE = 200
"""Rows of one transaction: with texts of 8 kB some 12 ms, for which writes wait."""
KEY_SECONDS = 7 * 86_400.0
"""For so long a request's key is remembered."""
PERIOD = 3600.0
FIRST = 60.0
"""Seconds after the start: a process that is started more often than hourly clears too."""


class Clearable(Protocol):
    def clear(self, before: float) -> int: ...


async def keep_clear(store: Clearable, seconds: float, clock: Callable[[], float], period: float = PERIOD) -> None:
    """Clear what has been superseded for so long, now and then, until it is cancelled. `clock`: since the epoch."""
    await asyncio.sleep(min(FIRST, period))
    while True:
        try:
            if cleared := await asyncio.to_thread(store.clear, clock() - seconds):
                log.info("%d superseded versions of documents were cleared", cleared)
        except GatewayError as error:  # such as a full disk: it may be well in an hour
            log.warning("superseded versions were not cleared: %s", error)
        await asyncio.sleep(period)


def first_change_at(rows: Rows, moment: float) -> int:
    """The number of the first change that was not before that moment; of the next one if all were. Numbers have no
    gaps, so that few rows are looked at."""
    low, high = 1, 1 + int(rows("SELECT coalesce(max(seq), 0) FROM change")[0][0])
    while low < high:
        middle = (low + high) // 2
        row = rows.of("change", "WHERE seq = ?", middle)
        if row and row[0][5] >= moment:
            high = middle
        else:
            low = middle + 1
    return low


def clear_versions(connection: sqlite3.Connection, ended_before: int) -> int:
    """Some of the versions that ended before that change, oldest first, and their embeddings. How many."""
    rows = connection.execute(
        "SELECT tenant, collection, id, version, gone FROM document WHERE gone IS NOT NULL AND gone < ? "
        "ORDER BY gone LIMIT ?",
        (ended_before, AT_ONCE),
    ).fetchall()
    if not rows:
        return 0
    connection.executemany(
        "DELETE FROM document WHERE tenant = ? AND collection = ? AND id = ? AND version = ?",
        [row[:4] for row in rows],
    )
    for encoder in encoders(connection):
        connection.executemany(
            "DELETE FROM embedding WHERE encoder = ? AND version = ?", [(encoder, row[3]) for row in rows]
        )
    insert(connection, "meta", "cleared", str(rows[-1][4]), replaces=True)
    return len(rows)


def clear_keys(connection: sqlite3.Connection, before: float) -> int:
    """Some of the keys that were used before that moment. How many."""
    return connection.execute(
        "DELETE FROM request WHERE (tenant, collection, key) IN "
        "(SELECT tenant, collection, key FROM request WHERE at < ? ORDER BY at LIMIT ?)",
        (before, AT_ONCE),
    ).rowcount


def clear_orphans(connection: sqlite3.Connection) -> int:
    """Embeddings of versions that are not kept any more: they were made while those were cleared. Reads them all."""
    return connection.execute("DELETE FROM embedding WHERE version NOT IN (SELECT version FROM document)").rowcount


def clear_left_encoders(connection: sqlite3.Connection) -> dict[str, int]:
    """The vectors of encoders that searches do not go by, nor would if the last switch were taken back. How many
    documents' of each. Reads the whole log."""
    found = {}
    for encoder in sorted(set(encoders(connection)) - _needed(connection)):
        found[encoder] = connection.execute("DELETE FROM embedding WHERE encoder = ?", (encoder,)).rowcount
    return found


def _needed(connection: sqlite3.Connection) -> set[str]:
    """The two that the log was last switched to, and whichever embedded the newest document: gateways follow their
    settings, not the log. Of a single switch the log does not say from where: from one that embedded the newest
    document before it. Where there was none, nothing is known, and all are needed."""
    switches = connection.execute(
        "SELECT document, seq FROM change WHERE op = 'encoder' ORDER BY seq DESC LIMIT 2"
    ).fetchall()
    if not switches:
        return set(encoders(connection))
    before = switches[0][1]
    moments = [before] if len(switches) == 1 else []
    newest = [_embedders(connection, moment) for moment in (*moments, None)]
    return {encoder for encoder, _ in switches}.union(*newest)


def _embedders(connection: sqlite3.Connection, before: int | None) -> set[str]:
    """Of the newest document that is kept, or of the newest from before that change."""
    rows = connection.execute(
        "SELECT encoder FROM embedding WHERE version = "
        "(SELECT max(version) FROM document WHERE ?1 IS NULL OR version < ?1)",
        (before,),
    )
    return {encoder for (encoder,) in rows}


def encoders(connection: sqlite3.Connection) -> list[str]:
    """The names of those that have embedded anything. One look for each: there are few, and many embeddings."""
    found: list[str] = []
    while True:
        row = connection.execute(
            "SELECT min(encoder) FROM embedding WHERE encoder > ?", (found[-1] if found else "",)
        ).fetchone()
        if row[0] is None:
            return found
        found.append(str(row[0]))
