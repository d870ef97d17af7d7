"""GET /live: what the page and `gateway top` show, from readings of what is counted. Imports no gRPC."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from gateway.deadline import Clock
from gateway.rpc.page.asked import PRIVATE
from gateway.rpc.page.visitors import check_reading, refused
from gateway.telemetry.live.history import KEPT, History, Reading
from gateway.telemetry.live.view import view

SOONEST = 0.9
"""Seconds between two readings, however many ask."""
UNWATCHED = 5.0
"""Seconds between them while nobody asks: whoever comes then sees the minutes before."""
SPAN = 60.0
"""Seconds of what is shown as a whole, unless asked for otherwise."""

State = tuple[Reading, dict[str, Any]]


class Live:
    """`read`: what is counted and what stands at some value, at a time by `clock`. `describe`: as GET /status."""

    def __init__(
        self,
        read: Callable[[float], Awaitable[Reading]],
        describe: Callable[[], Awaitable[dict[str, Any]]],
        clock: Clock = time.monotonic,
    ) -> None:
        self._read = read
        self._describe = describe
        self._clock = clock
        self._history = History()
        self._reading = asyncio.Lock()
        self._serial = secrets.token_hex(4)

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/live", self.live)]

    async def run(self) -> None:
        """Keep the history going, until it is cancelled."""
        while True:
            await self._look(UNWATCHED - SOONEST)
            await asyncio.sleep(UNWATCHED)

    async def live(self, request: web.Request) -> web.Response:
        """{"serial", "at", "time", "status", "view", "points"}, of the last `span` seconds and the points after number
        `after`. Each point is `at` some second of the same clock as the whole; `time` is since 1970, as are times of
        the status. Another `serial` is another server, whose numbers begin anew."""
        check_reading(request)
        after, span = _number(request, "after", 0, 10**9), _number(request, "span", SPAN, KEPT)
        now = await self._look(SOONEST)
        counted, seconds = self._history.span(span)
        content = {
            "serial": self._serial,
            "at": round(now.at, 3),
            "status": await self._describe(),
            "time": time.time(),
            "view": view(counted, seconds),
            "points": self._history.points(int(after)),
        }
        return web.json_response(content, headers=PRIVATE)

    async def _look(self, oldest: float) -> Reading:
        """The last reading, or a new one where that is older than so many seconds."""
        async with self._reading:
            now, last = self._clock(), self._history.last
            if last is not None and now - last.at < oldest:
                return last
            found = await self._read(now)
            self._history.add(found)
            return found


def _number(request: web.Request, name: str, usual: float, most: float) -> float:
    """Raises HTTPBadRequest."""
    given = request.query.get(name, str(usual))
    try:
        number = float(given)
    except ValueError:
        number = float("nan")
    if not 0 <= number <= most:
        raise refused(web.HTTPBadRequest, f"{name}: give a number from 0 to {most:g}")
    return number
