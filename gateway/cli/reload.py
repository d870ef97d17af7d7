"""`gateway reload`: a running gateway reads its settings again, by its admin port."""

from __future__ import annotations

import json

import click

from gateway.cli.admin_port import ADMIN, asked


@click.command()
@ADMIN
@click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait for it.")
@click.option("--json", "is_json", is_flag=True, help="Print the names as JSON.")
def reload(admin: str, timeout: float, is_json: bool) -> None:
    """Read the settings again, from the file and the environment that the gateway was started with, and use them from
    the next call on. SIGHUP does the same. Where one is wrong, or needs a restart, nothing changes.
    """
    names = asked(f"http://{admin}/settings", {}, timeout)["changed"]
    if is_json:
        click.echo(json.dumps(names))
    else:
        click.echo(f"used from now on: {', '.join(names)}" if names else "nothing has changed")
