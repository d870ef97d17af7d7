"""`gateway serve`: settings, and which processes serve by them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import click

from gateway.config import Config, Device, LogFormat, load
from gateway.rpc.binding import check_exposure, exposures
from gateway.telemetry import logs
from gateway.types import Policy

log = logging.getLogger(__name__)


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="A TOML file of settings.")
@click.option("--host", help="Address to listen on.  [127.0.0.1]")
@click.option("--port", help="Port for gRPC; 0 takes any free one.  [50051]")
@click.option("--admin-port", help="Port for metrics and health; 0 takes any free one.  [9464]")
@click.option("--insecure", is_flag=True, help="Serve other addresses than loopback without TLS.")
@click.option("--workers", help="Whole replicas on the port, each a process; 1 is this process.  [1]")
@click.option("--bundle", help="Folder of the model bundle.  [models/banking/1]")
@click.option("--device", type=click.Choice([device.value for device in Device]), help="Where the model runs.  [auto]")
@click.option("--no-knowledge", is_flag=True, help="Serve no collection: the model's own texts, or nothing.")
@click.option("--policy", type=click.Choice([policy.value for policy in Policy]), help="The default one.  [cascade]")
@click.option("--as-worker", is_flag=True, hidden=True)
def serve(
    file: Path | None,
    host: str | None,
    port: str | None,
    admin_port: str | None,
    insecure: bool,
    workers: str | None,
    bundle: str | None,
    device: str | None,
    no_knowledge: bool,
    policy: str | None,
    as_worker: bool,
) -> None:
    """Answer questions over gRPC until SIGTERM or Ctrl-C.

    Settings: defaults < --config < environment (GATEWAY_<SECTION>__<KEY>) < these options.
    """
    if as_worker:
        _serve_as_worker()
        return
    flags: Mapping[str, object] = {
        "server.host": host,
        "server.port": port,
        "server.admin_port": admin_port,
        "server.insecure": insecure or None,
        "server.workers": workers,
        "model.bundle": bundle,
        "model.device": device,
        "knowledge.collections": {} if no_knowledge else None,
        "cascade.default_policy": policy,
    }
    read = partial(load, file, os.environ, flags)
    config = read()
    check_exposure(config)
    _configure_logging(config)
    for exposure in exposures(config):
        log.warning(exposure)
    if config.server.workers == 1:
        _serve_alone(config, read)
    else:
        _serve_with_workers(config, read)


def _configure_logging(config: Config, worker: int | None = None) -> None:
    logs.configure(config.log.level, config.log.format is LogFormat.JSON, worker)


# Each imports what it needs: the process that watches the workers has no use for gRPC and ONNX Runtime.


def _serve_alone(config: Config, read: Callable[[], Config]) -> None:
    from rich.console import Console

    from gateway.cli import replica
    from gateway.cli.announcement import Addresses, announce

    console = Console()
    replica.run(config, lambda at, now: announce(console, Addresses.of(config, at.grpc, at.admin), now), read)


def _serve_as_worker() -> None:
    from gateway.workers import orders

    received = orders.received()
    _configure_logging(received.config, received.number)
    from gateway.cli import replica

    replica.run_as_worker(received)


def _serve_with_workers(config: Config, read: Callable[[], Config]) -> None:
    from rich.console import Console

    from gateway.cli.announcement import Addresses, announce
    from gateway.workers import serving
    from gateway.workers.fleet import WRONG_SETTINGS, SettingsRefused

    console = Console()
    count = config.server.workers
    try:
        asyncio.run(
            serving.serve(
                config,
                lambda grpc, admin, now: announce(console, Addresses.of(config, grpc, admin), now, count),
                read,
            )
        )
    except SettingsRefused:  # the worker has said what is wrong
        raise click.exceptions.Exit(WRONG_SETTINGS) from None
