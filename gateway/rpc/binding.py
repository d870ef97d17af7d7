"""Ports before they are bound, and the words where somebody listens there already; and how they are given back.

Imports no gRPC.
"""

from __future__ import annotations

import socket

from gateway.config import ServerSection
from gateway.errors import ConfigInvalid

LAST_REPLIES = 2.0
"""Seconds for an admin port to finish what it has begun once all else has ended. By aiohttp's default, a minute, one
stalled client outlasts every drain."""


def family(host: str) -> socket.AddressFamily:
    """Of a socket that is to listen on `host`."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def in_url(host: str) -> str:
    """`host` as it stands before a colon and a port."""
    return f"[{host}]" if ":" in host else host


def check_free(server: ServerSection) -> None:
    """Raise ConfigInvalid if the gRPC port is taken, shared ports included, or the host is not ours.

    Asked with a plain socket: gRPC's own error gives no reason, and its C core logs a line beside it.
    """
    try:
        with socket.create_server((server.host, server.port), family=family(server.host)):
            pass
    except OSError as error:
        raise not_bound("port", server.port, server, error.strerror or "") from None


def not_bound(key: str, port: int, server: ServerSection, why: str) -> ConfigInvalid:
    """What to say when `port`, the setting `key`, cannot be bound; `why` may be empty."""
    flag = key.replace("_", "-")
    return ConfigInvalid(
        f"server.{key} = {port}: cannot listen on {server.host}:{port} ({why or 'refused'}); "
        f"stop what listens there, or take another port with --{flag} (0: any free one)"
    )
