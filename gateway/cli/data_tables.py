"""How `gateway forge check` shows what it found in a recipe's data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.forge import data_lines
from gateway.forge.data_checks import Findings
from gateway.forge.duplicates import Pair


def show(found: Findings, console: Console, shown: int) -> None:
    """The lines of the card, then at most `shown` examples of each kind, with their texts."""
    for line in data_lines.of(found.summary()):
        console.print(f"- {escape(line)}", highlight=False, soft_wrap=True)
    for title, rows in _examples(found):
        table = Table(title, *[""] * (len(rows[0]) - 1), box=SIMPLE_HEAD, pad_edge=False)
        for row in rows[:shown]:
            table.add_row(*map(escape, row))
        console.print(table)
        if len(rows) > shown:
            console.print(f"... and {len(rows) - shown} more: --show, or --json for all", highlight=False)
    for problem in found.problems():
        console.print(f"[bold red]refused:[/] {escape(problem)}", highlight=False, soft_wrap=True)


def _examples(found: Findings) -> Iterator[tuple[str, Sequence[tuple[str, ...]]]]:
    """(title, rows) of whatever there is of."""
    kinds: dict[str, list[tuple[str, ...]]] = {
        "several labels": [(text, *labels[:2]) for text, labels in found.contradictions.items()],
        "also in a file of never": _pairs([leak for leak in found.leaks if leak.is_same]),
        "nearly in a file of never": _pairs([leak for leak in found.leaks if not leak.is_same]),
        "an outlier that is nearly a question": _pairs(found.answered_outliers()),
        "nearly the same, with other labels": _pairs(found.disagreeing()),
        "labels that may be wrong": [(one.text, one.label, f"{one.likely}?") for one in found.noise.suspects],
        "few questions": [(label, str(count)) for label, count in found.few.items()],
    }
    return ((title, rows) for title, rows in kinds.items() if rows)


def _pairs(pairs: Sequence[Pair]) -> list[tuple[str, ...]]:
    return [
        (f"{one.text} ({one.label or one.part})", f"{other.text} ({other.label or other.part})")
        for one, other in ((pair.first, pair.second) for pair in pairs)
    ]
