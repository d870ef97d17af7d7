"""POST /ask of a server with workers: each question to one of them, and its answer back."""

from __future__ import annotations

from itertools import count

from aiohttp import web

from gateway.errors import Unavailable
from gateway.rpc.guard import ASKING
from gateway.rpc.page.asked import PRIVATE, asked, refusal
from gateway.workers.fleet import Fleet

GRACE = 1.0
"""Seconds beyond a question's own, for what a worker says when they are over."""


class Forwarding:
    """They take turns."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._turns = count()

    def routes(self) -> list[web.RouteDef]:
        return [web.post(ASKING, self.ask)]

    async def ask(self, request: web.Request) -> web.Response:
        """As `page.asking`."""
        wanted = await asked(request)
        ready = self._fleet.ready()
        if not ready:
            return refusal("UNAVAILABLE", "no worker is ready", "UNAVAILABLE")
        process = ready[next(self._turns) % len(ready)]
        credentials = {name: request.headers[name] for name in ("Authorization",) if name in request.headers}
        seconds = wanted.timeout_ms / 1000 + GRACE
        try:
            reply = await process.post(ASKING, wanted.model_dump(mode="json"), seconds, credentials)
        except Unavailable as error:
            return refusal("UNAVAILABLE", str(error), "UNAVAILABLE")
        return web.Response(status=reply.status, text=reply.text, content_type="application/json", headers=PRIVATE)
