"""Ports before they are bound, and the words where somebody listens there already; and how they are given back.

Imports no gRPC.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator

from gateway.config import Config, ServerSection
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


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches `host`, or comes from it."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    # An IPv4 caller of a socket that takes both.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def check_exposure(config: Config) -> None:
    """Raise ConfigInvalid where the network would read questions and answers, and nobody has said that it may."""
    server = config.server
    if not (is_loopback(server.host) or config.tls.is_on or server.insecure):
        raise ConfigInvalid(
            f"server.host = {server.host!r}: whoever is on that network would read questions, answers and keys; set "
            "tls.certificate and tls.key, or stay on 127.0.0.1, or accept that with server.insecure = true (--insecure)"
        )


def exposures(config: Config) -> Iterator[str]:
    """What others on the network can do, as the settings allow: to be told at every start."""
    server = config.server
    if not is_loopback(server.admin_host):
        yield (
            f"server.admin_host = {server.admin_host}: metrics, health and status are read without TLS by whoever "
            "reaches that port; changes are taken from this machine alone"
        )
    if is_loopback(server.host):
        return
    if not config.tls.is_on:
        yield f"server.host = {server.host} without TLS (server.insecure): questions, answers and keys go in the clear"
    if not config.wants_credentials:
        yield f"server.host = {server.host} without access.keys and jwt: whoever reaches it may say to be any tenant"


def options_of(config: Config) -> Iterator[str]:
    """What `gateway ask` has to be told besides where the server is."""
    if config.tls.is_on:
        yield "--tls"
    if config.tls.client_ca:
        yield "--client-certificate FILE --client-key FILE"


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
    host = server.admin_host if key == "admin_port" else server.host
    return ConfigInvalid(
        f"server.{key} = {port}: cannot listen on {host}:{port} ({why or 'refused'}); "
        f"stop what listens there, or take another port with --{flag} (0: any free one)"
    )
