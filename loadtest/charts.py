"""Charts as inline SVG: lines, stacked columns and bars. Colours are CSS classes, which the page defines.

Every function returns one `<figure>`. Positions within the picture are in units of its viewBox.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 26, 14, 46
MOST_TICKS = 8
MOST_HOVERED = 150
"""Points of a line that say their numbers when pointed at; a file with a mark for each of ten thousand is no help."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """A label, ticks with their texts, and where a value lies between the ends (0 to 1)."""

    label: str
    ticks: Sequence[tuple[float, str]]
    place: Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Line:
    """One series; NaN interrupts it. `colour` is a CSS class."""

    name: str
    points: Sequence[Point]
    colour: str
    is_dashed: bool = False
    has_dots: bool = False
    has_line: bool = True


@dataclass(frozen=True, slots=True)
class Guide:
    """A thin line to read against: horizontal at `y`, or from one point to another."""

    name: str
    start: Point
    end: Point


def linear(label: str, high: float, low: float = 0.0) -> Axis:
    """From `low` to a round number at or above `high`."""
    step = _round_step((high - low) / 5 or 1.0)
    top = low + step * max(1, math.ceil((high - low) / step - 1e-9))
    count = round((top - low) / step)
    ticks = [(low + number * step, short(low + number * step)) for number in range(count + 1)]
    return Axis(label, ticks, lambda value: (value - low) / (top - low))


def exact(label: str, high: float) -> Axis:
    """From 0 to `high` itself: for time, which ends where it ends."""
    step = _round_step(high / 6 or 1.0)
    ticks = [(number * step, short(number * step)) for number in range(math.floor(high / step + 1e-9) + 1)]
    return Axis(label, ticks, lambda value: value / high if high else 0.0)


def named(label: str, names: Sequence[str]) -> Axis:
    """One place for each name, in the middle of its share: the first one is at 0.5."""
    ticks = [(number + 0.5, escape(name)) for number, name in enumerate(names)]
    return Axis(label, ticks, lambda value: value / max(1, len(names)))


def logarithmic(label: str, low: float, high: float) -> Axis:
    """From the 1, 2 or 5 times a power of ten below `low` to the one above `high`; both must be above 0. Where that
    makes too many ticks, only the powers of ten."""
    marks = _steps_around(low, high, (1, 2, 5))
    if len(marks) > MOST_TICKS:
        marks = _steps_around(low, high, (1,))
    first, last = marks[0], marks[-1]
    return Axis(
        label,
        [(mark, short(mark)) for mark in marks],
        lambda value: math.log(max(value, first) / first) / math.log(last / first),
    )


def by_percentile(label: str, nines: int) -> Axis:
    """0 %, 90 %, 99 % and so on at equal distances, up to so many nines: the tail gets the room."""
    ticks = [(0.0, "0 %"), (50.0, "50 %")]
    ticks += [(100 - 10.0 ** (2 - one), f"{100 - 10.0 ** (2 - one):.10g} %") for one in range(1, nines + 1)]
    return Axis(label, ticks, lambda percent: min(1.0, -math.log10(max(1 - percent / 100, 1e-12)) / nines))


def lines(title: str, series: Sequence[Line], x: Axis, y: Axis, guides: Sequence[Guide] = ()) -> str:
    """A chart with a line for each series, and a legend if there are several."""
    body = [_grid(x, y)]
    for guide in guides:
        (x1, y1), (x2, y2) = (_at(x, y, point) for point in (guide.start, guide.end))
        body.append(f'<line class="guide" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
        body.append(
            f'<text class="note" x="{x2 - 4:.1f}" y="{y2 - 5:.1f}" text-anchor="end">{escape(guide.name)}</text>'
        )
    for line in series:
        body += _drawn(line, x, y)
    return _figure(title, [(line.name, f"{line.colour}{_look(line)}") for line in series], body)


def columns(
    title: str, names: Sequence[tuple[str, str]], stacks: Sequence[tuple[float, Sequence[float]]], x: Axis, y: Axis
) -> str:
    """Stacked columns. `names` are (name, colour); each stack is (its x, a value for each name)."""
    width = min(40.0, 0.9 * (WIDTH - LEFT - RIGHT) / max(1, len(stacks)))
    body = [_grid(x, y)]
    for where, values in stacks:
        below = 0.0
        centre, _ = _at(x, y, (where, 0))
        left = min(max(centre - width / 2, LEFT), WIDTH - RIGHT - width)
        for (name, colour), value in zip(names, values, strict=True):
            if value:
                top, bottom = _at(x, y, (where, below + value))[1], _at(x, y, (where, below))[1]
                hint = f"<title>{escape(name)}: {short(value)} at {short(where)}</title>"
                body.append(
                    f'<rect class="fill {colour}" x="{left:.1f}" y="{top:.1f}" width="{max(width - 1, 0.6):.1f}" '
                    f'height="{max(bottom - top, 0):.1f}">{hint}</rect>'
                )
                below += value
    return _figure(title, names, body)


def bars(title: str, rows: Sequence[tuple[str, float | None, str]], unit: str) -> str:
    """Horizontal bars below their names, with their numbers: (name, value, colour). A value may be unknown."""
    longest = max((value for _, value, _ in rows if value), default=1.0)
    step = 46
    body = []
    for number, (name, value, colour) in enumerate(rows):
        top = number * step + 18
        text = "not known" if value is None else f"{short(value)} {unit}"
        width = (WIDTH - 110) * (value or 0) / longest
        body.append(f'<text class="tick" x="0" y="{top - 5}">{escape(name)}</text>')
        body.append(f'<rect class="fill {colour}" x="0" y="{top}" width="{width:.1f}" height="20" rx="3"/>')
        body.append(f'<text class="value" x="{width + 8:.1f}" y="{top + 15}">{escape(text)}</text>')
    return _figure(title, [], body, height=step * len(rows) + 8)


def short(value: float) -> str:
    """Three digits at most for reading off an axis; thousands with a comma."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


