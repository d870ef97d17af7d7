"""Who says who calls, by the settings: a file of callers, an issuer of tokens, or both. Imports no gRPC."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway.access.authority import Authority
from gateway.access.jwks import FileSource, RemoteSource, Source
from gateway.access.keys import callers_in
from gateway.access.tokens import TokenRules, Tokens
from gateway.access.watched import Watched
from gateway.config import Config, JwtSection
from gateway.telemetry.access import AccessMetrics, Reloaded


def authority_of(config: Config, metrics: AccessMetrics | None = None) -> Authority | None:
    """None where callers are believed. Raises ConfigInvalid."""
    if not config.wants_credentials:
        return None

    def told(what: Reloaded) -> Callable[[bool], None]:
        return lambda is_in_use: metrics.reloaded(what, is_in_use) if metrics else None

    keys = config.access.keys
    watched = Watched("file of callers", [keys], lambda: callers_in(keys), told(Reloaded.KEYS)) if keys else None
    if not config.jwt.jwks:
        return Authority(watched)

    def fetched(moment: float) -> None:
        if metrics:
            metrics.set_jwks(config.jwt.issuer, moment)

    return Authority(watched, Tokens(_rules(config.jwt), _source(config.jwt, told(Reloaded.JWKS), fetched)))


def _source(jwt: JwtSection, told: Callable[[bool], None], fetched: Callable[[float], None]) -> Source:
    if jwt.is_remote:
        return RemoteSource(jwt.jwks, jwt.refresh_seconds, told, fetched)
    return FileSource(Path(jwt.jwks), told, fetched)


def _rules(jwt: JwtSection) -> TokenRules:
    return TokenRules(
        issuer=jwt.issuer,
        audience=jwt.audience,
        algorithms=frozenset(jwt.algorithms),
        tenant_claim=jwt.tenant_claim,
        groups_claim=jwt.groups_claim,
        scope_claim=jwt.scope_claim,
        scope_prefix=jwt.scope_prefix,
        highest=jwt.criticality,
    )
