"""The life of one replica: bind, serve, drain, stop. One event loop, one gRPC server, one admin port or socket."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from aiohttp import web
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from gateway.access.watched import keep_looking
from gateway.audit.log import AuditLog
from gateway.config import Config
from gateway.knowledge.watching import Watching
from gateway.rpc import hangup
from gateway.rpc.accepting import SERVERS, Servers
from gateway.rpc.admin import Admin
from gateway.rpc.admission import Admission, terms_of
from gateway.rpc.binding import LAST_REPLIES, check_exposure, check_free, in_url, not_bound, options_of
from gateway.rpc.callers import Callers
from gateway.rpc.connect import Connect
from gateway.rpc.credentials import authority_of
from gateway.rpc.editing import Editing
from gateway.rpc.feedback import Feedback
from gateway.rpc.feeds import feed_handler
from gateway.rpc.guard import Guard
from gateway.rpc.handler import Door, Limits, unary_handler
from gateway.rpc.inference.servicer import INFERENCE, Inference
from gateway.rpc.manager import Manager
from gateway.rpc.observing import Observer
from gateway.rpc.page.asking import Asking
from gateway.rpc.page.visitors import Visitors
from gateway.rpc.reach import Reach
from gateway.rpc.reading import Reading
from gateway.rpc.service import Edited, Gateway, Preparable
from gateway.rpc.servicers import ANSWERS, KNOWLEDGE, Answers, Knowledge
from gateway.rpc.settings import Settings
from gateway.rpc.streams import stream_handler
from gateway.rpc.tls import Tls
from gateway.rpc.validate import Rules
from gateway.telemetry.access import Reloaded
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.traces import Tracing

WATCH_PERIOD = 0.25
"""Seconds between looks at the event loop's lag and at whether there is anything that can answer."""
LATE = 0.5
"""Seconds for calls that were on their way when callers were sent away, and for the last answers to be sent. Then those
are cut off who watch its health, for ever."""
MAX_MESSAGE_BYTES = 4 * 2**20
OPTIONS: tuple[tuple[str, int], ...] = (
    # Our own servers share the port, and so do workers. That nobody else listens there is checked before: of two that
    # share it each would get half of the connections, without a word.
    ("grpc.so_reuseport", 1),
    ("grpc.max_concurrent_streams", 256),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 16_384),
    ("grpc.absolute_max_metadata_size", 20_480),
    ("grpc.max_allowed_incoming_connections", 4000 // SERVERS),
    # Closes sockets that connect and never speak HTTP/2.
    ("grpc.server_handshake_timeout_ms", 5000),
    ("grpc.max_connection_idle_ms", 300_000),
    # Clients resolve names only when they reconnect: this is how they find replicas that were added. What a connection
    # of that age has in hand is not cut: calls have deadlines, and streams end themselves.
    ("grpc.max_connection_age_ms", 600_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # The default is 5 minutes, and clients that ping more often are sent away (ENHANCE_YOUR_CALM).
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
    ("grpc.server_max_unrequested_time_in_server", 5),
)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where it listens, after any 0 was replaced. `admin` is 0 where that is a socket in the file system."""

    host: str
    grpc: int
    admin: int


@dataclass(frozen=True, slots=True)
class Place:
    """One of several replicas on a port, which a supervisor holds for them. `abandoned` is set when that is gone."""

    admin_socket: Path
    abandoned: asyncio.Event


class Server:
    """Serves `gateway`, which it does not close. Make it inside the running loop.

    `preparable`: what the admin port may ask for another bundle; None for a gateway that has no other. `place`: None
    for a server that has its ports for itself. `edited`: the stored collections; None where there are none.
    `audit`: the log of answers, which it does not close either; None where none is kept. `tracing`: likewise; None
    where no span is made. `read`: the settings again, from where `config` came.
    """

    def __init__(
        self,
        gateway: Gateway,
        config: Config,
        metrics: Metrics,
        preparable: Preparable | None = None,
        place: Place | None = None,
        edited: Edited | None = None,
        audit: AuditLog | None = None,
        tracing: Tracing | None = None,
        read: Callable[[], Config] | None = None,
    ) -> None:
        check_exposure(config)
        count = partial(metrics.access.reloaded, Reloaded.SETTINGS)
        self._settings = Settings(config, read or (lambda: config), self._use, count)
        self._observer = Observer(tracing or Tracing(metrics.traces), config.log)
        self._audit = audit
        self._place = place
        self._edited = edited
        self._gateway = gateway
        self._preparable = preparable
        self._config = config.server
        self._metrics = metrics
        self._admission = Admission(terms_of(config), gateway.forecast)
        self._is_open = False
        self._health = health.aio.HealthServicer()
        self._servers = Servers(OPTIONS)
        self._tls = Tls(config.tls, metrics.access) if config.tls.is_on else None
        self._authority = authority_of(config, metrics.access)
        admin = Admin(gateway, metrics, self._admission, self._is_ready, preparable, place is not None, audit)
        self._http = admin
        self._options = [*options_of(config)]
        self._application = Guard(self._authority).over(admin.application())
        self._admin = web.AppRunner(self._application, access_log=None, shutdown_timeout=LAST_REPLIES)
        self._application.router.add_post("/settings", self._settings.post)
        self._watching: list[asyncio.Task[None]] = []
        metrics.watch_in_flight(lambda: self._admission.in_flight)
        metrics.watch_queue(gateway.waiting)
        metrics.watch_shed_level(self._admission.level)
        self._register(gateway, config)

    def _register(self, gateway: Gateway, config: Config) -> None:
        rules = Rules(
            collections=tuple(gateway.collections()),
            default_collection=gateway.default_collection,
            default_policy=config.cascade.default_policy,
            max_question_chars=self._config.max_question_chars,
            stored=self._edited.stored if self._edited else lambda tenant, name: "",
        )
        callers = Callers(self._authority, self._metrics.access)
        self._door = door = Door(self._metrics, callers, self._admission, _limits(config), self._observer)
        answers = Answers(gateway, rules, self._admission, self._metrics, audit=self._audit)
        feedback = Feedback(self._audit, self._admission, self._metrics)
        knowledge = Knowledge(gateway, rules, self._admission, self._metrics)
        reach = Reach(self._edited)
        watching = Watching(self._edited.store) if self._edited else None
        editing = Editing(gateway, reach, self._admission, watching.wake if watching else lambda: None)
        reading = Reading(gateway, reach, watching, config.knowledge.tenant_watchers)
        inference = Inference(
            gateway,
            answers.answered,
            self._admission,
            self._is_ready,
            most_characters=self._config.max_question_chars,
            is_believed=self._authority is None,
        )
        unary = (*knowledge.methods(), *editing.methods(), *reading.methods())
        self._servers.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    ANSWERS,
                    {one.name: unary_handler(one, door) for one in (*answers.methods(), *feedback.methods())}
                    | {one.name: stream_handler(one, door) for one in answers.streams()},
                ),
                grpc.method_handlers_generic_handler(
                    KNOWLEDGE,
                    {one.name: unary_handler(one, door) for one in unary}
                    | {one.name: stream_handler(one, door) for one in editing.streams()}
                    | {one.name: feed_handler(one, door) for one in reading.feeds()},
                ),
                grpc.method_handlers_generic_handler(
                    INFERENCE,
                    {one.name: unary_handler(one, door) for one in inference.methods()}
                    | {one.name: stream_handler(one, door) for one in inference.streams()},
                ),
            )
        )
        for server in self._servers.each:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        handled = [(one, unary_handler(one, door)) for one in (*answers.methods(), *feedback.methods(), *unary)]
        asked = next(handler for method, handler in handled if method.name == "Answer")
        self._application.add_routes(Asking(asked).routes())
        self._application.add_routes(Connect(handled, Visitors(self._config.json_origins)).routes())
        if self._config.reflection:
            services = (ANSWERS, KNOWLEDGE, health.SERVICE_NAME, reflection.SERVICE_NAME)
            for server in self._servers.each:
                reflection.enable_server_reflection(services, server)

    def _use(self, config: Config) -> None:
        """Of what is `settings.CHANGEABLE`, which is all that differs."""
        self._admission.renew(terms_of(config))
        self._door.limits = _limits(config)
        self._observer.renew(config.log, config.trace.share)

    def is_live(self) -> bool:
        """See `Admin.livez`."""
        return self._http.is_live()

    def on_hangup(self) -> None:
        """Read the settings again."""
        self._settings.on_hangup()

    async def start(self) -> Ports:
        """Bind both ports and become ready. Raises ConfigInvalid if one is taken or the host is not ours."""
        port = self._bind_grpc()
        await self._admin.setup()
        try:
            await self._admin_site().start()
        except OSError as error:
            await self._admin.cleanup()
            await self._servers.stop(None)
            raise not_bound("admin_port", self._config.admin_port, self._config, error.strerror or "") from None
        await self._servers.start()
        self._http.target = {"address": f"{in_url(self._config.host)}:{port}", "options": self._options}
        await self._set_health(is_serving=True)
        self._is_open = True
        files = [*([self._tls.watched] if self._tls else []), *(self._authority.watched if self._authority else [])]
        if self._place is None:
            self._watching = [asyncio.create_task(self._http.live.run())]
        self._watching += [asyncio.create_task(self._watch()), asyncio.create_task(keep_looking(files))]
        return Ports(self._config.host, port, 0 if self._place else int(self._admin.addresses[0][1]))

    def _is_ready(self) -> bool:
        return self._is_open and self._gateway.describe().can_answer

    def _admin_site(self) -> web.BaseSite:
        if self._place is not None:
            return web.UnixSite(self._admin, str(self._place.admin_socket))
        return web.TCPSite(self._admin, self._config.admin_host, self._config.admin_port)

    def _bind_grpc(self) -> int:
        if self._place is None:
            check_free(self._config)
        try:
            credentials = self._tls.credentials if self._tls else None
            return self._servers.add_port(in_url(self._config.host), self._config.port, credentials)
        except RuntimeError:
            raise not_bound("port", self._config.port, self._config, "") from None

    async def drain(self) -> None:
        """Say NOT_SERVING, wait for load balancers to see it, send callers away, and let what they have begun finish.

        They are sent away by HTTP/2's GOAWAY, on which gRPC makes its next calls elsewhere by itself, and not by
        refusals: those are failures to a client, and after five in a row it tries nothing again (measured: 6 of 379
        calls failed at a stop, none of some thousand since). So what still comes is answered."""
        self._is_open = False
        self._settle()
        await self._set_health(is_serving=False)
        await asyncio.sleep(self._config.drain_delay_seconds)
        leaving = asyncio.create_task(self._servers.stop(self._config.drain_seconds))
        await asyncio.sleep(0)  # GOAWAY first: a stream that ends before it is opened again right here
        self._admission.end_streams()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._admission.idle(), self._config.drain_seconds)
        await self._servers.stop(LATE)
        await leaving
        self._admission.close()

    async def stop(self) -> None:
        """Close everything now; calls still in flight are cut off. Also right after a failed start."""
        self._is_open = False
        self._settle()
        for task in self._watching:
            task.cancel()
        await self._servers.stop(None)
        await self._admin.cleanup()

    def _settle(self) -> None:
        """First of all: who waits for a bundle to load would hold the admin port for as long as that takes."""
        if self._preparable is not None:
            self._preparable.settle()

    async def _set_health(self, is_serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if is_serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", ANSWERS, KNOWLEDGE, INFERENCE):
            await self._health.set(service, status)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        is_serving = True
        while True:
            due = loop.time() + WATCH_PERIOD
            await asyncio.sleep(WATCH_PERIOD)
            self._metrics.loop_lag(max(0.0, loop.time() - due))
            if self._is_open and is_serving != self._is_ready():
                is_serving = not is_serving
                await self._set_health(is_serving)


def _limits(config: Config) -> Limits:
    return Limits(config.server.default_timeout_ms / 1000, config.server.max_timeout_ms / 1000)


async def serve(
    gateway: Gateway,
    config: Config,
    metrics: Metrics,
    on_start: Callable[[Ports], None],
    preparable: Preparable | None = None,
    place: Place | None = None,
    edited: Edited | None = None,
    audit: AuditLog | None = None,
    tracing: Tracing | None = None,
    read: Callable[[], Config] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the drain. Raises ConfigInvalid for a port. A
    service manager is told of it, in a `place` by the supervisor.

    In a `place` no signal ends the drain: whoever stops all processes of a service sends a worker one of its own beside
    its supervisor's. That it is abandoned ends it, and at once.
    """
    server = Server(gateway, config, metrics, preparable, place, edited, audit, tracing, read)
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    hangup.answer(server.on_hangup if place is None else None)
    manager = Manager.of() if place is None else Manager("")
    watched = asyncio.create_task(manager.watched(server.is_live))
    try:
        on_start(await server.start())
        manager.ready()
        if place is None:
            await signals.get()
            manager.stopping()
            await _first(server.drain(), signals.get())
        else:
            await _first(signals.get(), place.abandoned.wait())
            if not place.abandoned.is_set():
                await _first(server.drain(), place.abandoned.wait())
    finally:
        watched.cancel()
        await server.stop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _first(*ends: Coroutine[Any, Any, object]) -> None:
    """Wait for one of them, and cancel the others."""
    tasks = [asyncio.create_task(end) for end in ends]
    _, unfinished = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in unfinished:
        task.cancel()
    await asyncio.gather(*unfinished, return_exceptions=True)
