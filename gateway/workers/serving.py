"""The life of the process that watches the workers: hold the port, start them, answer probes, drain, end.

It serves nothing itself and imports neither gRPC nor ONNX Runtime: workers are executed, not forked, and no fault of
theirs can be one of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from aiohttp import web

from gateway.access.authority import Authority
from gateway.access.watched import keep_looking
from gateway.config import Config, ServerSection
from gateway.rpc import hangup
from gateway.rpc.binding import LAST_REPLIES, check_free, family, not_bound
from gateway.rpc.credentials import authority_of
from gateway.rpc.guard import Guard
from gateway.rpc.manager import Manager
from gateway.rpc.service import Description
from gateway.rpc.settings import Settings
from gateway.workers.admin import Admin
from gateway.workers.bundles import DESCRIPTION
from gateway.workers.fleet import Fleet, SettingsRefused
from gateway.workers.pace import Pace

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "gateway", "serve", "--as-worker")
LONGEST_FOLDER = 60
"""Bytes. The path of a UNIX socket may have 107 in all."""

Announce = Callable[[int, int, Description], None]
"""Called once, when enough workers are ready, with the ports of gRPC and admin and with what is served."""


async def serve(
    config: Config,
    announce: Announce,
    read: Callable[[], Config] | None = None,
    command: Sequence[str] = COMMAND,
    pace: Pace | None = None,
) -> None:
    """Serve with workers until SIGTERM or SIGINT, then drain them; a second signal ends them at once. `read` reads the
    settings again, from where `config` came.

    Raises ConfigInvalid for a port, SettingsRefused, and Unavailable where a worker ends again and again.
    """
    with _held_port(config.server) as port, _private_folder() as folder:
        on_port = config.model_copy(update={"server": config.server.model_copy(update={"port": port})})
        fleet = Fleet(on_port, folder, command, pace or Pace.of(config.server))
        settings = Settings(config, read or (lambda: config), fleet.use)
        admin = Admin(fleet, config.server, settings)
        authority = authority_of(config)
        application = Guard(authority).over(admin.application())
        async with (
            _signals(settings.on_hangup) as signals,
            _listening(application, config.server) as admin_port,
            _looking(authority),
        ):

            async def announced() -> None:
                now = await _description(fleet, admin)
                manager.ready()
                try:
                    announce(port, admin_port, now)
                except OSError as error:  # nobody reads what we say; who asks is answered all the same
                    log.warning("cannot say where this server listens: %s", error)

            manager = Manager.of()
            watched = asyncio.create_task(manager.watched(lambda: True))  # hung workers are killed by this process
            announcing = asyncio.create_task(announced())
            spreading = asyncio.create_task(admin.spreading.run())
            looking = asyncio.create_task(admin.live.run())
            try:
                await _lived(fleet, signals, manager)
            finally:
                watched.cancel()
                announcing.cancel()
                spreading.cancel()
                looking.cancel()


async def _description(fleet: Fleet, admin: Admin) -> Description:
    """What is served, once enough workers are ready to say it."""
    while True:
        await fleet.wait_for_ready(admin.least)
        if "bundle" in (described := await admin.described()):
            return DESCRIPTION.validate_python(described)
        await asyncio.sleep(0.1)  # they have ended again in between


async def _lived(fleet: Fleet, signals: asyncio.Queue[int], manager: Manager) -> None:
    """From the first start to the last end."""
    running = asyncio.create_task(fleet.run())
    asked = asyncio.create_task(signals.get())
    try:
        await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done() or not isinstance(running.exception(), SettingsRefused):
            asked.cancel()
            manager.stopping()
            draining, again = asyncio.create_task(fleet.drain()), asyncio.create_task(signals.get())
            await asyncio.wait({draining, again}, return_when=asyncio.FIRST_COMPLETED)
            draining.cancel()
            again.cancel()
    finally:
        await fleet.end()
    await running


@contextmanager
def _held_port(server: ServerSection) -> Iterator[int]:
    """The port of gRPC, which nobody else gets as long as this lasts; workers may bind it besides.

    It is bound and does not listen, so the kernel sends no connection here. Raises ConfigInvalid if it is taken.
    """
    check_free(server)
    with ExitStack() as stack:
        try:
            holder = stack.enter_context(_bound(server, is_reused=False))
        except OSError:
            # Connections to the server before are still known. With this, others could bind the port besides until the
            # first worker listens; without it, we could not for a minute.
            try:
                holder = stack.enter_context(_bound(server, is_reused=True))
            except OSError as error:
                raise not_bound("port", server.port, server, error.strerror or "") from None
        yield int(holder.getsockname()[1])


def _bound(server: ServerSection, is_reused: bool) -> socket.socket:
    holder = socket.socket(family(server.host))
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, is_reused)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, True)
        holder.bind((server.host, server.port))
    except OSError:
        holder.close()
        raise
    return holder


@contextmanager
def _private_folder() -> Iterator[Path]:
    """For the workers' sockets: nobody else may look into it."""
    usual = tempfile.gettempdir()
    place = usual if len(os.fsencode(usual)) <= LONGEST_FOLDER else "/tmp"  # noqa: S108  # made with a name of its own
    with tempfile.TemporaryDirectory(prefix="gateway-", dir=place, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@asynccontextmanager
async def _signals(on_hangup: Callable[[], None]) -> AsyncIterator[asyncio.Queue[int]]:
    """The signals that ask to end, as they come."""
    queue: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, queue.put_nowait, number)
    hangup.answer(on_hangup)
    try:
        yield queue
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def _looking(authority: Authority | None) -> AsyncIterator[None]:
    """At what decides who may change something here."""
    looking = asyncio.create_task(keep_looking(authority.watched if authority else []))
    try:
        yield
    finally:
        looking.cancel()


@asynccontextmanager
async def _listening(application: web.Application, server: ServerSection) -> AsyncIterator[int]:
    """The admin port, open from before the first worker is ready until after the last one has ended."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=LAST_REPLIES)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, server.admin_host, server.admin_port).start()
        except OSError as error:
            raise not_bound("admin_port", server.admin_port, server, error.strerror or "") from None
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
