"""Other bundles for what is running, over HTTP: POST /bundle and POST /shadow. Imports no gRPC.

Both want a JSON body and say so: a page in somebody's browser cannot send one to another origin.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Awaitable
from pathlib import Path

from aiohttp import web

from gateway.errors import GatewayError, Unavailable
from gateway.rpc.service import Description, Replaceable

log = logging.getLogger(__name__)


class Changes:
    """The two routes. Both answer 200 with what serves, or casts the shadow; 415 for what is no JSON, 400 for another
    body, 409 while another bundle is being loaded, 422 for one that is refused: what was before then goes on."""

    def __init__(self, replaceable: Replaceable) -> None:
        self._replaceable = replaceable

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/bundle", self.swap), web.post("/shadow", self.shadow)]

    async def swap(self, request: web.Request) -> web.Response:
        """{"folder": "..."}: serve the bundle there, on the server's disk; {"back": true}: the one before."""
        asked = await _asked(request)
        folder, wants_back = asked.get("folder"), asked.get("back") is True
        if wants_back == isinstance(folder, str):
            raise _problem(web.HTTPBadRequest, 'give either {"folder": "..."} or {"back": true}')
        return await _answered(
            self._replaceable.roll_back() if wants_back else self._replaceable.swap(Path(str(folder)))
        )

    async def shadow(self, request: web.Request) -> web.Response:
        """{"folder": "...", "share": 0.1}: let the bundle there see that share of the questions; {"end": true}: none,
        which is answered with {}."""
        asked = await _asked(request)
        folder, share, is_end = asked.get("folder"), asked.get("share"), asked.get("end") is True
        if is_end and folder is None:
            return await _answered(self._replaceable.end_shadow())
        if is_end or not isinstance(folder, str) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise _problem(
                web.HTTPBadRequest,
                'give either {"folder": "...", "share": 0.1}, a share of at most 1, or {"end": true}',
            )
        return await _answered(self._replaceable.cast_shadow(Path(folder), float(share)))


async def _asked(request: web.Request) -> dict[str, object]:
    if request.content_type != "application/json":
        raise _problem(web.HTTPUnsupportedMediaType, "POST JSON with content-type application/json")
    try:
        asked = await request.json()
    except ValueError:
        raise _problem(web.HTTPBadRequest, "the body is not JSON") from None
    return asked if isinstance(asked, dict) else {}


async def _answered(change: Awaitable[Description | None]) -> web.Response:
    try:
        now = await change
    except Unavailable as error:
        raise _problem(web.HTTPConflict, str(error)) from None
    except GatewayError as error:
        log.warning("a bundle was refused: %s", error)
        raise _problem(web.HTTPUnprocessableEntity, str(error)) from None
    return web.json_response({} if now is None else dataclasses.asdict(now))


def _problem(kind: type[web.HTTPClientError], what: str) -> web.HTTPClientError:
    return kind(text=json.dumps({"error": what}), content_type="application/json")
