"""The plots of a comparison, as PNG: matplotlib is used here alone, and only where somebody asks for a picture."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gateway.forge.report import plain

mpl.use("agg")

INK, MUTED, GRID = "#1f2933", "#8792a2", "#e4e7eb"
COLOURS = {
    "threshold": MUTED,
    "cascade": "#0b6e99",
    "routing": "#d1495b",
    "parallel": "#edae49",
    "ensemble": "#00798c",
    "model_only": "#7d5ba6",
    "retrieval_only": "#4f772d",
}
"""Told apart by those who see few colours too, with the line's own label beside it."""
OUTCOMES = {
    "model, right": "#0b6e99",
    "model, wrong": "#d1495b",
    "retrieval, right": "#7fb8d1",
    "retrieval, wrong": "#edae49",
    "abstains": GRID,
}
RISK = 0.05
DOTS = 144
"""An inch."""
CLOSE = 5.0
"""Of points that share a label: percent apart, a fifth of that upwards."""

Figures = Mapping[str, Any]


def risk_coverage(figures: Figures) -> bytes:
    """Of what a policy answers, surest first, how much is wrong: the lower, the better."""
    with _drawn(8.0, 4.8) as (axes, png):
        for name, colour in COLOURS.items():
            points = figures["policies"][name]["curve"]
            across, up = [100 * one for one, _ in points], [100 * one for _, one in points]
            axes.plot(across, up, color=colour, linewidth=2.4 if name == "cascade" else 1.6, label=plain(name))
        axes.axhline(100 * RISK, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.text(1, 100 * RISK, "5 % risk", color=MUTED, fontsize=8, va="bottom")
        axes.set(xlim=(0, 100), ylim=(0, 40), xlabel="answered, % of all questions", ylabel="of those wrong, %")
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(0.02, 0.98))
    return png()


def leads(figures: Figures) -> bytes:
    """Every policy's AUGRC beside the textbook cascade's, with the interval of the paired difference."""
    names = [name for name in COLOURS if name != "threshold"]
    rows = [(plain(name), figures["policies"][name]["less_augrc"], COLOURS[name]) for name in names]
    with _drawn(8.0, 3.2) as (axes, png):
        _intervals(axes, rows, 100)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set(xlabel="AUGRC less than that of the threshold cascade, points (right of the line is better)")
    return png()


def costs(figures: Figures) -> bytes:
    """What a policy searches, which is all that it can save, and what it gains; routing by its price of time."""
    policies = figures["policies"]
    with _drawn(8.0, 4.2) as (axes, png):
        at = {name: (100 * one["searched"], 100 * one["gain"]["value"]) for name, one in policies.items()}
        for name, place in at.items():
            size = 8 if name in COLOURS else 5
            axes.plot(*place, "o", color=COLOURS.get(name, COLOURS["routing"]), markersize=size)
        for place, names in _together(at).items():
            label = ", ".join(map(plain, names))
            axes.annotate(label, place, (-9, -13), textcoords="offset points", fontsize=8, ha="right")
        axes.set(xlabel="searches, % of all questions", ylabel="gain: right minus wrong, %")
        axes.set(xlim=(-25, 105), xticks=range(0, 101, 20))
        axes.margins(y=0.12)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
    return png()


def turn(figures: Figures) -> bytes:
    """What became of questions before a turn of the flywheel and after it: {when: {group: shares}}, as bars."""
    bars = [(when, group) for group in figures["before"] if group != "all" for when in ("before", "after")]
    parts = {when: {group: _outcomes(one) for group, one in some.items()} for when, some in figures.items()}
    with _drawn(8.0, 0.6 + 0.55 * len(bars)) as (axes, png):
        left = dict.fromkeys(bars, 0.0)
        for name, colour in OUTCOMES.items():
            widths = [100 * parts[when][group][name] for when, group in bars]
            axes.barh(range(len(bars)), widths, left=list(left.values()), color=colour, height=0.7, label=name)
            left = {bar: left[bar] + width for bar, width in zip(bars, widths, strict=True)}
        axes.set_yticks(range(len(bars)), [f"{group}, {when}" for when, group in bars])
        axes.invert_yaxis()
        axes.set(xlim=(0, 100), xlabel="of the frozen questions, %")
        axes.legend(frameon=False, fontsize=8, ncols=len(OUTCOMES), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return png()


def _outcomes(shares: Figures) -> dict[str, float]:
    """By OUTCOMES; together they are 1."""
    routes, right = shares["routes"], shares["right_by_route"]
    found = {"abstains": routes.get("abstain", 0.0)}
    for route in ("model", "retrieval"):
        found[f"{route}, right"] = routes.get(route, 0.0) * right.get(route, 0.0)
        found[f"{route}, wrong"] = routes.get(route, 0.0) - found[f"{route}, right"]
    return found


def _together(places: Mapping[str, tuple[float, float]]) -> dict[tuple[float, float], list[str]]:
    """The names at each place, those that lie close by sharing one label; of prices only what lies apart."""
    found: dict[tuple[float, float], list[str]] = {}
    for name, (x, y) in places.items():
        close = [one for one in found if abs(one[0] - x) < CLOSE and abs(one[1] - y) < CLOSE / 5]
        if not close:
            found[x, y] = [name]
        elif name in COLOURS:
            found[close[0]].append(name)
    return found


def near(figures: Figures) -> bytes:
    """AUROC of every score against questions of unseen intents, and as a ring against other subjects."""
    scores = figures["scores"]
    rows = [(name, one["auroc"]["near"], _of_score(name)) for name, one in scores.items()]
    with _drawn(8.0, 0.6 + 0.34 * len(rows)) as (axes, png):
        _intervals(axes, rows, 1)
        far = [group for group in next(iter(scores.values()))["auroc"] if group != "near"]
        for row, one in enumerate(scores.values()):
            lowest = min(one["auroc"][group]["value"] for group in far)
            axes.plot([lowest], [row], "o", markerfacecolor="none", markeredgecolor=MUTED, markersize=6)
        axes.set(xlabel="AUROC: held-out intents (dot with interval); the hardest of the other subjects (ring)")
        axes.grid(axis="x", color=GRID, linewidth=0.8)
    return png()


def _of_score(name: str) -> str:
    if name.startswith("served"):
        return COLOURS["cascade"]
    return COLOURS["parallel"] if name.startswith("ceiling") else INK


def _intervals(axes: Axes, rows: Sequence[tuple[str, Mapping[str, float], str]], scale: float) -> None:
    """A dot and its interval for each row, the first on top."""
    for at, (_, one, colour) in enumerate(rows):
        axes.plot([scale * one["low"], scale * one["high"]], [at, at], color=colour, linewidth=2)
        axes.plot([scale * one["value"]], [at], "o", color=colour, markersize=6)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)


@contextmanager
def _drawn(width: float, height: float) -> Iterator[tuple[Axes, Callable[[], bytes]]]:
    """Axes of so many inches, and what gives the PNG once they are drawn on."""
    figure = Figure(figsize=(width, height), dpi=DOTS, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.set_axisbelow(True)

    def png() -> bytes:
        content = io.BytesIO()
        figure.savefig(content, format="png", metadata={"Software": None})
        return content.getvalue()

    yield axes, png
