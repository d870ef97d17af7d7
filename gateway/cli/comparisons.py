"""How `gateway compare` shows what it found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from gateway.forge.confidences import NEAR, Row
from gateway.forge.policies import BASELINE, Measured
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


def _percent(one: Estimate, places: int = 1) -> str:
    return f"{100 * one.value:.{places}f} ({100 * one.low:.{places}f}, {100 * one.high:.{places}f})"


def show_policies(figures: Mapping[str, Any], rows: Mapping[str, Measured], console: Console) -> None:
    """How each policy ranks what it answers, beside the textbook's cascade; what it does as it is served, and its cost;
    and that by group."""
    sizes = ", ".join(f"{name} {size}" for name, size in figures["questions"].items())
    mix = ", ".join(f"{name} {share:.1%}" for name, share in figures["shares"].items())
    console.print(f"[bold]{figures['bundle']}[/], {figures['split']} questions: {sizes}", highlight=False)
    console.print(f"weighed as {mix}; {figures['draws']} resamples, commit {figures['machine']['commit']}\n")
    console.print(_ranked(rows))
    console.print(_served(rows, figures["forward_ms"]))
    console.print(_groups(figures["by_group"]))


def _ranked(rows: Mapping[str, Measured]) -> Table:
    table = Table("policy", "AUGRC, %", f"less than {BASELINE}", "covered at 5 % risk, %", "more", title_justify="left")
    for name, row in rows.items():
        cells = (_percent(row.augrc, 2), _points(row.less_augrc), _percent(row.coverage), _points(row.more_coverage))
        table.add_row(name, *cells)
    return table


def _served(rows: Mapping[str, Measured], forward_ms: float) -> Table:
    """Milliseconds are of the decision alone, the forward pass is the same for all."""
    table = Table("as served, %", "right", "wrong", "gain", "more", "searched", "ms: mean, p50, p99", "with the pass")
    for name, row in rows.items():
        table.add_row(
            name,
            f"{100 * row.right.value:.1f}",
            f"{100 * row.wrong.value:.1f}",
            f"{100 * row.gain.value:.1f}",
            _points(row.more_gain),
            f"{100 * row.searched:.1f}",
            ", ".join(f"{one:.2f}" for one in row.milliseconds),
            f"{row.milliseconds[0] + forward_ms:.2f}",
        )
    return table


def _groups(ways: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    groups = list(next(iter(ways.values())))
    table = Table("right, wrong, %", *groups)
    for name, found in ways.items():
        table.add_row(name, *(f"{100 * found[one]['right']:.1f}, {100 * found[one]['wrong']:.1f}" for one in groups))
    return table


def _points(one: Estimate) -> str:
    """A difference, in hundredths; nothing where there is none."""
    if one.low == one.high == 0:
        return ""
    return f"{100 * one.value:+.2f} ({100 * one.low:+.2f}, {100 * one.high:+.2f})"
