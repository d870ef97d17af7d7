"""How `gateway models` shows what it found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from gateway.forge.paired import Comparison, Side
from gateway.forge.resampling import Estimate
from gateway.model.versions import Gate
from gateway.registry import facts
from gateway.registry.facts import Version

SHOWN = 15
"""Intents that are shown; --json has all of them."""
SERVED, OTHERS = "variants.int8.", ("variants.fp16.", "variants.fp32.")
"""Of the names in a certificate."""
COLOURS = {"passed": "green", "failed": "bold red", "waived": "yellow", "skipped": "dim"}


def show_versions(found: Sequence[Version], console: Console) -> None:
    """A row for each, and what is wrong with those that cannot be used. In development questions right and, of intents
    that were held out, right documents first; the threshold that a CPU serves by, the share of certification questions
    that it covers, and the share out of scope up to which it holds."""
    columns = ("", "parent", "labels", "MiB", "right", "unseen", "certificate", "at", "covers", "OOS")
    table = _table("version", *columns)
    for one in found:
        table.add_row(f"{one.name}/{one.version}", one.state, *(_cells(one.facts) if one.facts else ["damaged"]))
    console.print(table)
    for one in found:
        if one.problem:
            console.print(f"{one.name}/{one.version}: {escape(one.problem)}", highlight=False, soft_wrap=True)


def _cells(said: dict[str, Any]) -> list[str]:
    measured, promise, parent = said["metrics"], facts.served(said), said["lineage"]["parent"]
    return [
        f"{parent['name']}/{parent['version']}" if parent else "",
        str(said["labels"]),
        f"{said['bytes'] / 2**20:.1f}",
        *(f"{100 * measured[name]:.1f}%" if name in measured else "" for name in ("accuracy", "unseen_retrieval")),
        "not its own" if said["certificate"]["problem"] else promise.get("status", ""),
        f"{promise['threshold']:.3f}" if promise.get("threshold") is not None else "",
        f"{100 * promise['coverage']:.1f}%" if promise else "",
        f"{100 * promise['certified_up_to_oos_share']:.1f}%" if promise else "",
    ]


def show_differences(one: str, other: str, found: dict[str, Any], console: Console) -> None:
    """What is not the same, by part; of certificates that of the 8-bit graph, which a CPU serves by."""
    table = _table("", one, other)
    labels = found["labels"]
    for name in ("added", "removed"):
        if labels[name]:
            table.add_row(f"labels {name}", str(len(labels[name])), _some(labels[name]))
    parts = {"document of": labels["documents"]} | {name: some for name, some in found.items() if name != "labels"}
    for part, pairs in parts.items():
        for name, (before, after) in pairs.items():
            if not name.startswith(OTHERS):
                table.add_row(f"{part} {name.removeprefix(SERVED)}", _value(before), _value(after))
        table.add_section()
    console.print(table if table.row_count else f"{one} and {other} say the same of themselves")


def show_comparison(one: str, other: str, found: Comparison, console: Console) -> None:
    """Both on the same questions, what the other has more of, and the intents that changed."""
    table = _table(f"{found.questions} questions, %", one, other, "more, and 95 % of resamples")
    rows = {"right": found.right, "wrong": found.wrong}
    for name, more in rows.items():
        sides = (getattr(side, name) for side in (found.before, found.after))
        table.add_row(name, *(f"{100 * side:.2f}" for side in sides), _more(more))
    table.add_row("abstained", f"{100 * found.before.abstained:.2f}", f"{100 * found.after.abstained:.2f}", "")
    table.add_row("answered by the model", *map(_by_model, (found.before, found.after)), _more(found.model))
    console.print(table)
    changed = [intent for intent in found.intents if intent.won or intent.lost]
    console.print(f"{found.won} won, {found.lost} lost, of {len(changed)} of {len(found.intents)} intents")
    table = _table("most lost", "questions", "right", "now", "won", "lost", "p", "")
    for intent in [intent for intent in changed if intent.lost > intent.won][:SHOWN]:
        numbers = (intent.questions, intent.before, intent.after, intent.won, intent.lost)
        mark = "[bold red]forgotten[/]" if intent.is_forgotten else ""
        table.add_row(escape(intent.name), *map(str, numbers), f"{intent.chance:.3f}", mark)
    if table.row_count:
        console.print(table)


def show_gates(gates: Iterable[Gate], console: Console) -> None:
    """One line for each."""
    for gate in gates:
        colour = COLOURS[gate.outcome]
        console.print(
            f"[{colour}]{gate.outcome:8}[/] {gate.name}: {escape(gate.detail)}", highlight=False, soft_wrap=True
        )


def _by_model(side: Side) -> str:
    return f"{100 * side.routes.get('model', 0.0):.2f}"


def _more(one: Estimate) -> str:
    return f"{100 * one.value:+.2f} ({100 * one.low:+.2f} to {100 * one.high:+.2f})"


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):  # a parent
        return f"{value['name']}/{value['version']}"
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _table(first: str, *others: str) -> Table:
    return Table(Column(first, no_wrap=True), *others, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
