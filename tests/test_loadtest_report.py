"""The report: one file that needs nothing else, with every number where it belongs."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest import charts, documents, peers, report, trials
from loadtest.charts import Line
from loadtest.compare_command import compared
from loadtest.cross_check_command import compared as beside
from tests.loadtest_fakes import FACTS, made_run
from tests.test_loadtest_cross_check import THEIRS
from tests.test_loadtest_prove import document
from tests.test_loadtest_trials import ROWS, capacity, measured, trial

HEAD = {"when": "2026-01-02T03:04:05+00:00", "server": "a <server>", "target_ms": 50.0, **FACTS}


def run(**changes: Any) -> dict[str, Any]:
    seconds = [[0.01, 0.02, 0.2]] * 12
    made = made_run(seconds, shed=[0] * 6 + [5] * 6, cpu=[0.1 * number for number in range(13)], **changes)
    found = json.loads(documents.text(made.to_json()))
    assert isinstance(found, dict)
    return found


def every_kind() -> list[dict[str, Any]]:
    points = [
        {"multiple": multiple, "good_of_capacity": 0.9, **asdict(trial(100 * multiple, passed=True))}
        for multiple in (0.5, 1, 2)
    ]
    sweep = {"kind": "sweep", "valid": True, "faults": [], "capacity": 100.0, "points": points}
    return [
        run(),
        HEAD | {"kind": "capacity"} | trials.capacity_to_json(capacity(100, 120, 90)),
        HEAD | sweep,
        HEAD | {"kind": "peers"} | peers.to_json(measured(*ROWS)),
        compared(run(), run()),
        HEAD | {"kind": "cross-check"} | beside(made_run([[0.01] * 50] * 4), THEIRS, 50),
        document(),
    ]


class Tags(HTMLParser):
    """Opens and closes in pairs, and what the attributes refer to."""

    VOID = ("meta", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]
        self.references += [tag] if tag in ("script", "link", "iframe", "object", "embed", "img", "base") else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("found", every_kind(), ids=lambda found: str(found["kind"]))
def test_a_report_is_one_file_that_refers_to_nothing(found: dict[str, Any]) -> None:
    page = report.page([found])
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.references == []
    assert not re.search(r"https?://|@import|url\(", page)
    assert "prefers-color-scheme: dark" in page
    assert found["commit"] in page
    assert not re.search(r'="(nan|inf)|NaN|Infinity| nan|None', page)


def test_what_comes_from_outside_is_shown_and_not_run() -> None:
    page = report.page([run(server="<script>alert(1)</script>")])
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_an_invalid_run_says_so_first() -> None:
    page = report.page([run(faults=("the generator was late: p99 9 ms",))])
    assert page.index("INVALID") < page.index("<svg")
    assert "the generator was late: p99 9 ms" in page
    assert "INVALID" not in report.page([run()])


def test_statuses_are_counted_and_named() -> None:
    page = report.page([run()])
    assert "UNAVAILABLE" in page
    assert "OVERLOADED 30" in page


def test_several_results_are_several_sections() -> None:
    assert report.page(every_kind()).count("<section>") == 7


@settings(deadline=None)
@given(st.floats(0.001, 1e6), st.floats(1.0, 1e6))
def test_axes_hold_what_they_are_made_for(low: float, factor: float) -> None:
    high = low * factor
    for axis in (charts.logarithmic("x", low, high), charts.linear("x", high), charts.exact("x", high)):
        assert -1e-6 <= axis.place(low) <= axis.place(high) <= 1 + 1e-6
        assert 2 <= len(axis.ticks) <= 13
        places = [axis.place(value) for value, _ in axis.ticks]
        assert places == sorted(places)
        assert places[0] >= -1e-6
        assert places[-1] <= 1 + 1e-6


def test_the_tail_has_as_much_room_as_the_rest() -> None:
    axis = charts.by_percentile("x", 3)
    assert [round(axis.place(percent), 4) for percent in (0, 90, 99, 99.9, 100)] == [0, 0.3333, 0.6667, 1, 1]


def test_a_gap_interrupts_a_line() -> None:
    points = [(0.0, 1.0), (1.0, 2.0), (2.0, math.nan), (3.0, 1.0), (4.0, 1.0)]
    chart = charts.lines("x", [Line("a", points, "c1")], charts.exact("x", 4), charts.linear("y", 2))
    path = re.search(r' d="([^"]+)"', chart)
    assert path is not None
    assert re.sub(r"[\d. ]+", "", path[1]) == "MLML"
