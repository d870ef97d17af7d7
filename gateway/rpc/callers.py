"""Who makes a call: what its metadata says, and what its credentials allow of that. One way in for all methods."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grpc.aio

from gateway.access.authority import Authority
from gateway.access.grants import Grant, Scope
from gateway.deadline import Clock
from gateway.errors import AccessDenied, Unauthenticated
from gateway.rpc.admission import Caller
from gateway.rpc.validate import AUTHORIZATION, claims_of, criticality_of, groups_of, tenant_of, timeout_of
from gateway.telemetry.access import AccessMetrics
from gateway.telemetry.traces import TRACEPARENT
from gateway.types import Denial, Principal

log = logging.getLogger(__name__)

QUIET = 1.0
"""Seconds between two lines of the log about calls that are not let in: who has no key must not fill it."""
NAMES = "x509_subject_alternative_name"

ANYONE = Principal()
"""Who asks where the metadata does not say."""

Context = grpc.aio.ServicerContext[Any, Any]


class Callers:
    """`authority` None: callers are believed. On the event loop."""

    def __init__(self, authority: Authority | None, metrics: AccessMetrics, clock: Clock = time.monotonic) -> None:
        self._authority = authority
        self._metrics = metrics
        self._clock = clock
        self._told_at = float("-inf")

    def of(self, need: Scope | None, context: Context) -> Caller:
        """`need` None: whoever it is. Raises Unauthenticated, PermissionDenied, and InvalidQuestion for metadata that
        is malformed or repeated."""
        metadata = context.invocation_metadata() or ()
        authority = self._authority
        if authority is None:
            return caller_of(metadata)
        if need is None:
            return Caller(ANYONE)
        claims = claims_of(metadata)
        criticality, timeout = criticality_of(claims), timeout_of(claims)
        names = _names_in(context) if AUTHORIZATION not in claims and authority.asks_for_names else ()
        grant, principal = self._allowed(authority, need, claims, names)

        def recheck() -> None:
            if self._allowed(authority, need, claims, names)[1] != principal:
                raise self._told(Unauthenticated(Denial.EXPIRED), need, None)

        trace = claims.get(TRACEPARENT, "")
        return Caller(principal, grant.criticality(criticality), timeout, recheck=recheck, traceparent=trace)

    def _allowed(
        self, authority: Authority, need: Scope, claims: Mapping[str, str], names: Sequence[str]
    ) -> tuple[Grant, Principal]:
        grant = None
        try:
            grant = _grant(authority, claims, names)
            grant.check(need)
            return grant, grant.principal(tenant_of(claims), groups_of(claims))
        except AccessDenied as error:
            raise self._told(error, need, grant) from None

    def _told(self, error: AccessDenied, need: Scope, grant: Grant | None) -> AccessDenied:
        self._metrics.denied(Denial(error.reason))
        now = self._clock()
        if now - self._told_at >= QUIET:
            self._told_at = now
            # Nothing that the caller has sent, which may be a key with a typing error.
            who = grant.name if grant else "somebody unknown"
            log.info("a call of %s that needs the scope %s was not let in: %s", who, need, error.reason)
        return error


def caller_of(metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
    """Who asks and how much it matters, as the metadata claims: nothing here is proof, so only a trusted proxy may set
    it. Raises InvalidQuestion for what is malformed or repeated."""
    claims = claims_of(metadata)
    tenant, groups = tenant_of(claims), groups_of(claims)
    principal = Principal(tenant or ANYONE.tenant, groups or ANYONE.groups) if tenant or groups else ANYONE
    return Caller(principal, criticality_of(claims), timeout_of(claims), traceparent=claims.get(TRACEPARENT, ""))


def _grant(authority: Authority, claims: Mapping[str, str], names: Sequence[str]) -> Grant:
    if AUTHORIZATION in claims:
        return authority.of_header(claims[AUTHORIZATION])
    if names:
        return authority.of_names(names)
    raise Unauthenticated(Denial.MISSING)


def _names_in(context: Context) -> Sequence[str]:
    """Of the client's certificate, none without one. gRPC has verified it: without that there is no connection."""
    found: Mapping[str, Iterable[bytes]] = context.auth_context()
    return [one.decode("utf-8", "replace") for one in found.get(NAMES, ())]
