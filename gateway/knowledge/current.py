"""Everything that is current in a store, read as of one moment and held against what the log says it comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.knowledge import history
from gateway.knowledge.changes import Switched
from gateway.knowledge.history import Place
from gateway.knowledge.rows import Rows
from gateway.types import Document

PAGE = 1000
"""Documents that are read together: rows that are gone leave holes in memory."""


@dataclass(frozen=True, slots=True)
class Current:
    """As of the change `version`. `documents`: of each collection that there is, by their versions."""

    version: int
    switched: Switched | None
    documents: dict[Place, dict[int, Document]]


def current(rows: Rows, go_on: Callable[[], None]) -> Current:
    """`rows`: of one moment. `go_on` is called now and then; what it raises ends it.

    Raises StoreDamaged where a row is not as it was written, or one is missing, or an older one in its place.
    """
    change = rows.of("change", "ORDER BY seq DESC LIMIT 1")
    version, state = (change[0][0], change[0][6]) if change else (0, 0)
    documents: dict[Place, dict[int, Document]] = {}
    total = sum(
        row[-1]
        for some in (rows.of("collection"), rows.of("confidence"), rows.of("meta", "WHERE name = 'encoder'"))
        for row in some
    )
    for place in history.places(rows):
        found = documents[place] = {}
        after = ""
        while page := history.documents(rows, place, after, PAGE):
            go_on()
            total += sum(row[-1] for row in page)
            for one in map(history.stored, page):
                found[one.version] = one.document
            after = page[-1][2]
    if total != state:
        raise rows.damaged(
            f"what is current is not what change {version}, the last of its log, says: a row is missing, or an older "
            "one in its place, as where a write-ahead log was damaged after it was moved into the file",
        )
    return Current(version, history.switched(rows), documents)
