"""The settings of tokens that somebody else issues."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from gateway.config.section import Section
from gateway.types import Criticality

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""What a published key can verify and not make. "none" and HS are not among them: who can read the key could sign."""


class JwtSection(Section):
    """JSON Web Tokens of one issuer, as `authorization: Bearer ...`, beside API keys or instead of them."""

    jwks: str = ""
    """File or https:// URL of the issuer's public keys (a JWK set). Empty: tokens are nobody's proof. It is read in the
    background; while a URL gives no answer, the keys of the last one are good for 24 hours."""
    issuer: str = ""
    """What `iss` has to be."""
    audience: str = ""
    """What `aud` has to be or hold: this gateway, and no other service of that issuer's."""
    algorithms: Annotated[tuple[str, ...], Field(min_length=1)] = ("RS256", "ES256", "EdDSA")
    """What a token may be signed by; others are refused, whatever its header says."""
    refresh_seconds: Annotated[int, Field(ge=30, le=86_400)] = 300
    """Between two readings of a URL. A token by a key that nobody knows brings the next one forward, to 30 seconds."""
    tenant_claim: str = "tenant"
    """The claim that names the tenant, or several, of which the first is meant where a call names none. A token without
    it is refused."""
    groups_claim: str = "groups"
    """The claim that lists groups; those that are no names of groups here are left out."""
    scope_claim: str = "scope"
    """The claim that lists scopes, or holds them with spaces between; unknown ones are left out."""
    scope_prefix: str = ""
    """Before each scope in that claim: with "gateway." the scope "gateway.ask" is `ask` here."""
    criticality: Criticality = Criticality.CRITICAL
    """The highest that calls with tokens may say."""

    @field_validator("algorithms", mode="before")
    @classmethod
    def _names_in_a_variable(cls, given: object) -> object:
        return [name.strip() for name in given.split(",") if name.strip()] if isinstance(given, str) else given

    @field_validator("algorithms")
    @classmethod
    def _are_asymmetric(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            if one not in ASYMMETRIC:
                raise ValueError(f"{one} is none of {', '.join(ASYMMETRIC)}")
        return given

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.jwks and not (self.issuer and self.audience):
            raise ValueError("issuer and audience have to be set with jwks: a token for another service is none for us")
        if self.is_remote and not self.jwks.startswith("https://") and not _is_local(self.jwks):
            raise ValueError(f"{self.jwks} is no https:// URL: whoever is on the way could put keys of his own there")
        return self

    @property
    def is_remote(self) -> bool:
        return "://" in self.jwks


def _is_local(url: str) -> bool:
    parts = urlsplit(url)
    try:
        return parts.scheme == "http" and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
