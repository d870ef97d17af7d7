"""What all sections of a report have in common: tiles, tables, the verdict and the machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

STATUS_COLOURS = {
    "OK": "good",
    "DEADLINE_EXCEEDED": "bad",
    "UNAVAILABLE": "late",
    "RESOURCE_EXHAUSTED": "c4",
    "INTERNAL": "c6",
    "unsent": "none",
}
COLOURS = ("c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8")


def status_colour(status: str) -> str:
    return STATUS_COLOURS.get(status, "c5")


def tiles(pairs: Iterable[tuple[str, str]]) -> str:
    """(what, value) in large type."""
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><small>{escape(name)}</small><strong>{escape(value)}</strong></div>'
            for name, value in pairs
        )
        + "</div>"
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[int] = ()) -> str:
    """Numbers to the right; to the left the first column and those whose index is in `words`. No header is none."""

    def row(kind: str, cells: Sequence[str]) -> str:
        return (
            "<tr>"
            + "".join(
                f"<{kind}{' class=words' if at in words else ''}>{escape(cell)}</{kind}>"
                for at, cell in enumerate(cells)
            )
            + "</tr>"
        )

    body = "".join(row("td", cells) for cells in rows)
    return f'<div class="scroll"><table>{row("th", header) if header else ""}{body}</table></div>'


def charts(figures: Iterable[str]) -> str:
    return f'<div class="charts">{"".join(figures)}</div>'


def number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def verdict(found: dict[str, Any]) -> str:
    """Whether it may be believed, why not, and what to keep in mind."""
    kind, text = ("valid", "VALID") if found["valid"] else ("invalid", "INVALID")
    lines = [*found["faults"], *found.get("warnings", ())]
    if not lines:
        said = "the generator kept within its limits"
        return f'<div class="verdict {kind}"><b>{text}</b> &middot; {said}</div>'
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<div class="verdict {kind}"><b>{text}</b><ul>{items}</ul></div>'


def machine(found: dict[str, Any]) -> str:
    """What it was measured on."""
    rows = [
        [name, str(found[name])] for name in ("processor", "cores", "governor", "system", "commit") if name in found
    ]
    for name, version in found.get("versions", {}).items():
        if version:
            rows.append([name, version])
    return "<h2>Measured on</h2>" + table([], rows, words=(1,))