@dataclass(slots=True)
class _Path:
    """Commands of an SVG path that is interrupted by values that are not finite."""

    commands: list[str] = field(default_factory=list)
    is_drawing: bool = False

    def add(self, place: Point | None) -> None:
        if place is not None:
            self.commands.append(f"{'L' if self.is_drawing else 'M'}{place[0]:.1f} {place[1]:.1f}")
        self.is_drawing = place is not None


def _drawn(line: Line, x: Axis, y: Axis) -> list[str]:
    path = _Path()
    hovered = []
    every = max(1, len(line.points) // MOST_HOVERED)
    for number, point in enumerate(line.points):
        place = _at(x, y, point) if all(map(math.isfinite, point)) else None
        path.add(place)
        if place is not None and (line.has_dots or number % every == 0):
            hint = f"<title>{escape(line.name)}: {short(point[1])} at {short(point[0])}</title>"
            kind = f"dot {line.colour}" if line.has_dots else "hover"
            hovered.append(f'<circle class="{kind}" cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="4">{hint}</circle>')
    dashed = " dashed" if line.is_dashed else ""
    drawn = [f'<path class="line {line.colour}{dashed}" d="{"".join(path.commands)}"/>'] if line.has_line else []
    return drawn + hovered


def _at(x: Axis, y: Axis, point: Point) -> Point:
    across, up = x.place(point[0]), min(max(y.place(point[1]), 0.0), 1.0)
    return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def _grid(x: Axis, y: Axis) -> str:
    parts = []
    for value, text in y.ticks:
        _, height = _at(x, y, (x.ticks[0][0], value))
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{height:.1f}" x2="{WIDTH - RIGHT}" y2="{height:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{text}</text>')
    for value, text in x.ticks:
        across = LEFT + x.place(value) * (WIDTH - LEFT - RIGHT)
        low = HEIGHT - BOTTOM
        parts.append(f'<line class="axis" x1="{across:.1f}" y1="{low}" x2="{across:.1f}" y2="{low + 4}"/>')
        parts.append(f'<text class="tick" x="{across:.1f}" y="{low + 18}" text-anchor="middle">{text}</text>')
    low = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" y1="{low}" x2="{WIDTH - RIGHT}" y2="{low}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="label" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x.label)}</text>')
    upright = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="label" transform="translate(14 {upright}) rotate(-90)" text-anchor="middle">'
        f"{escape(y.label)}</text>"
    )
    return "".join(parts)


def _look(line: Line) -> str:
    if not line.has_line:
        return " spot"
    return " dashed" if line.is_dashed else ""


def _figure(title: str, legend: Sequence[tuple[str, str]], body: Sequence[str], height: int = HEIGHT) -> str:
    """`legend` is (name, CSS classes of its key), shown if there is more than one."""
    keys = "".join(f'<span><i class="key {look}"></i>{escape(name)}</span>' for name, look in legend)
    shown = f'<div class="legend">{keys}</div>' if len(legend) > 1 else ""
    return (
        f'<figure><figcaption>{escape(title)}</figcaption>{shown}<svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(body)}</svg></figure>'
    )


def _round_step(step: float) -> float:
    """The nearest 1, 2, 2.5 or 5 times a power of ten that is not below it."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(base * power for base in (1, 2, 2.5, 5, 10) if base * power >= step * (1 - 1e-9))


def _steps_around(low: float, high: float, bases: Sequence[int]) -> list[float]:
    """Multiples of powers of ten, from the last one at or below `low` to the first one at or above `high`."""
    steps = [base * 10.0**power for power in range(-9, 13) for base in bases]
    first = max(step for step in steps if step <= low * (1 + 1e-9))
    last = min(step for step in steps if step >= high * (1 - 1e-9) and step > first)
    return [step for step in steps if first <= step <= last]
