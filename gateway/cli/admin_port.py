"""What commands ask a running gateway for by its admin port."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

import click

from gateway.cli.credentials import api_key
from gateway.cli.main import NotReached, Refused

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Whatever HTTP_PROXY says: an admin port is most often on this machine, where no proxy finds it."""
ADMIN = click.option(
    "--admin", default="127.0.0.1:9464", show_default=True, metavar="HOST:PORT", help="The admin port."
)
LATE = "wait longer with --timeout"


def asked(url: str, body: dict[str, object] | None, timeout: float, late: str = LATE) -> dict[str, Any]:
    """The answer to a GET, or to a POST of `body`. Raises Refused with the server's words, NotReached; `late` is what
    to do where no answer comes within `timeout` seconds."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    if body is not None and (key := api_key()):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, data, headers)  # noqa: S310  # of our making
    try:
        with DIRECT.open(request, timeout=timeout) as response:
            found: dict[str, Any] = json.load(response)
            return found
    except urllib.error.HTTPError as error:
        raise Refused(_words(error)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotReached(f"{url}: {_why(error, timeout, late)}") from None


def _why(error: Exception, timeout: float, late: str) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return f"no answer within {timeout:g} s; {late}"
    if isinstance(error, OSError):
        return f"{reason}; is a gateway running, with this admin port?"
    return f"what answers there is no admin port ({type(error).__name__}); name server.admin_port with --admin"


def _words(error: urllib.error.HTTPError) -> str:
    try:
        with error:
            return str(json.load(error)["error"])
    except (ValueError, KeyError):
        return f"{error.code} {error.reason}"
