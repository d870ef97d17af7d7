"""One HTML file of any results: charts, numbers, whether they may be believed, and what they were measured on.

It refers to nothing outside of itself: it can be mailed, kept beside the JSON, and read in ten years.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from loadtest import report_rates, report_run
from loadtest.measures import MEASURES
from loadtest.report_parts import machine, number, table, verdict

STYLE = Path(__file__).with_name("report.css")


def page(results: Sequence[dict[str, Any]]) -> str:
    """The whole file. Results are what the commands keep with --out; runs need their "full" part."""
    title = f"Load test: {_title(results[0])}" if len(results) == 1 else f"{len(results)} load tests"
    sections = "".join(f"<section>{_section(found)}</section>" for found in results)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style></head>\n"
        f"<body><main>{sections}</main></body>\n</html>\n"
    )


def _section(found: dict[str, Any]) -> str:
    bodies = {
        "run": report_run.body,
        "capacity": report_rates.capacity,
        "sweep": report_rates.sweep,
        "peers": report_rates.peers,
        "comparison": _comparison,
        "cross-check": _cross_check,
        "kept": _kept,
    }
    under = ", ".join(found[name] for name in ("server", "when") if name in found)
    head = f'<h1>{escape(_title(found))}</h1><p class="under">{escape(under)}</p>'
    return head + verdict(found) + bodies[found["kind"]](found) + machine(found)


def _title(found: dict[str, Any]) -> str:
    if found["kind"] == "run":
        return f"{found['scenario']}"
    if found["kind"] == "kept":
        return f"{found['what']}"
    return {
        "capacity": "Capacity",
        "sweep": "Goodput curve",
        "peers": "Peers",
        "comparison": "Comparison",
        "cross-check": "Cross-check",
    }[found["kind"]]


def _cross_check(found: dict[str, Any]) -> str:
    names = ("per_second", "p50_ms", "p99_ms", "max_ms")
    rows = [[row["generator"], *(number(row[name], 2) for name in names)] for row in found["rows"]]
    rows.append(["h2load / ours", *(number(found["ratios"].get(name), 3) for name in names)])
    return table(["", "answers/s", "p50 ms", "p99 ms", "max ms"], rows)


def _kept(found: dict[str, Any]) -> str:
    measure = MEASURES[found["measure"]]
    shown = [measure.shown(found[name]) for name in ("value", "at_least", "aim")]
    return table(["", "found", "asked", "aim", "", "load"], [[measure.name, *shown, found["verdict"], found["load"]]])


def _comparison(found: dict[str, Any]) -> str:
    rows = [
        [
            name.replace("_", " "),
            *(f"{ratio[key]:.3f}" if ratio[key] is not None else "-" for key in ("a", "b", "ratio", "low", "high")),
        ]
        for name, ratio in found["ratios"].items()
    ]
    named = f"<p>A: {escape(found['a'])}<br>B: {escape(found['b'])}</p>"
    return named + table(["", "A", "B", "B / A", "95 % from", "to"], rows)
