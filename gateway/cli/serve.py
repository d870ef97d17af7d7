"""`gateway serve`: settings, the event loop, and the lines that say where to ask."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.table import Table

from gateway import assembly
from gateway.config import Config, Device, load
from gateway.rpc import server
from gateway.rpc.service import Gateway
from gateway.telemetry.metrics import Metrics
from gateway.types import CertificateStatus, Policy

STYLES = {CertificateStatus.VALID: "green", CertificateStatus.STALE: "yellow", CertificateStatus.INSUFFICIENT: "red"}
SWITCH_INTERVAL = 0.0005
"""Seconds a thread may hold the interpreter while the event loop wants it. With the default, 5 ms, a scrape of 400
histogram children stalled the loop for 10 ms."""


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="A TOML file of settings.")
@click.option("--host", help="Address to listen on.  [127.0.0.1]")
@click.option("--port", help="Port for gRPC; 0 takes any free one.  [50051]")
@click.option("--admin-port", help="Port for metrics and health; 0 takes any free one.  [9464]")
@click.option("--bundle", help="Folder of the model bundle.  [models/banking/1]")
@click.option("--device", type=click.Choice([device.value for device in Device]), help="Where the model runs.  [auto]")
@click.option("--no-knowledge", is_flag=True, help="Serve no collection: the model's own texts, or nothing.")
@click.option("--policy", type=click.Choice([policy.value for policy in Policy]), help="The default one.  [cascade]")
def serve(
    file: Path | None,
    host: str | None,
    port: str | None,
    admin_port: str | None,
    bundle: str | None,
    device: str | None,
    no_knowledge: bool,
    policy: str | None,
) -> None:
    """Answer questions over gRPC until SIGTERM or Ctrl-C.

    Settings: defaults < --config < environment (GATEWAY_<SECTION>__<KEY>) < these options.
    """
    flags: Mapping[str, object] = {
        "server.host": host,
        "server.port": port,
        "server.admin_port": admin_port,
        "model.bundle": bundle,
        "model.device": device,
        "knowledge.collections": {} if no_knowledge else None,
        "cascade.default_policy": policy,
    }
    config = load(file, os.environ, flags)
    # Once, before the first grpc.aio object: reconfiguring logging later can deadlock with finalisers (grpc#43421).
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    sys.setswitchinterval(SWITCH_INTERVAL)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config))


async def _serve(config: Config) -> None:
    gateway = await assembly.build(config)
    try:
        # What is loaded by now lives as long as the process: a full collection need not walk it again (28 ms at 1 M
        # objects, nothing once frozen).
        gc.collect()
        gc.freeze()
        await server.serve(gateway, config, Metrics(), _announcement(gateway, Console()))
    finally:
        await gateway.close()


def _announcement(gateway: Gateway, console: Console) -> Callable[[server.Ports], None]:
    def announce(ports: server.Ports) -> None:
        now = gateway.describe()
        host = f"[{ports.host}]" if ":" in ports.host else ports.host
        lines = Table.grid(padding=(0, 2))
        lines.add_row("gRPC", f"{host}:{ports.grpc}")
        lines.add_row("metrics", f"http://{host}:{ports.admin}/metrics")
        lines.add_row("health", f"http://{host}:{ports.admin}/readyz")
        lines.add_row("status", f"http://{host}:{ports.admin}/status")
        lines.add_row("bundle", f"{now.bundle} ({now.bundle_sha256[:12]}), {now.precision} on {now.provider}")
        style = STYLES[now.certificate]
        lines.add_row("threshold", f"{now.threshold:.4f}, certificate [{style}]{now.certificate.value}[/]")
        for each in now.collections:
            held = f"{each.documents} documents, {each.passages} passages, version {each.version}"
            lines.add_row("collection", f"{each.name}: {held}")
        if not now.collections:
            lines.add_row("collection", "none: only labels with a text of their own are answered")
        console.print(lines, soft_wrap=True, highlight=False)
        console.print("\nAsk it something:", highlight=False)
        target = f"{host}:{ports.grpc}"
        console.print(
            f'  {_command()} ask --target {target} "When will my card arrive?"',
            soft_wrap=True,
            highlight=False,
            markup=False,
        )

    return announce


def _command() -> str:
    """How to call us from where we were called: the name alone only works in an active environment."""
    if Path(sys.argv[0]).name == "__main__.py":
        return f"{sys.executable} -m gateway"
    return "gateway" if shutil.which("gateway") else sys.argv[0]
