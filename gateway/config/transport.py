"""The settings of how callers reach the server, and of who they are."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import model_validator

from gateway.config.section import Section


class TlsSection(Section):
    """TLS on the gRPC port. The files are read again when they change: calls that are under way do not notice, and a
    broken file changes nothing but the log and gateway_reloads_total."""

    certificate: Path | None = None
    """The server's certificate in PEM, then those that lead to its root. None: no TLS."""
    key: Path | None = None
    """The private key of the first certificate, in PEM, not encrypted."""
    client_ca: Path | None = None
    """Certificates in PEM. With it a client has to show a certificate that one of them has signed (mTLS)."""

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            given, missing = ("certificate", "key") if self.key is None else ("key", "certificate")
            raise ValueError(f"{given} is set and {missing} is not; TLS takes both")
        if self.client_ca and not self.certificate:
            raise ValueError("client_ca is set without certificate and key; TLS takes them first")
        return self

    @property
    def is_on(self) -> bool:
        return self.certificate is not None


class AccessSection(Section):
    """Who may call, and what. With a file of callers, or with [jwt], nobody calls without credentials, and tenant and
    groups are theirs; without both, callers are believed."""

    keys: Path | None = None
    """The file of callers, as `gateway keys create` writes it: hashes of API keys, and names in client certificates,
    each with its scopes, tenants and groups. It is read again when it changes; a broken one changes nothing but the log
    and gateway_reloads_total."""
