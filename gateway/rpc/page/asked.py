"""What the page asks, as JSON. Imports no gRPC, as a supervisor hands it on to a worker."""

from __future__ import annotations

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.rpc.page.visitors import check_asking, refused
from gateway.types import Criticality, Policy

PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Headers of what is said to one who asks."""
LONGEST_MS = 60_000
"""Longer than any server takes for an answer: it cuts what is asked for to its own limit."""


class Asked(BaseModel):
    """A question with its terms, as the options of `gateway ask`. What is not given is left to the server, and what is
    said of them is checked there, as in every call."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str
    collection: str = ""
    policy: Policy | None = None
    max_citations: int = Field(default=0, ge=0, lt=2**32)
    timeout_ms: int = Field(default=1000, ge=1, le=LONGEST_MS)
    tenant: str = ""
    groups: str = ""
    """Separated by commas."""
    criticality: Criticality | None = None


async def asked(request: web.Request) -> Asked:
    """Raises HTTPForbidden, HTTPUnsupportedMediaType, and HTTPBadRequest with what is wrong."""
    check_asking(request)
    try:
        return Asked.model_validate_json(await request.read())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise refused(web.HTTPBadRequest, f"{where}: {first['msg']}") from None


def refusal(code: str, message: str, reason: str) -> web.Response:
    """With the keys of `gateway ask --json`, and 200, as it is an answer to what was asked."""
    found = {"error": {"code": code, "message": message, "reason": reason}}
    return web.json_response(found, headers=PRIVATE)
