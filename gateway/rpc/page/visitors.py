"""Who may see the page, and who may ask by it: nobody's page but our own. Imports no gRPC.

A page of somebody else's that an operator has open could have a question asked, by his browser and in his name, or read
what is served, by a name of its own that it has pointed at this address.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection

from aiohttp import web

from gateway.rpc.binding import is_loopback

OUR_OWN = "same-origin"
"""What a browser says of a page that asks where it came from."""


def check_reading(request: web.Request) -> None:
    """Raises HTTPForbidden where the name in the URL could be anybody's."""
    if request.remote and not _is_ours(request.host):
        raise refused(
            web.HTTPForbidden,
            "this is shown by address or as localhost alone: any other name may be one that somebody has pointed here, "
            "for a page of his own to read it; from elsewhere, use `ssh -L 9464:127.0.0.1:9464`",
        )


def check_asking(request: web.Request) -> None:
    """Raises HTTPForbidden for who is not on this machine, and for pages of others; HTTPUnsupportedMediaType."""
    if not request.remote:  # a socket in the file system, whose supervisor has checked
        return
    check_reading(request)
    if not is_loopback(request.remote):
        raise refused(web.HTTPForbidden, "questions are taken here from this machine alone: this port has no TLS")
    _check_page(request)
    # A browser sends this type for no other page without asking first, and nobody answers that.
    if request.content_type != "application/json":
        raise refused(web.HTTPUnsupportedMediaType, "POST JSON with content-type application/json")


class Visitors:
    """Who may call the API over HTTP: programs on this machine, and pages of `origins`, such as https://app.example."""

    def __init__(self, origins: Collection[str] = ()) -> None:
        self._origins = frozenset(origins)

    def check_calling(self, request: web.Request) -> None:
        """Raises HTTPForbidden. Of the type that is sent a caller is told in its own words."""
        if not request.remote:
            return
        if not is_loopback(request.remote):
            raise refused(web.HTTPForbidden, "calls are taken here from this machine alone: this port has no TLS")
        if request.headers.get("Origin") in self._origins:
            return
        check_reading(request)
        _check_page(request)

    def shown_to(self, request: web.Request) -> dict[str, str]:
        """Headers without which a browser shows nothing of an answer to a page of others."""
        origin = request.headers.get("Origin")
        if origin not in self._origins:
            return {}
        return {"Access-Control-Allow-Origin": str(origin), "Access-Control-Expose-Headers": "*", "Vary": "Origin"}


def refused(kind: type[web.HTTPError], what: str) -> web.HTTPError:
    """{"error": what}."""
    return kind(text=json.dumps({"error": what}), content_type="application/json")


def _check_page(request: web.Request) -> None:
    site, origin = request.headers.get("Sec-Fetch-Site", OUR_OWN), request.headers.get("Origin")
    if site != OUR_OWN or origin not in (None, f"{request.scheme}://{request.host}"):
        raise refused(web.HTTPForbidden, "questions are taken from no other page than the one that is served here")


def _is_ours(host: str) -> bool:
    """Whether no name server had a say in how a browser came here with this Host header."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.removeprefix("[").removesuffix("]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
