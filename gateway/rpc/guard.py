"""Who may change something by the admin port: this machine, with an admin's key where there are keys. Imports no gRPC.

Reading is open to whoever reaches the port: there is no secret in it, and probes and Prometheus have no keys.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.access.authority import Authority
from gateway.access.grants import Scope
from gateway.errors import AccessDenied, Unauthenticated
from gateway.rpc.binding import is_loopback
from gateway.types import Denial

log = logging.getLogger(__name__)

READING = frozenset({"GET", "HEAD", "OPTIONS"})
ASKING = "/ask"
"""Changes nothing: `page.asking` asks who calls, as gRPC does, for credentials that may ask."""

MAX_BODY_BYTES = 4 * 2**20
"""As of a message over gRPC."""
API = "/gateway.v1."
"""What `connect` serves, which asks as gRPC does who calls."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """`authority` None: whoever is on this machine may change something."""

    def __init__(self, authority: Authority | None) -> None:
        self._authority = authority

    def over(self, application: web.Application) -> web.Application:
        """The application, guarded: all of its methods but those that only read, and those that ask who calls."""

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            asks_by_itself = request.path == ASKING or request.path.startswith(API)
            if request.method not in READING and not asks_by_itself:
                try:
                    self._check(request)
                except web.HTTPError as error:
                    log.warning("POST %s was refused: %s", request.path, error.text)
                    raise
            return await handler(request)

        application.middlewares.append(guarded)
        return application

    def _check(self, request: web.Request) -> None:
        if not request.remote:  # a socket in the file system, in a folder that is the supervisor's alone
            return
        if not is_loopback(request.remote):
            raise _refused(web.HTTPForbidden, "changes are taken from this machine alone: this port has no TLS")
        if self._authority is None:
            return
        try:
            shown = request.headers.get("Authorization")
            if shown is None:
                raise Unauthenticated(Denial.MISSING)
            self._authority.of_header(shown).check(Scope.ADMIN)
        except Unauthenticated as error:
            raise _refused(web.HTTPUnauthorized, f"{error}; the command line takes it from GATEWAY_API_KEY") from None
        except AccessDenied as error:
            raise _refused(web.HTTPForbidden, str(error)) from None


def _refused(kind: type[web.HTTPError], what: str) -> web.HTTPError:
    return kind(text=json.dumps({"error": what}), content_type="application/json")
