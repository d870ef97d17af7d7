"""Tells who watches a collection what has changed in it: from the log, and so whoever wrote it.

What is told of a change depends on who may read the document before it, after it and now. So that nobody learns of what
it may not read, and everybody who could read something once learns that it is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Literal

from gateway.deadline import Clock
from gateway.errors import KnowledgeBehind, KnowledgeCleared, StoreFailed
from gateway.knowledge.changes import Changed, Stored
from gateway.knowledge.history import Place
from gateway.knowledge.library import may_read
from gateway.knowledge.store import Store
from gateway.types import Principal

log = logging.getLogger(__name__)

POLL = 0.05
"""Seconds between looks at whether another process has written, while somebody watches."""
WINDOW = 10_000
"""Changes of the log that are looked through at once: a few ms, in which nothing else is done."""
AT_ONCE = 64
"""Changes of the collection itself, likewise."""
SEEN_PERIOD = 60.0
"""Seconds after which a watcher that was told nothing hears how far that goes. Well below the age of a stream: the next
one goes on from there, and must not be asked for what is cleared by then."""


@dataclass(frozen=True, slots=True)
class Told:
    """One change, or that all up to this version has been told."""

    op: Literal["put", "delete", "end", "seen", "encoder"]
    document_id: str
    version: int
    encoder: str = ""
    """Its name, where that is what was changed."""


class Watching:
    """Of the collections in one store, on the event loop."""

    def __init__(self, store: Store, clock: Clock = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._watchers: dict[Place, list[asyncio.Event]] = {}
        self._woken = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Something was written here: need not wait until that is noticed."""
        self._woken.set()

    async def changes(self, place: Place, principal: Principal, after: int) -> AsyncGenerator[Told, None]:
        """What the principal may know of the changes after that version, until the collection ends.

        Raises KnowledgeBehind, KnowledgeCleared, StoreFailed.
        """
        with self._watched(place) as changed:
            position = self._begin(place, after)
            due = self._clock()
            while True:
                changed.clear()
                last = self._store.last()
                while position < last:
                    up_to = min(position + WINDOW, last)
                    for number, change in enumerate(self._store.changes_of(place, position, up_to), 1):
                        if number % AT_ONCE == 0:
                            await asyncio.sleep(0)
                        if (one := self._told(change, principal)) is not None:
                            yield one
                        if change.op == "drop":
                            return
                    position = up_to
                    await asyncio.sleep(0)  # others have their turn, and a caller who left is noticed
                # Not when something has changed of which nothing is told: that would tell that it has.
                if self._clock() >= due:
                    due = self._clock() + SEEN_PERIOD
                    yield Told("seen", "", position)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(due - self._clock()):
                        await changed.wait()

    def _begin(self, place: Place, after: int) -> int:
        """After which change to begin."""
        if not after:
            return self._store.since(place)
        if after > (last := self._store.last()):
            raise KnowledgeBehind(last, after)
        if after < self._store.cleared():
            raise KnowledgeCleared(after)
        return after

    def _told(self, change: Changed, principal: Principal) -> Told | None:
        if change.op == "drop":
            return Told("end", "", change.seq)
        if change.op == "encoder":
            return Told("encoder", "", change.seq, change.document_id)
        if change.op in ("create", "confidence"):
            return None
        around = self._store.around(change)
        if _may_read(around.written, principal):
            # If it may not be read now, what took it away comes later in the log, and is told as a deletion.
            return Told("put", change.document_id, change.seq) if _may_read(around.now, principal) else None
        if _may_read(around.before, principal):
            return Told("delete", change.document_id, change.seq)
        return None

    @contextlib.contextmanager
    def _watched(self, place: Place) -> Iterator[asyncio.Event]:
        changed = asyncio.Event()
        self._watchers.setdefault(place, []).append(changed)
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())
        try:
            yield changed
        finally:
            self._watchers[place].remove(changed)
            if not self._watchers[place]:
                del self._watchers[place]
            if not self._watchers and self._polling is not None:
                self._polling.cancel()
                self._polling = None

    async def _poll(self) -> None:
        stamp, known = -1, -1
        while True:
            try:
                if (now := self._store.stamp()) != stamp:
                    stamp, known = now, self._notify(known)
            except StoreFailed as error:  # each watcher hears of it when it reads; this goes on for the others
                log.warning("changes cannot be told: %s", error)
                for changed in [one for each in self._watchers.values() for one in each]:
                    changed.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self._woken.wait()
            self._woken.clear()

    def _notify(self, known: int) -> int:
        """Wake those whose collection has changed after that number. The number of the last change."""
        last = self._store.last()
        if last - known > WINDOW:  # also at first
            places = set(self._watchers)
        else:
            changes = self._store.changes(known, WINDOW)
            is_all = any(one.op == "encoder" for one in changes)
            places = set(self._watchers) if is_all else {(one.tenant, one.collection) for one in changes}
        for place in places:
            for changed in self._watchers.get(place, ()):
                changed.set()
        return last


def _may_read(stored: Stored | None, principal: Principal) -> bool:
    return stored is not None and may_read(stored.document, principal)
