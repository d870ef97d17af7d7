"""How `gateway evaluate` shows what it found."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Column, Table

ROUTES = ("model", "retrieval", "ensemble")
GROUP_WIDTH = 20
"""Characters; longer names are continued below, so that the table fits into 100 columns."""


def show(found: dict[str, Any], console: Console) -> None:
    """Everything in `found`, as tables."""
    machine = found["machine"]
    console.print(f"[bold]{machine['bundle']}[/] {machine['precision']} on {machine['provider']}", highlight=False)
    console.print(f"{machine['processor']}, {machine['system']}, commit {machine['commit']}\n", highlight=False)
    console.print(_model(found["model"]))
    if found["model"].get("auroc"):
        console.print(_auroc(found["model"]["auroc"]))
    if "refusal" in found["model"]:
        console.print(_refusal(found["model"]["refusal"]))
    if "end_to_end" in found:
        console.print(_end_to_end(found["end_to_end"]))
    for name in ("base_retrieval", "fidelity"):
        if name in found:
            console.print(_nested(name.replace("_", " "), found[name]))
    console.print(_stages(found["milliseconds"]))


def _share(value: float) -> str:
    return f"{100 * value:.2f} %"


def _model(measures: dict[str, Any]) -> Table:
    table = Table("the model's answers", "", title_justify="left")
    for name, value in measures.items():
        if name == "questions":
            table.add_row("questions", ", ".join(f"{group} {count}" for group, count in value.items()))
        elif name.removeprefix("alone_") in ("threshold", "ece"):
            table.add_row(name.replace("_", " "), f"{value:.4f}")
        elif name not in ("auroc", "refusal"):
            table.add_row(name.replace("_", " "), _share(value))
    return table


def _auroc(measures: dict[str, dict[str, float]]) -> Table:
    names = list(next(iter(measures.values())))
    table = Table("AUROC, in scope against", *(name.replace("_", " ") for name in names))
    for group, scores in measures.items():
        table.add_row(group, *(f"{scores[name]:.4f}" for name in names))
    return table


def _refusal(measures: dict[str, Any]) -> Table:
    table = Table("refused as out of scope below", f"{measures['threshold']:.4f}", title_justify="left")
    table.add_row("in scope: answered, and rightly", _share(measures["accuracy"]))
    for group, recall in measures["recall"].items():
        table.add_row(f"{group}: refused", _share(recall))
    return table


def _end_to_end(ways: dict[str, dict[str, Any]]) -> Table:
    """Percent of the group's questions. Whatever is neither right nor wrong was an abstention on an answerable one."""
    table = Table(Column("end to end, %", no_wrap=True), Column("group", max_width=GROUP_WIDTH, overflow="fold"))
    for name in ("right", "wrong", "abstained"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("answered by (right)", no_wrap=True)
    for way, groups in ways.items():
        for group, tally in groups.items():
            answered = [
                f"{route} {100 * tally['share'][route]:.1f} ({100 * tally['accuracy_by_route'][route]:.0f})"
                for route in ROUTES
                if route in tally["share"]
            ]
            name = way.replace("_", " ") if group == next(iter(groups)) else ""
            shares = (f"{100 * tally[key]:.2f}" for key in ("accuracy", "wrong_answers", "abstained"))
            table.add_row(name, group, *shares, ", ".join(answered))
        table.add_section()
    return table


def _stages(milliseconds: dict[str, dict[str, float]]) -> Table:
    names = list(next(iter(milliseconds.values())))
    table = Table("one question at a time, ms", *names)
    for stage, values in milliseconds.items():
        table.add_row(stage, *(f"{values[name]:.3f}" for name in names))
    return table


def _nested(title: str, measures: dict[str, Any]) -> Table:
    table = Table(title, "")
    for group, value in measures.items():
        for name, one in value.items() if isinstance(value, dict) else ((group, value),):
            label = group if name == group else f"{group}: {name.replace('_', ' ')}"
            table.add_row(label, _share(one) if isinstance(one, float) and one <= 1 else str(one))
    return table
