"""The sections of results that were made at several rates: a capacity, a sweep, and peers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loadtest import charts
from loadtest.charts import Axis, Guide, Line
from loadtest.report_parts import charts as chart_grid
from loadtest.report_parts import number, share, status_colour, table, tiles
from loadtest.tables import counted

FAMILY_COLOURS = {"gateway": "c1", "triton": "c2", "mlserver": "c4"}


def capacity(found: dict[str, Any]) -> str:
    low, high = found["spread"]
    rows = [_trial(trial) for trial in found["trials"]]
    header = ["rate/s", "", "OK/s", "p50 ms", "p99 ms", "late p99 ms", "generator", "statuses"]
    return (
        tiles(
            [
                ("capacity", f"{number(found['capacity'])}/s"),
                ("spread of the repeats", f"{number(low)} - {number(high)}"),
                ("99 % within", f"{found['target_ms']:g} ms"),
            ]
        )
        + chart_grid([_p99_by_rate(found["trials"], found["target_ms"])])
        + "<h2>Trials</h2>"
        + table(header, rows, words=(1, 7))
    )


def sweep(found: dict[str, Any]) -> str:
    points = found["points"]
    header = ["of capacity", "offered/s", "good/s", "good of capacity", "p50 ms", "p99 ms", "statuses", ""]
    rows = [
        [
            f"{point['multiple']:g} x",
            number(point["offered_per_second"]),
            number(point["good_per_second"]),
            share(point["good_of_capacity"]),
            number(point["p50_ms"], 2),
            number(point["p99_ms"], 2),
            counted(point["statuses"]),
            "INVALID" if point["faults"] else "",
        ]
        for point in points
    ]
    figures = [_goodput(found), _latency(found), _statuses(points)]
    return (
        tiles([("capacity", f"{number(found['capacity'])}/s"), ("target", f"{found['target_ms']:g} ms")])
        + chart_grid(figures)
        + "<h2>Points</h2>"
        + table(header, rows, words=(6, 7))
    )


def peers(found: dict[str, Any]) -> str:
    servers = found["servers"]
    colours = [FAMILY_COLOURS[row["family"]] for row in servers]
    figures = [
        charts.bars(
            "Capacity",
            [(row["name"], row["capacity"], colour) for row, colour in zip(servers, colours, strict=True)],
            "/s",
        ),
        charts.bars(
            "Server CPU an answer",
            [(row["name"], row["cpu_ms_per_answer"], colour) for row, colour in zip(servers, colours, strict=True)],
            "ms",
        ),
    ]
    rows = [
        [
            row["name"],
            number(row["capacity"]),
            " - ".join(number(end) for end in row["spread"]),
            number(row["capacity_to_gateway"], 2),
            number(row["cpu_ms_per_answer"], 3),
            number(row["cpu_to_gateway"], 2),
            number(row["p99_ms"], 2),
        ]
        for row in servers
    ]
    header = ["server", "capacity/s", "spread", "of ours", "CPU ms an answer", "of ours", "p99 ms"]
    return (
        tiles(
            [
                ("capacity, gateway to Triton", _times(found["capacity_ratio_triton"])),
                ("CPU an answer, gateway to Triton", _times(found["cpu_ratio_triton"])),
                ("capacity, gateway to MLServer", _times(found["capacity_ratio_mlserver"])),
                ("CPU an answer, gateway to MLServer", _times(found["cpu_ratio_mlserver"])),
            ]
        )
        + chart_grid(figures)
        + "<h2>Servers</h2>"
        + table(header, rows)
        + f'<p class="under">CPU and p99 at {number(found["cpu_rate"])}/s, half of the lowest capacity.</p>'
    )


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} x"


def _trial(trial: dict[str, Any]) -> list[str]:
    return [
        number(trial["rate"]),
        "passed" if trial["passed"] else "failed",
        number(trial["ok_per_second"]),
        number(trial["p50_ms"], 2),
        number(trial["p99_ms"], 2),
        number(trial["late_p99_ms"], 2),
        share(trial["generator_cpu"]),
        counted(trial["statuses"]),
    ]


def _p99_by_rate(trials: Sequence[dict[str, Any]], target: float) -> str:
    known = [trial for trial in trials if trial["p99_ms"]]
    most = max((trial["rate"] for trial in known), default=1.0)
    series = [
        Line(
            name,
            [(trial["rate"], trial["p99_ms"]) for trial in known if trial["passed"] is passed],
            colour,
            has_dots=True,
            has_line=False,
        )
        for name, passed, colour in (("passed", True, "good"), ("failed", False, "bad"))
    ]
    values = [trial["p99_ms"] for trial in known] + [target]
    x, y = charts.linear("questions a second", most), charts.logarithmic("p99, ms", min(values), max(values))
    return charts.lines("p99 by rate", series, x, y, [_level(f"target {target:g} ms", target, x)])


def _goodput(found: dict[str, Any]) -> str:
    points = [(point["offered_per_second"], point["good_per_second"]) for point in found["points"]]
    most = max(offered for offered, _ in points)
    level = found["capacity"]
    x = charts.linear("offered, a second", most)
    y = charts.linear("good, a second", 1.15 * max(level, *(good for _, good in points)))
    line = Line("good", sorted(points), "c1", has_dots=True)
    return charts.lines("Goodput against offered load", [line], x, y, [_level("capacity", level, x)])


def _latency(found: dict[str, Any]) -> str:
    points = sorted(found["points"], key=lambda point: point["offered_per_second"])
    known = [point for point in points if point["p99_ms"]]
    series = [
        Line(name, [(point["offered_per_second"], point[f"{name}_ms"]) for point in known], colour, has_dots=True)
        for name, colour in (("p50", "c1"), ("p99", "c2"))
    ]
    target = found["target_ms"]
    values = [value for line in series for _, value in line.points] + [target]
    most = max(point["offered_per_second"] for point in points)
    x, y = charts.linear("offered, a second", most), charts.logarithmic("ms", min(values), max(values))
    return charts.lines("Latency of the OK answers", series, x, y, [_level(f"target {target:g} ms", target, x)])


def _level(name: str, height: float, x: Axis) -> Guide:
    return Guide(name, (0, height), (x.ticks[-1][0], height))


def _statuses(points: Sequence[dict[str, Any]]) -> str:
    seen = sorted({name for point in points for name in point["statuses"]}, key=lambda name: (name != "OK", name))
    names = [(name, status_colour(name)) for name in seen]
    stacks = []
    for place, point in enumerate(points):
        total = sum(point["statuses"].values()) or 1
        stacks.append((place + 0.5, [100 * point["statuses"].get(name, 0) / total for name in seen]))
    x = charts.named("of capacity", [f"{point['multiple']:g} x" for point in points])
    return charts.columns("How they ended", names, stacks, x, charts.linear("% of the questions", 100.0))
