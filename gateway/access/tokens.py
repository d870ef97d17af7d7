"""Tokens of an issuer that is trusted: verified once, then known until they end or their key does."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from gateway.access.grants import Grant, Scope
from gateway.access.jwks import PublicKey, Source
from gateway.access.keys import NAME
from gateway.errors import Unauthenticated
from gateway.types import Criticality, Denial

LEEWAY = 60.0
"""Seconds that two clocks may differ."""
KNOWN = 4096
"""Tokens that are remembered. Verifying one takes 50 to 90 us, and looking it up 1."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token has to say, and where it says who calls. `algorithms` is an allow-list."""

    issuer: str
    audience: str
    algorithms: frozenset[str]
    tenant_claim: str = "tenant"
    groups_claim: str = "groups"
    scope_claim: str = "scope"
    scope_prefix: str = ""
    highest: Criticality = Criticality.CRITICAL


class Tokens:
    """By keys of `source`. On one thread. `clock`: seconds since 1970."""

    def __init__(self, rules: TokenRules, source: Source, clock: Callable[[], float] = time.time) -> None:
        self.source = source
        self._rules = rules
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[Grant, str, PublicKey]] = OrderedDict()

    def grant(self, token: str) -> Grant:
        """Raises Unauthenticated."""
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        known = self._known.get(digest)
        if known is not None:
            grant, kid, key = known
            if grant.expires <= self._clock():
                del self._known[digest]
                raise Unauthenticated(Denial.EXPIRED)
            if self.source.current.get(kid) is key:
                self._known.move_to_end(digest)
                return grant
        grant, kid, key = self._verified(token)
        self._known[digest] = grant, kid, key
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return grant

    def _verified(self, token: str) -> tuple[Grant, str, PublicKey]:
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
        except Exception:  # noqa: BLE001  # whatever a library says of somebody's bytes, they are no token
            raise Unauthenticated(Denial.INVALID) from None
        key = self.source.current.get(kid)
        if key is None:
            self.source.want()
            raise Unauthenticated(Denial.UNKNOWN)
        rules = self._rules
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=sorted(rules.algorithms & key.algorithms),
                audience=rules.audience,
                issuer=rules.issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated(Denial.EXPIRED) from None
        except Exception:  # noqa: BLE001  # as above
            raise Unauthenticated(Denial.INVALID) from None
        return grant_of(claims, rules), kid, key


def grant_of(claims: Mapping[str, Any], rules: TokenRules) -> Grant:
    """What the claims of a verified token allow. Raises Unauthenticated where they name no tenant."""
    tenants = tuple(name for name in _words(claims.get(rules.tenant_claim)) if NAME.fullmatch(name))
    if not tenants:
        raise Unauthenticated(Denial.INVALID)
    groups = frozenset(name for name in _words(claims.get(rules.groups_claim)) if NAME.fullmatch(name))
    said = frozenset(_words(claims.get(rules.scope_claim)))
    scopes = frozenset(scope for scope in Scope if f"{rules.scope_prefix}{scope}" in said)
    return Grant("a token", scopes, tenants, groups, rules.highest, float(claims["exp"]) + LEEWAY)


def _words(claim: object) -> list[str]:
    """Of a list, or of a text with spaces between."""
    if isinstance(claim, str):
        return claim.split()
    return [one for one in claim if isinstance(one, str)] if isinstance(claim, list) else []
