"""Questions over HTTP to a server with workers, from its page or as JSON: each to one of them, and its answer back."""

from __future__ import annotations

from itertools import count

from aiohttp import web

from gateway.errors import Unavailable
from gateway.rpc.guard import API, ASKING
from gateway.rpc.page.asked import PRIVATE, asked, refusal
from gateway.rpc.page.visitors import Visitors
from gateway.workers.fleet import Fleet
from gateway.workers.process import Process

BETWEEN = frozenset({"host", "connection", "content-length", "content-encoding", "transfer-encoding", "date", "server"})
"""Headers of one connection, or of a body as it travelled on it."""
NONE_READY = "no worker is ready"
LONGEST = 60.0
"""Seconds for an answer of a call: a worker's own deadlines are shorter."""
GRACE = 1.0
"""Seconds beyond a question's own, for what a worker says when they are over."""


class Forwarding:
    """They take turns."""

    def __init__(self, fleet: Fleet, visitors: Visitors) -> None:
        self._fleet = fleet
        self._visitors = visitors
        self._turns = count()

    def routes(self) -> list[web.RouteDef]:
        methods = f"{API}{{method:.+}}"
        return [web.post(ASKING, self.ask), web.post(methods, self.call), web.options(methods, self.call)]

    async def ask(self, request: web.Request) -> web.Response:
        """As `page.asking`."""
        wanted = await asked(request)
        if (process := self._next()) is None:
            return refusal("UNAVAILABLE", NONE_READY, "UNAVAILABLE")
        credentials = {name: request.headers[name] for name in ("Authorization",) if name in request.headers}
        seconds = wanted.timeout_ms / 1000 + GRACE
        try:
            reply = await process.post(ASKING, wanted.model_dump(mode="json"), seconds, credentials)
        except Unavailable as error:
            return refusal("UNAVAILABLE", str(error), "UNAVAILABLE")
        return web.Response(status=reply.status, text=reply.text, content_type="application/json", headers=PRIVATE)

    async def call(self, request: web.Request) -> web.Response:
        """As `connect`, of which a worker does everything but to see who may call."""
        self._visitors.check_calling(request)
        try:
            if (process := self._next()) is None:
                raise Unavailable(NONE_READY)
            headers = {name: value for name, value in request.headers.items() if name.lower() not in BETWEEN}
            came = await process.relay(request.method, request.path, await request.read(), headers, LONGEST)
        except Unavailable as error:
            found = {"code": "unavailable", "message": str(error)}
            return web.json_response(found, status=503, headers=PRIVATE | self._visitors.shown_to(request))
        kept = {name: value for name, value in came.headers.items() if name.lower() not in BETWEEN}
        return web.Response(status=came.status, body=came.body, headers=kept)

    def _next(self) -> Process | None:
        ready = self._fleet.ready()
        return ready[next(self._turns) % len(ready)] if ready else None
