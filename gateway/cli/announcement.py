"""The lines that say where to ask, once a server is ready."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gateway.config import Config
from gateway.rpc.binding import in_url, options_of
from gateway.rpc.service import Description
from gateway.types import CertificateStatus

STYLES = {CertificateStatus.VALID: "green", CertificateStatus.STALE: "yellow", CertificateStatus.INSUFFICIENT: "red"}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where it listens, after any 0 was replaced: `grpc` and `admin` are host and port. `needs`: the options that
    `gateway ask` takes there."""

    grpc: str
    admin: str
    needs: str = ""
    wants_key: bool = False

    @classmethod
    def of(cls, config: Config, grpc: int, admin: int) -> Addresses:
        """On those ports."""
        server = config.server
        needs = "".join(f" {option}" for option in options_of(config))
        return cls(
            f"{in_url(server.host)}:{grpc}", f"{in_url(server.admin_host)}:{admin}", needs, config.wants_credentials
        )


def announce(console: Console, at: Addresses, now: Description, workers: int = 1) -> None:
    """Print where to ask and what is served; how many workers do so if there are several."""
    lines = Table.grid(padding=(0, 2))
    lines.add_row("gRPC", at.grpc)
    lines.add_row("page", f"http://{at.admin}/")
    lines.add_row("metrics", f"http://{at.admin}/metrics")
    lines.add_row("health", f"http://{at.admin}/readyz")
    lines.add_row("status", f"http://{at.admin}/status")
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
    key = ", with a key in GATEWAY_API_KEY" if at.wants_key else ""
    console.print(f"\nAsk it something{key}:", highlight=False)
    console.print(
        f'  {_command()} ask --target {at.grpc}{at.needs} "When will my card arrive?"',
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def _command() -> str:
    """How to call us from where we were called: the name alone only works in an active environment."""
    if Path(sys.argv[0]).name == "__main__.py":
        return f"{sys.executable} -m gateway"
    return "gateway" if shutil.which("gateway") else sys.argv[0]
