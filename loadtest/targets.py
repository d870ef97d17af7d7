"""What a load is sent to, whatever its API: one small protocol, connections, and the refusal of others' machines."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from gateway.client import Tls

Metadata = tuple[tuple[str, str], ...]

OK = "OK"
OPTIONS = (
    # Otherwise channels to the same address share one connection.
    ("grpc.use_local_subchannel_pool", 1),
    # A retry would hide a refusal, and add load that nobody planned.
    ("grpc.enable_retries", 0),
    # Through a proxy it would be the proxy that is measured.
    ("grpc.enable_http_proxy", 0),
    # A server that is just starting is found soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one question ended. `route` and `reason` are empty where the server has no such thing."""

    status: str
    """gRPC's name of the status code: OK, UNAVAILABLE and so on."""
    route: str = ""
    reason: str = ""
    server_seconds: float | None = None
    """By the server's own clock: the sum of the stages that it states."""


NO_MESSAGE = Outcome(grpc.StatusCode.DEADLINE_EXCEEDED.name, reason="NO_MESSAGE")
"""How a call ended whose response is None: its deadline came just then. grpcio 1.80 now and then reports such a call as
OK, without any metadata or message (1 in 4,000 calls of an overload, measured)."""


NOT_CONNECTED = "NOT_CONNECTED"
"""The reason of a call that never left this process, as nobody accepted its connection."""
STREAM_ENDED = Outcome(grpc.StatusCode.UNAVAILABLE.name, reason="STREAM_ENDED")
"""For questions whose stream ended, without an error, before they were answered."""
REFUSALS = (grpc.StatusCode.UNAVAILABLE.name, grpc.StatusCode.RESOURCE_EXHAUSTED.name)


def is_lost(status: str, reason: str) -> bool:
    """Whether a call ended neither with an answer nor with a refusal that says why: its caller cannot know whether
    anything was done. gRPC's own UNAVAILABLE, of a connection that broke, has no reason."""
    is_refused = status in REFUSALS and reason not in ("", STREAM_ENDED.reason)
    return status != OK and not is_refused


class Target(Protocol):
    """Somewhere to send questions. Made inside the running loop; whoever makes it closes it."""

    async def send(self, question: str, timeout: float, metadata: Metadata) -> Outcome:  # noqa: ASYNC109  # the deadline
        """Ask, and wait at most `timeout` seconds for the end of it. A status other than OK is an Outcome, no error."""

    async def close(self) -> None: ...


class NotOurs(ValueError):
    """A target that is not on this machine, and nobody said that it may be loaded."""


def checked(address: str, *, is_owned: bool) -> str:
    """`address` if it is HOST:PORT and may be loaded.

    Raises NotOurs for a host that is not loopback, unless `is_owned`; ValueError for what is no such address.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536) or "/" in host:
        raise ValueError(f"{address!r} is not HOST:PORT")
    if not (is_owned or _is_loopback(host)):
        raise NotOurs(f"{address} is not on this machine: a load test can take a server down (--i-own-this-target)")
    return address


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # Any other name may stand for any machine.
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class Access:
    """How a server lets us in: nothing where it wants nothing."""

    tls: Tls | None = None
    api_key: str = ""
    """Or a token."""

    @property
    def metadata(self) -> Metadata:
        """Of every call."""
        return (("authorization", f"Bearer {self.api_key}"),) if self.api_key else ()


OPEN = Access()


def connect(address: str, count: int, access: Access) -> list[grpc.aio.Channel]:
    """So many channels, each a connection of its own. Raises OSError for a file of TLS that cannot be read."""
    if access.tls is None:
        return [grpc.aio.insecure_channel(address, options=OPTIONS) for _ in range(count)]
    shown, options = access.tls.credentials(), (*OPTIONS, *access.tls.options)
    return [grpc.aio.secure_channel(address, shown, options=options) for _ in range(count)]


async def disconnect(channels: Sequence[grpc.aio.Channel]) -> None:
    for channel in channels:
        await channel.close()


def failed(error: grpc.aio.AioRpcError) -> Outcome:
    """A status other than OK, with the reason in its details; gRPC's own errors and other servers' have none, but for
    NOT_CONNECTED."""
    return Outcome(error.code().name, reason=_reason(error))


def _reason(error: grpc.aio.AioRpcError) -> str:
    # There is no other sign: a connection that breaks under a call has the same code.
    if (error.details() or "").startswith("failed to connect to all addresses"):
        return NOT_CONNECTED
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            info = error_details_pb2.ErrorInfo()
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info):
                    return str(info.reason)
    return ""
