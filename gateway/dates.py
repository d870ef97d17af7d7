"""From when until when a document counts, as sources write it: ISO 8601 in, seconds since 1970 kept, ISO 8601 out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from gateway.errors import DocumentInvalid

EARLIEST, LATEST = 0.0, 253_402_300_800.0
"""1970 and the end of 9999, in seconds since 1970."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAMES = {name: name for name in ("groups", "effective", "expires")} | {"group": "groups"}


def span_of(given: Mapping[str, Any]) -> tuple[float, float]:
    """What a source says under `effective` and `expires`. Raises DocumentInvalid: read in good faith, a date that is
    none could show what should not be seen any more."""
    effective, expires = (_seconds(name, given.get(name)) for name in ("effective", "expires"))
    span = (0.0 if effective is None else effective, math.inf if expires is None else expires)
    if problem := wrong_span(*span):
        raise DocumentInvalid(" ".join(problem))
    return span


def wrong_span(effective: float, expires: float) -> tuple[str, str] | None:
    """The field that is wrong and what with it; None if nothing is."""
    for name, seconds in (("effective", effective), ("expires", expires)):
        if not (EARLIEST <= seconds < LATEST or (name == "expires" and seconds == math.inf)):
            return name, "must be of the years 1970 to 9999: leave it out where there is no such date"
    return None if effective < expires else ("expires", "must be after effective, which is 1970 where it is not given")


def iso(seconds: float) -> str:
    """Empty for what is no bound: 0, and infinity."""
    if seconds in (0.0, math.inf):
        return ""
    found = _EPOCH + timedelta(microseconds=microseconds(seconds))
    return (found.date() if found.time() == time() else found).isoformat()


def microseconds(seconds: float) -> int:
    """In two steps: so late that a float tells them apart no more, those that `/ 10**6` turns into the same float."""
    whole = math.floor(seconds)
    return whole * 10**6 + round(1e6 * (seconds - whole))


def check_names(names: Iterable[object]) -> None:
    """Raises DocumentInvalid for one that is nearly that of a field which says who finds the document, and when: left
    out of account it would show the document to everybody, or for ever."""
    for name in names:
        meant = _NAMES.get(str(name).strip().lower())
        if meant not in (None, name):
            raise DocumentInvalid(f"has the key {name!r}: it must be called {meant}")


def _seconds(name: str, given: Any) -> float | None:
    """None where nothing is given. YAML has dates of its own."""
    if given is None or (isinstance(given, str) and not given.strip()):
        return None
    found = given
    if isinstance(given, str):
        try:
            found = datetime.fromisoformat(given.strip())
        except ValueError:
            found = None
    elif isinstance(given, date) and not isinstance(given, datetime):
        found = datetime.combine(given, time())
    if not isinstance(found, datetime):
        raise DocumentInvalid(
            f"{name} must be a date, for example 2026-01-31 or 2026-01-31T12:00:00+01:00, not {given!r}"
        )
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
