"""The section of one run: latency by percentile, the run second by second, and what became of its questions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from loadtest import charts, summary
from loadtest.charts import Axis, Guide, Line, Point
from loadtest.recorder import Group, Latencies, Recorder, Second, percentiles
from loadtest.report_parts import COLOURS, number, share, status_colour, table, tiles
from loadtest.report_parts import charts as chart_grid
from loadtest.results import Run
from loadtest.targets import OK

SHORTEST = 0.5
"""Seconds between two samples of the server that say something about its CPU time."""
STEPS_PER_NINE = 20
"""Points of a latency curve for each tenfold rarer percentile."""


def body(found: dict[str, Any]) -> str:
    """Everything between the verdict and the machine."""
    run = Run.from_json(found)
    whole = found["loads"][summary.ALL]
    figures = [
        _by_percentile(run),
        _over_time(run),
        _latency_over_time(run),
        _statuses_over_time(run),
        _good_against_offered(run),
    ]
    if len(run.recorder.loads) > 1:
        figures.append(_loads_over_time(run))
    if len(run.samples) > 2:
        figures += [_cores(run), _memory(run)]
    return (
        f'<p class="under">{escape(run.scenario["summary"])}</p>'
        + _tiles(found, whole)
        + chart_grid(figures)
        + "<h2>By load</h2>"
        + _loads(found["loads"])
        + _events(found["events"])
        + "<h2>What became of the questions</h2>"
        + _ends(run.recorder)
        + "<h2>The generator</h2>"
        + _generator(found)
    )


def _tiles(found: dict[str, Any], whole: dict[str, Any]) -> str:
    pairs = [
        ("offered", f"{number(whole['offered_per_second'])}/s"),
        (f"good (OK within {found['target_ms']:g} ms)", f"{number(whole['good_per_second'])}/s"),
        ("of what was offered", share(whole["good_share"])),
        ("p50", f"{number(whole['milliseconds']['p50'])} ms"),
        ("p99", f"{number(whole['milliseconds']['p99'])} ms"),
    ]
    if found["server_use"]:
        pairs.append(("server CPU an answer", f"{number(found['server_use']['cpu_ms_per_answer'], 2)} ms"))
    return tiles(pairs)


def _by_percentile(run: Run) -> str:
    groups = [group for group in run.recorder.groups.values() if group.status == OK]
    loads = [load for load in run.recorder.loads if any(group.load == load for group in groups)]
    series = []
    whole = summary.ok_latency(groups)
    nines = min(5, max(2, math.floor(math.log10(max(len(whole), 1)))))
    if len(loads) > 1:
        for load, colour in zip(loads, COLOURS, strict=False):
            own = summary.ok_latency([group for group in groups if group.load == load])
            series.append(Line(load, _curve(own, nines), colour))
    else:
        series.append(Line("from the intended start", _curve(whole, nines), "c1"))
        sent = Latencies()
        for group in groups:
            sent.merge(group.from_send)
        series.append(Line("from the send", _curve(sent, nines), "c2", is_dashed=True))
    y = _milliseconds([value for line in series for _, value in line.points], run)
    x = charts.by_percentile("of the OK answers, from their intended start", nines)
    return charts.lines("Latency by percentile", series, x, y, [_target(run, 100.0)])


def _curve(latencies: Latencies, nines: int) -> list[Point]:
    if not len(latencies):
        return []
    # As far as there are answers to say something: the last point is the slowest one.
    rarest = min(nines, math.log10(len(latencies)))
    percents = [
        100 * (1 - 10 ** (-rarest * step / (nines * STEPS_PER_NINE))) for step in range(nines * STEPS_PER_NINE + 1)
    ]
    return [(percent, 1e3 * latencies.percentile(percent)) for percent in percents]


def _seconds(recorder: Recorder) -> list[tuple[int, list[Second]]]:
    """(second, what each load has in it), without gaps."""
    last = max((second for series in recorder.series.values() for second in series), default=0)
    return [
        (number, [series[number] for series in recorder.series.values() if number in series])
        for number in range(last + 1)
    ]


def _over_time(run: Run) -> str:
    rows = _seconds(run.recorder)
    offered = [(second + 0.5, float(sum(part.offered for part in parts))) for second, parts in rows]
    good = [(second + 0.5, float(sum(part.good for part in parts))) for second, parts in rows]
    y = charts.linear("questions a second", max(value for _, value in offered))
    series = [Line("offered", offered, "none", is_dashed=True), Line("good", good, "good")]
    return charts.lines("Offered and good", series, _time(run), y, _marks(run, y))


def _latency_over_time(run: Run) -> str:
    rows = _seconds(run.recorder)
    series = [
        Line(f"p{percent}", [(second + 0.5, _percentile(parts, percent)) for second, parts in rows], colour)
        for percent, colour in ((50, "c1"), (99, "c2"))
    ]
    y = _milliseconds([value for line in series for _, value in line.points], run)
    guides = [*_marks(run, y), _target(run, _length(run))]
    return charts.lines("Latency of the OK answers", series, _time(run), y, guides)


def _loads_over_time(run: Run) -> str:
    series = [
        Line(load, [(second + 0.5, _percentile([one], 99)) for second, one in sorted(own.items())], colour)
        for (load, own), colour in zip(run.recorder.series.items(), COLOURS, strict=False)
    ]
    y = _milliseconds([value for line in series for _, value in line.points], run)
    return charts.lines("p99 by load", series, _time(run), y, [_target(run, _length(run))])


def _percentile(parts: Sequence[Second], percent: float) -> float:
    """Milliseconds, or NaN."""
    if not any(len(part.latency) for part in parts):
        return math.nan
    counts = np.sum([part.latency.counts() for part in parts], axis=0)[None, :]
    return 1e3 * float(percentiles(counts, parts[0].latency.bounds(), percent)[0])


def _statuses_over_time(run: Run) -> str:
    rows = _seconds(run.recorder)
    totals = [_ended(parts) for _, parts in rows]
    seen = sum(totals, Counter[str]())
    names = [(name, status_colour(name)) for name, _ in sorted(seen.items(), key=lambda pair: (pair[0] != OK, pair[0]))]
    stacks = [
        (second + 0.5, [float(total[name]) for name, _ in names])
        for (second, _), total in zip(rows, totals, strict=True)
    ]
    y = charts.linear("questions a second", max((total.total() for total in totals), default=1))
    return charts.columns("How they ended", names, stacks, _time(run), y)


def _ended(parts: Sequence[Second]) -> Counter[str]:
    found = sum((part.statuses for part in parts), Counter[str]())
    if never := sum(part.unsent for part in parts):
        found["unsent"] = never
    return found


def _good_against_offered(run: Run) -> str:
    rows = [(second, parts) for second, parts in _seconds(run.recorder) if second >= run.recorder.warmup]
    points = [
        (float(sum(part.offered for part in parts)), float(sum(part.good for part in parts))) for _, parts in rows
    ]
    most = max((offered for offered, _ in points), default=1.0)
    x, y = charts.linear("offered, a second", most), charts.linear("good, a second", most)
    dots = Line("one second", points, "c1", has_dots=True, has_line=False)
    return charts.lines("Goodput against offered load", [dots], x, y, [_all_good(x)])


def _all_good(x: Axis) -> Guide:
    most = x.ticks[-1][0]
    return Guide("all good", (0, 0), (most, most))


def _cores(run: Run) -> str:
    pairs = list(zip(run.samples, run.samples[1:], strict=False))
    points = [
        (later.second, (later.cpu_seconds - before.cpu_seconds) / (later.second - before.second))
        for before, later in pairs
        # Nor the rest after the last second: CPU time comes in steps of 10 ms.
        if later.second - before.second > SHORTEST
    ]
    y = charts.linear("cores", max(value for _, value in points))
    return charts.lines("CPU of the server", [Line("cores", points, "c5")], _time(run), y)


def _memory(run: Run) -> str:
    points = [(sample.second, sample.rss_bytes / 2**20) for sample in run.samples]
    y = charts.linear("MB", max(value for _, value in points))
    return charts.lines("Memory of the server (RSS)", [Line("RSS", points, "c3")], _time(run), y)


def _length(run: Run) -> float:
    last = _seconds(run.recorder)[-1][0] + 1
    return max([float(last), *(sample.second for sample in run.samples)])


def _time(run: Run) -> Axis:
    return charts.exact("seconds since the start", _length(run))


def _milliseconds(values: Sequence[float], run: Run) -> Axis:
    known = [value for value in values if math.isfinite(value)] + [1e3 * run.recorder.target]
    return charts.logarithmic("ms", max(min(known), 0.001), max(known))


def _target(run: Run, right: float) -> Guide:
    target = 1e3 * run.recorder.target
    return Guide(f"target {target:g} ms", (0, target), (right, target))


def _marks(run: Run, y: Axis) -> list[Guide]:
    """The end of the warm-up, and when something was done to the server."""
    warmup = run.recorder.warmup
    marks = [("warm-up", warmup)] if warmup else []
    marks += [(one.do, one.began) for one in run.happened]
    return [Guide(name, (at, y.ticks[0][0]), (at, y.ticks[-1][0])) for name, at in marks]


def _loads(loads: dict[str, Any]) -> str:
    header = ["load", "offered/s", "OK/s", "good/s", "good", "of capacity", "p50 ms", "p90", "p99", "p99.9", "max"]
    rows = [
        [
            load,
            *(number(found[name]) for name in ("offered_per_second", "ok_per_second", "good_per_second")),
            share(found["good_share"]),
            share(found["good_of_capacity"]),
            *(number(found["milliseconds"][name], 2) for name in ("p50", "p90", "p99", "p99.9", "max")),
        ]
        for load, found in loads.items()
    ]
    return table(header, rows)


def _events(events: Sequence[dict[str, Any]]) -> str:
    if not events:
        return ""
    header = ["event", "at s", "took s", "", "errors around it", "of", "p99 ms", "before it", "ratio"]
    return "<h2>Events</h2>" + table(header, [_event(event) for event in events], words=(3,))


def _event(event: dict[str, Any]) -> list[str]:
    window, before = event["window"], event["before"]
    return [
        event["do"],
        number(event["began"]),
        number(event["ended"] - event["began"]),
        event["outcome"] or event["failure"],
        f"{window['errors']:,}",
        f"{window['offered']:,}",
        number(window["p99_ms"], 2),
        number(before["p99_ms"], 2),
        number(event["p99_ratio"], 2),
    ]


def _ends(recorder: Recorder) -> str:
    header = ["load", "status", "route", "questions", "p50 ms", "p99 ms", "reasons"]
    return table(header, [_end(group) for group in recorder.groups.values()], words=(1, 2, 6))


def _end(group: Group) -> list[str]:
    reasons = ", ".join(f"{name} {count:,}" for name, count in group.reasons.most_common() if name)
    latency = (number(1e3 * group.from_intended.percentile(percent), 2) for percent in (50, 99))
    return [group.load, group.status, group.route or "-", f"{len(group):,}", *latency, reasons or "-"]


def _generator(found: dict[str, Any]) -> str:
    seen, limits = found["generator"], found["limits"]
    rows = [
        ["questions sent after the warm-up", f"{seen['sent']:,}", ""],
        ["late, p99", f"{seen['late_p99_ms']:.2f} ms", f"{limits['late_ms']:g} ms"],
        ["late, the most", f"{seen['late_max_ms']:.2f} ms", ""],
        ["own CPU, of one core", share(seen["cpu"]), share(limits["cpu"])],
        ["never sent", f"{seen['unsent']:,}", "0"],
        ["time the host gave to others (steal)", share(seen["steal"]), ""],
        ["ran before all other processes", "yes" if seen["is_first"] else "no", ""],
    ]
    return table(["", "seen", "allowed"], rows)
