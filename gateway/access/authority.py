"""Says who calls: by the API key or token that a caller shows, or by the name in its certificate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from gateway.access.grants import Grant
from gateway.access.keys import PREFIX, Callers, digest_of
from gateway.access.tokens import Tokens
from gateway.access.watched import Looking, Watched
from gateway.errors import Unauthenticated
from gateway.types import Denial

BEARER = "bearer "
NOBODY = Callers({}, {})


class Authority:
    """By a file of callers, by tokens, or by both. `watched` has to be looked at. On one thread.

    `clock`: seconds since 1970, as what expires does so by the calendar.
    """

    def __init__(
        self,
        keys: Watched[Callers] | None,
        tokens: Tokens | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._clock = clock

    @property
    def watched(self) -> Sequence[Looking]:
        return [*([self._keys] if self._keys else []), *([self._tokens.source] if self._tokens else [])]

    @property
    def has_token_keys(self) -> bool:
        """Whether a token can be believed now."""
        return bool(self._tokens and self._tokens.source.current)

    @property
    def asks_for_names(self) -> bool:
        """Whether a certificate may say who calls."""
        return bool(self._callers.by_name)

    def of_header(self, authorization: str) -> Grant:
        """Whose "Bearer ..." that is. Raises Unauthenticated."""
        if authorization[: len(BEARER)].lower() != BEARER:
            raise Unauthenticated(Denial.INVALID)
        shown = authorization[len(BEARER) :]
        if self._tokens and not shown.startswith(PREFIX):
            return self._tokens.grant(shown)
        return self._valid(self._callers.by_digest.get(digest_of(shown)))

    def of_names(self, names: Iterable[str]) -> Grant:
        """Whose certificate has these names. Raises Unauthenticated."""
        known = self._callers.by_name
        return self._valid(next((known[name] for name in names if name in known), None))

    @property
    def _callers(self) -> Callers:
        return self._keys.current if self._keys else NOBODY

    def _valid(self, grant: Grant | None) -> Grant:
        if grant is None:
            raise Unauthenticated(Denial.UNKNOWN)
        if grant.expires <= self._clock():
            raise Unauthenticated(Denial.EXPIRED)
        return grant
