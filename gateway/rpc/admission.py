"""Permits: how many questions may be in flight. Refuses before work, and knows when the last one has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import Overloaded, Unavailable


class Admission:
    """Counts questions in flight. All methods on the event loop; `in_flight` may be read from any thread."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self._closed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def permit(self, questions: int = 1) -> Iterator[None]:
        """Hold room for that many questions. Raises Overloaded, or Unavailable once closed.

        A batch wider than the limit counts as the limit: it is admitted when nothing else is in flight, not never.
        """
        cost = min(questions, self.limit)
        if self._closed.is_set():
            raise Unavailable("the server is stopping")
        if self.in_flight + cost > self.limit:
            raise Overloaded(f"{self.in_flight} questions in flight, limit {self.limit}")
        self.in_flight += cost
        self._idle.clear()
        try:
            yield
        finally:
            self.in_flight -= cost
            if not self.in_flight:
                self._idle.set()

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        """Refuse everything from now on; what holds a permit goes on."""
        self._closed.set()

    async def closed(self) -> None:
        """Wait for `close`."""
        await self._closed.wait()

    async def idle(self) -> None:
        """Wait until nothing is in flight."""
        await self._idle.wait()
