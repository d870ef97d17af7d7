"""One replica in this process: the event loop, the gateway, the server. Alone, or as a worker of several."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable
from types import FrameType

import uvloop

from gateway import assembly, auditing
from gateway.audit.log import AuditLog
from gateway.config import Config
from gateway.rpc import hangup, server
from gateway.rpc.observing import tracing_of
from gateway.rpc.service import Description
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.traces import Tracing
from gateway.workers import lifeline
from gateway.workers.orders import Orders

SWITCH_INTERVAL = 0.0005
"""Seconds a thread may hold the interpreter while the event loop wants it. With the default, 5 ms, a scrape of 400
histogram children stalled the loop for 10 ms."""


def run(config: Config, announce: Callable[[server.Ports, Description], None], read: Callable[[], Config]) -> None:
    """Until SIGTERM or Ctrl-C; `read` reads the settings again. Raises errors.GatewayError, naming what is wrong."""
    _run(config, announce, None, read)


def run_as_worker(orders: Orders) -> None:
    """Serve in one of the places of a supervisor until it says to drain, or ends. Raises as `run`."""
    _run(orders.config, lambda ports, now: None, orders, None)


def _run(
    config: Config,
    announce: Callable[[server.Ports, Description], None],
    orders: Orders | None,
    read: Callable[[], Config] | None,
) -> None:
    sys.setswitchinterval(SWITCH_INTERVAL)
    # Until the server listens to signals itself. As the first process of a container, one that handles no SIGTERM does
    # not even get it, and would load to the end and then serve.
    signal.signal(signal.SIGTERM, _end)
    hangup.ignore()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, announce, orders, read))


def _end(number: int, frame: FrameType | None) -> None:
    """Nothing is begun yet that would have to be finished."""
    sys.exit(0)


async def _serve(
    config: Config,
    announce: Callable[[server.Ports, Description], None],
    orders: Orders | None,
    read: Callable[[], Config] | None,
) -> None:
    place = None if orders is None else _place(orders)
    metrics = Metrics()
    gateway = await assembly.build(config, metrics.observe_shadow)
    audit: AuditLog | None = None
    tracing: Tracing | None = None
    watching: asyncio.Task[None] | None = None
    try:
        tracing = tracing_of(config.trace, metrics, orders.number if orders else 0)
        audit = auditing.audit_log(config.audit, orders.number if orders else 0)
        if audit is not None:
            watched = auditing.watch(audit, gateway, metrics.set_error_rates, config.audit.tighten)
            watching = asyncio.create_task(watched)
        # What is loaded by now lives as long as the process: a full collection need not walk it again (28 ms at 1 M
        # objects, nothing once frozen).
        gc.collect()
        gc.freeze()
        edited = gateway if config.knowledge.data else None
        with metrics.pauses.watched():
            await server.serve(
                gateway,
                config,
                metrics,
                lambda ports: announce(ports, gateway.describe()),
                gateway,
                place,
                edited,
                audit,
                tracing,
                read,
            )
    finally:
        if watching is not None:
            watching.cancel()
        if audit is not None:
            await asyncio.to_thread(audit.close)
        if tracing is not None:
            await asyncio.to_thread(tracing.close)
        await gateway.close()


def _place(orders: Orders) -> server.Place:
    abandoned = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Before anything is loaded: a supervisor that ends meanwhile must leave nobody behind either.
    lifeline.watch(lambda: loop.call_soon_threadsafe(abandoned.set), orders.socket)
    return server.Place(orders.socket, abandoned)
