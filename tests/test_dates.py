"""Dates from and to when documents count: what is read as one, what is refused, and that nothing is lost on the way."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.convert import document_from_proto, document_to_proto
from gateway.dates import check_names, iso, span_of
from gateway.errors import DocumentInvalid
from gateway.types import Document

DAY = 1_767_225_600.0
"""2026-01-01 in UTC."""
MOMENTS = st.datetimes(datetime(1970, 1, 1, 0, 0, 0, 1), datetime(9999, 12, 30))  # noqa: DTZ001 - made UTC below


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("2026-01-01", DAY),
        (" 2026-01-01T12:00 ", DAY + 43_200),
        ("2026-01-01T12:00:00Z", DAY + 43_200),
        ("2026-01-01 12:00:00.5+02:00", DAY + 36_000.5),
        (date(2026, 1, 1), DAY),
        (datetime(2026, 1, 1), DAY),  # noqa: DTZ001 - as YAML gives it
        (datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=-1))), DAY + 3600),
    ],
)
def test_a_date_is_of_utc_unless_it_says_otherwise(said: Any, seconds: float) -> None:
    assert span_of({"effective": said}) == (seconds, math.inf)
    assert span_of({"expires": said}) == (0.0, seconds)


@pytest.mark.parametrize("nothing", [{}, {"effective": None, "expires": None}, {"effective": "", "expires": " "}])
def test_no_date_means_always(nothing: dict[str, Any]) -> None:
    assert span_of(nothing) == (0.0, math.inf)


@pytest.mark.parametrize("said", ["soon", "2026-13-01", "31.12.2026", 20260101, 2026.5, True, ["2026-01-01"]])
@pytest.mark.parametrize("name", ["effective", "expires"])
def test_what_is_no_date_is_named(said: Any, name: str) -> None:
    with pytest.raises(DocumentInvalid, match=f"^{name} must be a date, for example 2026-01-31 "):
        span_of({name: said})


@pytest.mark.parametrize(
    ("effective", "expires", "problem"),
    [
        ("1969-12-31", None, "effective must be of the years 1970 to 9999"),
        ("9999-12-31T23:00-05:00", None, "effective must be of the years 1970 to 9999"),
        (None, "1969-12-31", "expires must be of the years 1970 to 9999"),
        (None, "1970-01-01", "expires must be after effective"),
        ("2026-01-01", "2026-01-01", "expires must be after effective"),
        ("2026-01-02", "2026-01-01", "expires must be after effective"),
    ],
)
def test_dates_that_make_no_sense_are_named(effective: str | None, expires: str | None, problem: str) -> None:
    with pytest.raises(DocumentInvalid, match=f"^{problem}"):
        span_of({"effective": effective, "expires": expires})


@pytest.mark.parametrize(("seconds", "text"), [(0.0, ""), (math.inf, ""), (DAY, "2026-01-01")])
def test_bounds_that_are_none_and_whole_days_are_short(seconds: float, text: str) -> None:
    assert iso(seconds) == text


@given(MOMENTS, st.integers(1, 10**6))
def test_a_date_survives_every_way_there_and_back(effective: datetime, later: int) -> None:
    start, end = (one.replace(tzinfo=UTC).isoformat() for one in (effective, effective + timedelta(seconds=later)))
    span = span_of({"effective": start, "expires": end})
    assert span_of({"effective": iso(span[0]), "expires": iso(span[1])}) == span
    document = Document("a", "T", "", "", "A.", "A.\n\n\n", frozenset(), *span)
    assert document_from_proto(document_to_proto(document)) == document


@pytest.mark.parametrize("name", ["group", "Groups", " GROUP", "Effective", "EXPIRES "])
def test_a_name_that_is_nearly_right_is_refused(name: str) -> None:
    with pytest.raises(DocumentInvalid, match=r"it must be called (groups|effective|expires)$"):
        check_names(["title", name])
    check_names(["groups", "effective", "expires", "grouping", 7])
