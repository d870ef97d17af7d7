"""Says who calls: by an API key in what the caller shows, or by the name in its certificate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gateway.access.grants import Grant
from gateway.access.keys import Callers, callers_in, digest_of
from gateway.access.watched import Watched
from gateway.errors import Unauthenticated
from gateway.types import Denial

BEARER = "bearer "


class Authority:
    """By the file of callers, which is read again when it changes. Raises ConfigInvalid where it cannot begin.

    `clock`: seconds since 1970, as what expires does so by the calendar.
    """

    def __init__(
        self, keys: Path, told: Callable[[bool], None] = lambda _: None, clock: Callable[[], float] = time.time
    ) -> None:
        self._keys: Watched[Callers] = Watched("file of callers", [keys], lambda: callers_in(keys), told)
        self._clock = clock

    @property
    def watched(self) -> list[Watched[Any]]:
        """What has to be looked at."""
        return [self._keys]

    @property
    def asks_for_names(self) -> bool:
        """Whether a certificate may say who calls."""
        return bool(self._keys.current.by_name)

    def of_header(self, authorization: str) -> Grant:
        """Whose "Bearer ..." that is. Raises Unauthenticated."""
        if authorization[: len(BEARER)].lower() != BEARER:
            raise Unauthenticated(Denial.INVALID)
        return self._valid(self._keys.current.by_digest.get(digest_of(authorization[len(BEARER) :])))

    def of_names(self, names: Iterable[str]) -> Grant:
        """Whose certificate has these names. Raises Unauthenticated."""
        known = self._keys.current.by_name
        return self._valid(next((known[name] for name in names if name in known), None))

    def _valid(self, grant: Grant | None) -> Grant:
        if grant is None:
            raise Unauthenticated(Denial.UNKNOWN)
        if grant.expires <= self._clock():
            raise Unauthenticated(Denial.EXPIRED)
        return grant
