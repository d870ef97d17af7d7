"""How the clients reach a server, and what they show there: TLS, a certificate of their own, an API key or a token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from gateway.client.calls import OPTIONS


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM. `root`: who has signed the server's certificate; None: whoever gRPC trusts, by a list of its own.
    `certificate` and `key`: the client's, where the server wants one. `server_name`: what the server's certificate is
    for, where that is not what the target says."""

    root: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """Of the files as they are now: a channel keeps what it was made with. Raises OSError."""
        root, key, certificate = (
            None if path is None else path.read_bytes() for path in (self.root, self.key, self.certificate)
        )
        return grpc.ssl_channel_credentials(root, key, certificate)

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        return (("grpc.ssl_target_name_override", self.server_name),) if self.server_name else ()


def channel_to(target: str, tls: Tls | None) -> grpc.Channel:
    """Without TLS where that is None."""
    if tls is None:
        return grpc.insecure_channel(target, options=OPTIONS)
    return grpc.secure_channel(target, tls.credentials(), options=(*OPTIONS, *tls.options))


def aio_channel_to(target: str, tls: Tls | None) -> grpc.aio.Channel:
    """As `channel_to`, inside the running loop."""
    if tls is None:
        return grpc.aio.insecure_channel(target, options=OPTIONS)
    return grpc.aio.secure_channel(target, tls.credentials(), options=(*OPTIONS, *tls.options))
