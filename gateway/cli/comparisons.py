"""How `gateway compare` shows what it found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from gateway.forge.confidences import NEAR, Row
from gateway.forge.resampling import Estimate


def show_confidences(figures: Mapping[str, Any], rows: Mapping[str, Row], console: Console) -> None:
    """Two tables with a row for each score: against near questions, and against the easy kind."""
    sizes = ", ".join(f"{name} {size}" for name, size in figures["questions"].items())
    console.print(f"[bold]{figures['recipe']}[/] by {figures['bundle']}, logits: {figures['head']}", highlight=False)
    console.print(f"{sizes}\n{figures['draws']} resamples, commit {figures['machine']['commit']}\n", highlight=False)
    console.print(_near(rows))
    console.print(_far(rows))


def _near(rows: Mapping[str, Row]) -> Table:
    table = Table("near", "AUROC", "to what is served", "AUPR", "FPR95", "covered at 5 % risk, %")
    for name, row in rows.items():
        table.add_row(
            name,
            f"{row.auroc[NEAR].value:.4f}",
            _signed(row.lead),
            f"{row.aupr[NEAR].value:.4f}",
            f"{row.fpr95[NEAR].value:.4f}",
            _percent(row.coverage_with_near),
        )
    return table


def _far(rows: Mapping[str, Row]) -> Table:
    """AUROC and FPR95 for each group; the last column is of questions in scope alone."""
    groups = [name for name in next(iter(rows.values())).auroc if name != NEAR]
    table = Table("far: AUROC, FPR95", *groups, "covered in scope, %")
    for name, row in rows.items():
        cells = (f"{row.auroc[group].value:.4f} {row.fpr95[group].value:.4f}" for group in groups)
        table.add_row(name, *cells, _percent(row.coverage))
    return table


def _signed(one: Estimate) -> str:
    return "" if one.low == one.high else f"{one.value:+.4f} ({one.low:+.4f}, {one.high:+.4f})"


def _percent(one: Estimate) -> str:
    return f"{100 * one.value:.1f} ({100 * one.low:.1f}, {100 * one.high:.1f})"
