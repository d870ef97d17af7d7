"""Other bundles for what is running, over HTTP: POST /bundle and POST /shadow, and POST /drift. Imports no gRPC.

No page in an operator's browser gets anything done here. From another origin it cannot send a body that says to be JSON
without asking first, and nobody answers that. By a name of its own that it has pointed at this address it is no other
origin, but then the browser says who asks, as with every POST, and programs do not.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeGuard

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from gateway.errors import Draining, GatewayError, Unavailable
from gateway.rpc.service import Description, Preparable, Replaceable
from gateway.types import DriftAlarm

log = logging.getLogger(__name__)

BROWSERS = ("Origin", "Sec-Fetch-Site")
"""Headers that pages cannot leave out and programs have no reason to send."""
ALARMS = TypeAdapter(list[DriftAlarm])


class Changes:
    """The routes. All answer 200 with what serves, or casts the shadow; 403 for a page in a browser, 415 for what
    is no JSON, 400 for another body, 409 while another bundle is being loaded, 503 once the server ends, 422 for a
    bundle that is refused: what was before then goes on. That a caller hangs up changes nothing of what happens."""

    def __init__(self, replaceable: Replaceable) -> None:
        self._replaceable = replaceable

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/bundle", self.swap), web.post("/shadow", self.shadow), web.post("/drift", self.drift)]

    async def swap(self, request: web.Request) -> web.Response:
        """{"folder": "..."}: serve the bundle there, on the server's disk; {"back": true}: the one before."""
        asked = await asked_of(request)
        folder, wants_back = asked.get("folder"), asked.get("back") is True
        if wants_back and folder is None:
            return await _answered(self._replaceable.roll_back())
        if wants_back or not _is_path(folder):
            raise problem(web.HTTPBadRequest, 'give either {"folder": "..."} or {"back": true}')
        return await _answered(self._replaceable.swap(Path(folder)))

    async def shadow(self, request: web.Request) -> web.Response:
        """{"folder": "...", "share": 0.1}: let the bundle there see that share of the questions; {"end": true}: none,
        which is answered with {}."""
        asked = await asked_of(request)
        folder, share, is_end = asked.get("folder"), asked.get("share"), asked.get("end") is True
        if is_end and folder is None:
            return await _answered(self._replaceable.end_shadow())
        if is_end or not _is_path(folder) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise problem(
                web.HTTPBadRequest,
                'give either {"folder": "...", "share": 0.1}, a share of at most 1, or {"end": true}',
            )
        return await _answered(self._replaceable.cast_shadow(Path(folder), float(share)))

    async def drift(self, request: web.Request) -> web.Response:
        """{"reset": true}: forget what questions were like, and trust the certificate again."""
        return await _reset(await asked_of(request), self._replaceable)


class Steps:
    """What a worker's socket has instead, for its supervisor: POST /bundle/prepare, /bundle/switch and /bundle/discard,
    of which the first two want {"folder": "..."}; the same POST /shadow; and POST /drift, which others' alarms come by,
    too."""

    def __init__(self, preparable: Preparable) -> None:
        self._preparable = preparable
        self._changes = Changes(preparable)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/bundle/prepare", self.prepare),
            web.post("/bundle/switch", self.switch),
            web.post("/bundle/discard", self.discard),
            web.post("/shadow", self._changes.shadow),
            web.post("/drift", self.drift),
        ]

    async def prepare(self, request: web.Request) -> web.Response:
        """Load, verify and warm it."""
        return await _answered(self._preparable.prepare(_folder(await asked_of(request))))

    async def switch(self, request: web.Request) -> web.Response:
        """Serve what was prepared from there."""
        return await _answered(self._preparable.switch(_folder(await asked_of(request))))

    async def discard(self, request: web.Request) -> web.Response:
        """Let go of what was prepared; answered with {}."""
        await asked_of(request)
        return await _answered(self._preparable.discard())

    async def drift(self, request: web.Request) -> web.Response:
        """{"reset": true}; or {"alarms": [...], "manifest_sha256": "..."}: other workers' of that bundle."""
        asked = await asked_of(request)
        bundle = asked.get("manifest_sha256")
        if not isinstance(bundle, str):
            return await _reset(asked, self._preparable)
        try:
            alarms = ALARMS.validate_python(asked.get("alarms"))
        except ValidationError as error:
            raise problem(web.HTTPBadRequest, f"alarms: {error}") from None
        return await _answered(self._preparable.hear_drift(alarms, bundle))


async def _reset(asked: dict[str, object], replaceable: Replaceable) -> web.Response:
    if asked.get("reset") is not True:
        raise problem(web.HTTPBadRequest, 'give {"reset": true}')
    return await _answered(replaceable.reset_drift())


def _folder(asked: dict[str, object]) -> Path:
    folder = asked.get("folder")
    if not _is_path(folder):
        raise problem(web.HTTPBadRequest, 'give {"folder": "..."}')
    return Path(folder)


def _is_path(given: object) -> TypeGuard[str]:
    return isinstance(given, str) and "\0" not in given


async def asked_of(request: web.Request) -> dict[str, object]:
    """The object that was posted; empty for another value. Raises HTTPError: see `Changes`."""
    if any(header in request.headers for header in BROWSERS):
        raise problem(web.HTTPForbidden, "this port takes no changes from web pages; use `gateway swap`, or curl")
    if request.content_type != "application/json":
        raise problem(web.HTTPUnsupportedMediaType, "POST JSON with content-type application/json")
    try:
        asked = await request.json()
    except (ValueError, LookupError):  # or of a character set that nobody knows
        raise problem(web.HTTPBadRequest, "the body is not JSON") from None
    return asked if isinstance(asked, dict) else {}


async def _answered(change: Coroutine[Any, Any, Description | None]) -> web.Response:
    try:
        # Its own task: the end of a connection, or of the server, must not cut it off half-way.
        now = await asyncio.shield(asyncio.create_task(change))
    except Draining as error:
        raise problem(web.HTTPServiceUnavailable, str(error)) from None
    except Unavailable as error:
        raise problem(web.HTTPConflict, str(error)) from None
    except (GatewayError, OSError) as error:
        log.warning("a bundle was refused: %s", error)
        raise problem(web.HTTPUnprocessableEntity, str(error)) from None
    return web.json_response({} if now is None else dataclasses.asdict(now))


def problem(kind: type[web.HTTPError], what: str) -> web.HTTPError:
    """To be raised: an answer that says what is wrong, as all of this port's do."""
    return kind(text=json.dumps({"error": what}), content_type="application/json")
