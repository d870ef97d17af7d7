"""The page itself: its files, and the headers that keep everything else out of it. Imports no gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from gateway.rpc.page.visitors import check_reading

FOLDER = Path(__file__).parent / "static"
TYPES: Mapping[str, str] = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""Nothing from elsewhere, nothing inline, and no text that becomes markup: what a document says stays text."""
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
}


def routes() -> list[web.RouteDef]:
    """GET / and each of the files beside it, which are read once."""
    return [_route(path) for path in sorted(FOLDER.iterdir()) if path.suffix in TYPES]


def _route(path: Path) -> web.RouteDef:
    content, kind = path.read_bytes(), TYPES[path.suffix]

    async def file(request: web.Request) -> web.Response:
        check_reading(request)
        return web.Response(body=content, content_type=kind, charset="utf-8", headers=HEADERS)

    return web.get("/" if path.name == "index.html" else f"/page/{path.name}", file)
