"""The lines that say where to ask, once a server is ready."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gateway.rpc.binding import in_url
from gateway.rpc.service import Description
from gateway.types import CertificateStatus

STYLES = {CertificateStatus.VALID: "green", CertificateStatus.STALE: "yellow", CertificateStatus.INSUFFICIENT: "red"}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where it listens, after any 0 was replaced."""

    host: str
    grpc: int
    admin: int


def announce(console: Console, at: Addresses, now: Description, workers: int = 1) -> None:
    """Print where to ask and what is served; how many workers do so if there are several."""
    host = in_url(at.host)
    lines = Table.grid(padding=(0, 2))
    lines.add_row("gRPC", f"{host}:{at.grpc}")
    lines.add_row("metrics", f"http://{host}:{at.admin}/metrics")
    lines.add_row("health", f"http://{host}:{at.admin}/readyz")
    lines.add_row("status", f"http://{host}:{at.admin}/status")
    if workers > 1:
        lines.add_row("workers", str(workers))
    lines.add_row("bundle", f"{now.bundle} ({now.bundle_sha256[:12]}), {now.precision} on {now.provider}")
    if now.fallback:
        lines.add_row("fallback", f"{now.fallback}, warm")
    if now.degraded:
        lines.add_row("[yellow]degraded[/]", now.degraded.value)
    style = STYLES[now.certificate]
    lines.add_row("threshold", f"{now.threshold:.4f}, certificate [{style}]{now.certificate.value}[/]")
    if now.certificate_reason:
        lines.add_row("", now.certificate_reason)
    for each in now.collections:
        held = f"{each.documents} documents, {each.passages} passages, version {each.version}"
        lines.add_row("collection", f"{each.name}: {held}")
    if not now.collections:
        lines.add_row("collection", "none: only labels with a text of their own are answered")
    console.print(lines, soft_wrap=True, highlight=False)
    console.print("\nAsk it something:", highlight=False)
    console.print(
        f'  {_command()} ask --target {host}:{at.grpc} "When will my card arrive?"',
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def _command() -> str:
    """How to call us from where we were called: the name alone only works in an active environment."""
    if Path(sys.argv[0]).name == "__main__.py":
        return f"{sys.executable} -m gateway"
    return "gateway" if shutil.which("gateway") else sys.argv[0]
