"""The screen of `gateway top`, from what GET /live says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gateway.cli.styles import ROUTES
from gateway.types import Route

NONE = "-"
KEPT = 300.0
"""Seconds of the lines."""
BINS = 60
BLOCKS = " ▁▂▃▄▅▆▇█"
NARROWEST, WIDEST = 38, 60
"""Characters of a panel, of which two stand side by side."""
BAR = 9
LOWEST = 0.0005
"""Seconds; the first edge of the buckets, below which nothing more is known."""
TONES = {"valid": "green", "stale": "yellow", "insufficient": "yellow"}

Values = Sequence[float | None]
Now = Mapping[str, Any]


def screen(now: Now, columns: int, problem: str = "") -> Group:
    """All of it, in so many columns; `problem`: why it is not of now."""
    width = min(max((columns - 1) // 2, NARROWEST), WIDEST)
    parts: list[RenderableType] = [_head(now, problem), _figures(now), _routes(now, 2 * width + 1)]
    panels = {
        "from received to answered": _funnel(now),
        "latency by stage": _latency(now),
        "confidence": _confidence(now),
        "certificate and drift": _trust(now),
        "knowledge": _knowledge(now),
        "errors and refusals": _troubles(now),
    }
    boxes = [Panel(inside, title=title, title_align="left", width=width) for title, inside in panels.items()]
    return Group(*parts, Columns(boxes))


def _head(now: Now, problem: str) -> Text:
    status = now["status"]
    if problem:
        return Text.assemble((" unreachable ", "reverse red"), f"  {problem}")
    word, tone = ("ready", "green") if status["ready"] else ("not ready", "red")
    if status["ready"] and status.get("degraded"):
        word, tone = f"degraded: {status['degraded']}", "yellow"
    workers = status.get("workers") or []
    count = f" · {sum(one['ready'] for one in workers)} of {len(workers)} workers" if workers else ""
    bundle = status.get("bundle") or "no bundle"
    return Text.assemble(
        (f" {word} ", f"reverse {tone}"), (f"  {bundle}", "bold"), (f"  {_provider(status)}{count}", "dim")
    )


def _provider(status: Now) -> str:
    return f"{status.get('precision', '')} on {str(status.get('provider', '')).removesuffix('ExecutionProvider')}"


def _figures(now: Now) -> Table:
    view, status = now["view"], now["status"]
    last = now["points"][-1] if now["points"] else {}
    rate = _answers(last["routes"]) / last["seconds"] if last else 0.0
    table = Table.grid(padding=(0, 3))
    table.add_row(
        *(
            Text(name, "dim")
            for name in ("questions/s", "p50", "p99", "in flight", "queue", "shed level", "loop lag p99")
        )
    )
    table.add_row(
        f"{rate:.1f}",
        _time(view["latency"]["p50"]),
        _time(view["latency"]["p99"]),
        f"{status.get('in_flight', 0):,} of {status.get('max_in_flight', 0):,}",
        f"{last.get('waiting', 0):,}",
        f"{last.get('shed_level', 0.0):.2f}",
        _time(view["lag"]["p99"]),
    )
    return table


def _routes(now: Now, width: int) -> Panel:
    bins = binned(now["points"], now["at"])
    routes, whole = now["view"]["routes"], _answers(now["view"]["routes"])
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="left", no_wrap=True)
    for _ in range(2):
        table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for route, style in ROUTES.items():
        if route is not Route.ENSEMBLE or routes[route]:
            shares = [_part(one[route], _answers(one)) if one else None for one in bins]
            line = Text(spark(shares, 1.0), style)
            table.add_row(Text(route.value, style), _share(routes[route], whole), f"{routes[route]:,}", line)
    reasons = (
        Text(
            f"{one['route']}: {one['reason'].replace('_', ' ')} {_share(one['count'], whole)}",
            ROUTES[Route(one["route"])],
        )
        for one in now["view"]["reasons"][:5]
    )
    why = Text(" · ", "dim").join(reasons)
    title = f"routes; lines are of the last {KEPT / 60:.0f} minutes"
    return Panel(Group(table, why), title=title, title_align="left", width=width)


def _funnel(now: Now) -> Table:
    steps = now["view"]["funnel"]
    lost = {
        "admitted": (steps["received"] - steps["admitted"], "refused"),
        "decided": (steps["failed"], "failed"),
        "answered": (steps["decided"] - steps["answered"], "abstained"),
    }
    table = _table("left", "right", "right", "left")
    for name in ("received", "admitted", "decided", "answered"):
        number, how = lost.get(name, (0, ""))
        why = f"{number:,} {how}" if number else ""
        table.add_row(name, f"{steps[name]:,}", _share(steps[name], steps["received"]), Text(why, "dim"))
    return table


def _latency(now: Now) -> RenderableType:
    named = {"answer": now["view"]["latency"], **now["view"]["stages"]}
    timed = {name: one for name, one in named.items() if one["count"]}
    if not timed:
        return Text("nothing was timed", "dim")
    highest = max(one["p99"] for one in timed.values())
    table = _table("left", "right", "right", "left")
    table.add_row("", Text("p50", "dim"), Text("p99", "dim"), "")
    for name, one in timed.items():
        at = [_log(one[key], highest) for key in ("p50", "p99")]
        bar = Text("━" * at[0], "green") + Text("━" * (at[1] - at[0]), "dim")
        table.add_row(name, _time(one["p50"]), _time(one["p99"]), bar)
    return table


def _log(seconds: float, highest: float, width: int = BAR) -> int:
    """Characters of a logarithmic bar from LOWEST to `highest`."""
    if highest <= LOWEST:
        return 1
    return max(1, round(width * math.log(max(seconds, LOWEST) / LOWEST) / math.log(highest / LOWEST)))


def _confidence(now: Now) -> RenderableType:
    routes = now["view"]["confidence"]
    if not routes:
        return Text("nothing was answered", "dim")
    table = _table("left", "left")
    for route, style in ROUTES.items():
        if bins := routes.get(route.value):
            table.add_row(Text(route.value, style), Text(spark(bins, max(bins)), style))
    threshold = now["status"].get("threshold", 1.0)
    at = min(round(threshold * 20), 20)
    table.add_row("", Text(f"{' ' * max(0, at - 1)}▲", "bold"))
    return Group(table, Text(f"from 0 to 1; the model's threshold is {threshold:.3f}", "dim"))


def _trust(now: Now) -> RenderableType:
    status = now["status"]
    if not status.get("bundle"):
        return Text("no worker is ready", "dim")
    table = _table("left", "left")
    certificate = str(status["certificate"])
    table.add_row("certificate", Text(certificate, f"bold {TONES.get(certificate, 'yellow')}"))
    table.add_row("threshold", f"{status['threshold']:.3f}")
    if status["certified_risk"]:
        table.add_row("promise", f"at most {_percent(status['certified_risk'])} wrong")
    if status["certificate_reason"]:
        table.add_row("why", Text(status["certificate_reason"], no_wrap=True, overflow="ellipsis"))
    for part, reason in (status.get("stale_parts") or {}).items():
        table.add_row("stale for", Text(f"{part}: {reason}", no_wrap=True, overflow="ellipsis"))
    drift = status.get("drift")
    if drift is None:
        table.add_row("drift", Text("questions are not watched", "dim"))
        return table
    table.add_row("drift", Text(f"{drift['questions']:,} questions; an alarm at 0", "dim"))
    for monitor, evidence in drift["evidence"].items():
        table.add_row(f"  {monitor}", Text(f"{evidence:+.1f}", "yellow" if evidence >= 0 else ""))
    return table


def _knowledge(now: Now) -> RenderableType:
    status = now["status"]
    rows = [(one["name"], one, status["loaded"]) for one in status.get("collections") or []]
    if stored := status.get("stored"):
        rows.append((f"{stored['collections']} stored", stored, stored["written"]))
    if not rows:
        return Text("no collection is served", "dim")
    table = _table("left", "right", "right", "right")
    table.add_row(*(Text(name, "dim") for name in ("", "documents", "version", "as of")))
    for name, one, written in rows:
        when = _ago(now["time"] - written) if written else "never"
        table.add_row(Text(name), f"{one['documents']:,}", str(one["version"]), when)
    return table


def _troubles(now: Now) -> RenderableType:
    found = sorted(troubles(now["view"]), key=lambda one: -one[1])
    if not found:
        return Text(f"none in the last {_ago(now['view']['seconds'])}", "dim")
    table = _table("left", "right")
    for what, count in found:
        table.add_row(Text(what, "red"), f"{count:,}")
    return table


def troubles(view: Now) -> Iterator[tuple[str, int]]:
    """What went wrong, and how often."""
    for name, words in (
        ("refused", "refused: "),
        ("denied", "not let in: "),
        ("ended", "ended with "),
        ("left", "left: "),
    ):
        yield from ((f"{words}{what.replace('_', ' ')}", count) for what, count in view[name].items())
    if view["late"]:
        yield "dropped from the queue", view["late"]
    if view["funnel"]["failed"]:
        yield "questions that failed", view["funnel"]["failed"]


def binned(points: Sequence[Now], at: float) -> list[dict[str, float]]:
    """Answers by route in equal parts of the last KEPT seconds, each point divided among those that it spans; nothing
    in those of which no point is known."""
    bins: list[dict[str, float]] = [{} for _ in range(BINS)]
    width = KEPT / BINS
    first = int(at // width) - BINS + 1
    for point in points:
        since = point["at"] - point["seconds"]
        for number in range(max(first, int(since // width)), int(point["at"] // width) + 1):
            part = (min(point["at"], (number + 1) * width) - max(since, number * width)) / point["seconds"]
            for route, count in point["routes"].items() if part > 0 else ():
                bins[number - first][route] = bins[number - first].get(route, 0.0) + part * count
    return bins


def spark(values: Values, highest: float) -> str:
    """A character for each value, from none to the `highest`; what is there at all is seen."""

    def block(value: float | None) -> str:
        if not value or not highest:
            return BLOCKS[0]
        return BLOCKS[max(1, round((len(BLOCKS) - 1) * value / highest))]

    return "".join(map(block, values))


def _table(*sides: str) -> Table:
    table = Table.grid(padding=(0, 2))
    for side in sides:
        table.add_column(justify="right" if side == "right" else "left")
    return table


def _answers(routes: Mapping[str, float]) -> float:
    return sum(routes.values())


def _part(some: float, whole: float) -> float | None:
    return some / whole if whole else None


def _share(some: float, whole: float) -> str:
    return _percent(some / whole) if whole else NONE


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < share < 0.0995 else f"{100 * share:.0f} %"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return NONE
    if seconds <= LOWEST:
        return f"< {1000 * LOWEST} ms"
    return f"{1000 * seconds:.1f} ms" if seconds < 0.01 else f"{1000 * seconds:,.0f} ms"


def _ago(seconds: float) -> str:
    units: Sequence[tuple[float, Callable[[float], str]]] = (
        (90, lambda s: f"{s:.0f} s"),
        (5400, lambda s: f"{s / 60:.0f} min"),
        (129_600, lambda s: f"{s / 3600:.0f} h"),
    )
    return next((told(seconds) for below, told in units if seconds < below), f"{seconds / 86_400:.0f} d")
