"""`gateway swap`: another bundle for a running gateway, by its admin port."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import click

from gateway.cli.main import NotReached, Refused

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Whatever HTTP_PROXY says: an admin port is most often on this machine, where no proxy finds it."""


@click.command()
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--back", is_flag=True, help="Serve the bundle again that was served before, if it has not changed.")
@click.option("--admin", default="127.0.0.1:9464", show_default=True, metavar="HOST:PORT", help="The admin port.")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds to wait for it.")
@click.option("--json", "is_json", is_flag=True, help="Print what serves now as JSON.")
def swap(folder: Path | None, back: bool, admin: str, timeout: float, is_json: bool) -> None:
    """Serve the bundle in FOLDER from the next question on; nothing changes if it is not fit to be served.

    It is loaded, verified and warmed beside the one that serves. FOLDER is read by the server, on its machine.
    """
    if (folder is None) == (not back):
        raise click.UsageError("name a FOLDER, or say --back")
    asked: dict[str, object] = {"back": True} if folder is None else {"folder": str(folder.resolve())}
    now = _post(f"http://{admin}/bundle", asked, timeout)
    if is_json:
        click.echo(json.dumps(now, indent=2))
        return
    click.echo(f"{now['bundle']} ({now['bundle_sha256'][:12]}), {now['precision']} on {now['provider']}")


def _post(url: str, body: dict[str, object], timeout: float) -> dict[str, Any]:
    """Raises Refused with the server's words, NotReached."""
    request = urllib.request.Request(  # noqa: S310  # http by construction
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with DIRECT.open(request, timeout=timeout) as response:
            found: dict[str, Any] = json.load(response)
            return found
    except urllib.error.HTTPError as error:
        raise Refused(_words(error)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotReached(f"{url}: {_why(error, timeout)}") from None


def _why(error: Exception, timeout: float) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return (
            f"no answer within {timeout:g} s; it may be loading still, and then serves the bundle: /status says so. "
            "Wait longer with --timeout"
        )
    if isinstance(error, OSError):
        return f"{reason}; is a gateway running, with this --admin?"
    return f"what answers there is no admin port ({type(error).__name__}); name server.admin_port with --admin"


def _words(error: urllib.error.HTTPError) -> str:
    try:
        with error:
            return str(json.load(error)["error"])
    except (ValueError, KeyError):
        return f"{error.code} {error.reason}"
