"""The HTTP port of a server with workers: what one replica's port says, said of all of them together."""

from __future__ import annotations

import importlib.metadata
import os
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from gateway.config import ServerSection
from gateway.rpc.changes import Changes
from gateway.rpc.guard import MAX_BODY_BYTES
from gateway.rpc.page import files
from gateway.rpc.page.live import Live
from gateway.rpc.page.visitors import Visitors
from gateway.rpc.settings import Settings
from gateway.types import CertificateStatus
from gateway.workers.bundles import Bundles
from gateway.workers.drift import Spreading, together
from gateway.workers.fleet import Fleet, Worker
from gateway.workers.forwarding import Forwarding
from gateway.workers.survey import Survey

SHOWN = ("in_flight", "bundle", "bundle_sha256", "manifest_sha256", "provider", "degraded", "uptime_seconds")
"""Of each worker's own status."""
ADDED = ("in_flight", "max_in_flight")
SAME = ("bundle", "share")
"""Of a shadow's figures; all others are counts."""


class Admin:
    """The workers of `fleet`, asked at every request."""

    def __init__(self, fleet: Fleet, server: ServerSection, settings: Settings) -> None:
        self._fleet = fleet
        self._settings = settings
        self._visitors = Visitors(server.json_origins)
        self.least = server.ready_workers or server.workers
        self._survey = Survey(fleet)
        self.spreading = Spreading(fleet)
        self._changes = Changes(Bundles(fleet, self.spreading))
        self._started = time.monotonic()
        self.live = Live(self._survey.reading, self.described)

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_get("/metrics", self.metrics)
        application.router.add_get("/livez", self.livez)
        application.router.add_get("/readyz", self.readyz)
        application.router.add_get("/status", self.status)
        application.router.add_routes(self._changes.routes())
        application.router.add_post("/settings", self._settings.post)
        application.router.add_routes(
            (*files.routes(), *self.live.routes(), *Forwarding(self._fleet, self._visitors).routes())
        )
        return application

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus text, or OpenMetrics if asked for."""
        body, content_type = await self._survey.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def livez(self, _: web.Request) -> web.Response:
        """200 as long as this process, which starts workers again, turns."""
        return web.Response(text="live\n")

    async def readyz(self, _: web.Request) -> web.Response:
        """200 while enough workers take questions, 503 before, and while draining."""
        ready = await self._survey.ready()
        words = f"{ready} of {len(self._fleet.workers)} workers ready\n"
        return web.Response(status=200 if self._is_enough(ready) else 503, text=words)

    def _is_enough(self, ready: int) -> bool:
        return ready >= self.least and not self._fleet.is_draining

    async def status(self, _: web.Request) -> web.Response:
        """What is being served, as JSON: what a server without workers says, and a list of them."""
        return web.json_response(await self.described())

    async def described(self) -> dict[str, Any]:
        """The content of `status`."""
        statuses = await self._survey.statuses()
        ready = sum(bool(status.get("ready")) for _, status in statuses)
        said = [status for _, status in statuses if status]
        return {
            # Replicas serve the same, so the first speaks for all; each may lose its device for itself.
            **(said[0] if said else {}),
            "shadow": _added([status["shadow"] for status in said if status.get("shadow")]),
            **_most_doubtful(said),
            "stale_parts": {part: why for status in said for part, why in status.get("stale_parts", {}).items()},
            "drift": together([status["drift"] for status in said if status.get("drift")]),
            "degraded": next((status["degraded"] for status in said if status.get("degraded")), None),
            "can_answer": any(status.get("can_answer", True) for status in said),
            **{key: sum(status.get(key, 0) for status in said) for key in ADDED},
            "version": importlib.metadata.version("cascade-gateway"),
            "ready": self._is_enough(ready),
            "uptime_seconds": round(time.monotonic() - self._started, 3),
            "pid": os.getpid(),
            "workers": [_shown(worker, status) for worker, status in statuses],
        }


def _most_doubtful(said: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The threshold and certificate of a worker that has gone stale, if any has: the others soon will."""
    stale = (status for status in said if status.get("certificate") == CertificateStatus.STALE)
    first = next(stale, {})
    return {name: first[name] for name in ("threshold", "certificate", "certificate_reason") if name in first}


def _added(shadows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """What all workers have seen of the same candidate, as if one had."""
    if not shadows:
        return None
    whole = shadows[0]
    for one in shadows[1:]:
        whole = {key: _sum(value, one.get(key)) if key not in SAME else value for key, value in whole.items()}
    return whole


def _sum(some: Any, more: Any) -> Any:
    """Of numbers, or of objects of numbers."""
    return Counter(some) + Counter(more or {}) if isinstance(some, dict) else some + (more or 0)


def _shown(worker: Worker, status: dict[str, Any]) -> dict[str, Any]:
    process = worker.process
    return {
        "worker": worker.number,
        "pid": None if process is None else process.pid,
        "socket": None if process is None else str(process.socket),
        "ready": bool(status.get("ready")),
        "restarts": worker.restarts,
        **{key: status.get(key) for key in SHOWN},
    }
