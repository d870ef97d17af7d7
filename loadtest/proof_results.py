"""How the commands that prove the knowledge base tell what they found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest import honesty


def result(kind: str, faults: list[str], **numbers: Any) -> dict[str, Any]:
    """For `options.finish`, which ends with 1 where there are faults."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {"kind": kind, "when": when, **honesty.facts(), "valid": not faults, "faults": faults, **numbers}


def show(found: dict[str, Any], console: Console, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    line = f"{found['processor']}, {found['system']}, commit {found['commit']}, {found['when']}"
    console.print(line, highlight=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row))
    console.print(table)
