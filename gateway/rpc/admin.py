"""The HTTP port for people and probes: /metrics, /livez, /readyz, /status; the page, and what `changes` adds."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.metadata
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from gateway.audit.log import AuditLog
from gateway.rpc.admission import Admission
from gateway.rpc.changes import Changes, Steps
from gateway.rpc.guard import MAX_BODY_BYTES
from gateway.rpc.page import files
from gateway.rpc.page.live import Live
from gateway.rpc.service import Gateway, Preparable
from gateway.telemetry.live.counts import read
from gateway.telemetry.live.history import Levels, Reading
from gateway.telemetry.metrics import CollectionFigures, Metrics

HUNG = 10.0
"""Seconds: a pass takes milliseconds, and one that has taken so many is on a device that will not answer any more."""


class Admin:
    """`is_ready` is asked at every probe. `is_worker`: who asks for another bundle asks several of these at once."""

    def __init__(
        self,
        gateway: Gateway,
        metrics: Metrics,
        admission: Admission,
        is_ready: Callable[[], bool],
        preparable: Preparable | None = None,
        is_worker: bool = False,
        audit: AuditLog | None = None,
    ) -> None:
        self._audit = audit
        self._gateway = gateway
        self._preparable = preparable
        self._is_worker = is_worker
        self._metrics = metrics
        self._admission = admission
        self._is_ready = is_ready
        self._started = time.monotonic()
        self._version = importlib.metadata.version("cascade-gateway")
        self.target: dict[str, object] = {}
        """Where gRPC is served, once it is, and what `gateway ask` has to be told besides."""
        self.live = Live(self.reading, self.described)

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_get("/metrics", self.metrics)
        application.router.add_get("/livez", self.livez)
        application.router.add_get("/readyz", self.readyz)
        application.router.add_get("/status", self.status)
        if self._preparable is not None:
            changes = Steps(self._preparable) if self._is_worker else Changes(self._preparable)
            application.router.add_routes(changes.routes())
        if self._is_worker:
            application.router.add_get("/reading", self.reading_of)
        else:
            application.router.add_routes((*files.routes(), *self.live.routes()))
        return application

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus text, or OpenMetrics if asked for."""
        now = self._gateway.describe()
        self._metrics.set_model(
            bundle=now.bundle,
            sha256=now.bundle_sha256,
            provider=now.provider,
            precision=now.precision,
            loaded=now.loaded,
            threshold=now.threshold,
            certificate=now.certificate.value,
            certified_risk=now.certified_risk,
            certified_oos_share=now.certified_oos_share,
            degraded=now.degraded,
        )
        self._metrics.set_knowledge(
            (CollectionFigures(each.name, each.documents, each.passages, each.version) for each in now.collections),
            now.stored,
            now.probe,
        )
        self._metrics.set_shadow(now.shadow)
        self._metrics.set_drift(now.drift)
        self._metrics.set_breakers(now.breakers)
        self._metrics.set_workload(self._gateway.workload())
        self._metrics.set_audit(self._audit.figures() if self._audit else None)
        # Rendering takes about 0.1 ms for each histogram child: in a thread, so that no answer waits for all of them.
        body, content_type = await asyncio.to_thread(self._metrics.render, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def livez(self, _: web.Request) -> web.Response:
        """200 as long as the event loop turns and no pass of the model hangs: neither mends itself."""
        if self.is_live():
            return web.Response(text="live\n")
        return web.Response(status=503, text=f"a pass of the model has not ended for {HUNG:g} s: start it again\n")

    def is_live(self) -> bool:
        return self._gateway.describe().stuck_seconds < HUNG

    async def readyz(self, _: web.Request) -> web.Response:
        """200 while questions are welcome, 503 before, while draining, and where the model's device is lost without a
        fallback. With one it is 200, and says so: another replica is better, this one is not useless."""
        if self._is_ready():
            degraded = self._gateway.describe().degraded
            return web.Response(text=f"ready, degraded: {degraded.value}\n" if degraded else "ready\n")
        return web.Response(status=503, text="not ready\n")

    async def status(self, _: web.Request) -> web.Response:
        """What is being served, as JSON."""
        return web.json_response(await self.described())

    async def described(self) -> dict[str, Any]:
        """The content of `status`."""
        return {
            "version": self._version,
            "target": self.target,
            "ready": self._is_ready(),
            "uptime_seconds": round(time.monotonic() - self._started, 3),
            "in_flight": self._admission.in_flight,
            "max_in_flight": self._admission.limit,
            "queued_seconds": round(self._gateway.workload().queued_seconds, 4),
            "shed_level": round(self._admission.level(), 2),
            "default_collection": self._gateway.default_collection,
            **dataclasses.asdict(self._gateway.describe()),
        }

    async def reading_of(self, _: web.Request) -> web.Response:
        """For the supervisor of this worker, which has a clock of its own."""
        return web.json_response(dataclasses.asdict(await self.reading(0.0)))

    async def reading(self, at: float) -> Reading:
        """What is counted, and what stands at some value, for `page.live`."""
        work = self._gateway.workload()
        self._metrics.set_workload(work)
        levels = Levels(
            in_flight=self._admission.in_flight,
            max_in_flight=self._admission.limit,
            waiting=self._gateway.waiting(),
            queued_seconds=round(work.queued_seconds, 4),
            shed_level=self._admission.level(),
        )
        return Reading(at, await read(self._metrics.registry), levels)
