"""`knowledge-peers`: the knowledge base, Qdrant Edge and pgvector in turn."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from loadtest import honesty, knowledge_peers, options
from loadtest.knowledge_peers import OURS, STORES, NotInstalled
from loadtest.knowledge_world import Plan


class Missing(click.ClickException):
    exit_code = 2


@click.command("knowledge-peers", short_help="Stored collections beside Qdrant Edge, pgvector and plain hnswlib.")
@click.option("--python", type=click.Path(path_type=Path), help="An interpreter that has the other stores.")
@click.option("--only", type=click.Choice(STORES), multiple=True, help="Measure these alone.")
@click.option("--passages", type=click.IntRange(min=1000), default=100_000, show_default=True)
@click.option("--tenants", type=click.IntRange(min=1), default=50, show_default=True, help="The first is the largest.")
@click.option("--searches", type=click.IntRange(min=20), default=500, show_default=True, help="Of each kind.")
@click.option("--writes", type=click.IntRange(min=1), default=1_000, show_default=True, help="One after the other.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where to write.  [a temporary one]")
@click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def knowledge_beside_peers(
    python: Path | None,
    only: tuple[str, ...],
    passages: int,
    tenants: int,
    searches: int,
    writes: int,
    folder: Path | None,
    out: Path | None,
    is_json: bool,
) -> None:
    """The same passages, rights, questions and writes for each store, in a process of its own, one after the other.

    One question at a time, from one thread. Exit code 1 where ours fails or gives a wrong hit or too few of them; 2
    where another store is not installed.
    """
    stores = [one for one in STORES if not only or one in only]
    try:
        knowledge_peers.check(stores, python)
    except NotInstalled as error:
        raise Missing(str(error)) from None
    errors = Console(stderr=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        plan = Plan(passages, tenants, searches, writes)
        numbers = knowledge_peers.measured(plan, stores, python, Path(name), lambda one: errors.print(f"{one} ..."))
    faults = knowledge_peers.faults(numbers)
    found = {
        "kind": "knowledge-peers",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        **honesty.facts(),
        "valid": not faults,
        "faults": faults,
        "warnings": knowledge_peers.warnings(numbers),
        **numbers,
    }
    options.finish(found, show, out=out, html=None, is_json=is_json)


def show(found: dict[str, Any], console: Console) -> None:
    console.print(
        f"{found['processor']}, {found['system']}, commit {found['commit']}, {found['when']}\n"
        f"{found['passages']:,} passages of {len(found['tenants'])} tenants, the largest {max(found['tenants']):,}; "
        f"a hit is {found['hit']}; x: to ours",
        highlight=False,
    )
    stores = found["stores"]
    for title, rows in (("search, ms p50 / p99, recall@10", searches(found)), ("", others(found))):
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        for heading in (title, *stores):
            table.add_column(heading)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for name, one in stores.items():
        console.print(f"[bold]{name}[/]: {one.get('promise', '-')}; {one.get('settings', '-')}", highlight=False)


def searches(found: Mapping[str, Any]) -> list[list[str]]:
    """A row for each kind of question, a cell for each store."""
    rows = []
    for kind, told in found["kinds"].items():
        row = [f"{kind}\nof {told['permitted']:,.0f}"]
        for name, one in found["stores"].items():
            asked = one.get("asked", {}).get(kind)
            row.append(_search(asked, _ratio(found, name, f"{kind}_p50")) if asked else "failed")
        rows.append(row)
    return rows


def _search(asked: Mapping[str, Any], ratio: str) -> str:
    wrong = "".join(f", {asked[name]} {name}" for name in ("short", "forbidden") if asked[name])
    return f"{_pair(asked['ms'])}{ratio}\n{asked['recall']:.4f}{wrong}"


PAIRS = {
    "all, 5 % writes between, ms": "mixed_ms",
    "writes between searches, ms": "mixed_write_ms",
    "durable write, ms": "write_ms",
    "write not yet on disk, ms": "light_write_ms",
}
SINGLES = {
    "durable writes/s": "writes_per_second",
    "all taken in, s": "load_seconds",
    "all indexed, s": "build_seconds",
    "on disk, MB": "disk_mb",
    "on disk after writes, MB": "disk_after_mb",
    "memory, MB": "memory_mb",
    "memory after writes, MB": "memory_after_mb",
}


def others(found: Mapping[str, Any]) -> list[list[str]]:
    """A row for each other measure."""
    stores = found["stores"]
    rows = []
    for title, key in (PAIRS | SINGLES).items():
        measure = key.replace("_ms", "_p50")
        rows.append([title, *(_cell(one.get(key), _ratio(found, name, measure)) for name, one in stores.items())])
    seen = [f"{one.get('seen', '-')} of {one.get('looked_for', '-')}" for one in stores.values()]
    after = [f"{one['after']['recall']:.4f}" if "after" in one else "-" for one in stores.values()]
    return [*rows, ["seen by the next search", *seen], ["recall@10 after writes", *after]]


def _cell(value: Any, ratio: str) -> str:
    if value is None:
        return "-"
    return (_pair(value) if isinstance(value, dict) else f"{value:,.1f}") + ratio


def _pair(percentiles: Mapping[str, float]) -> str:
    return f"{percentiles['p50']:.2f} / {percentiles['p99']:.2f}"


def _ratio(found: Mapping[str, Any], store: str, name: str) -> str:
    value = found["ratios"].get(store, {}).get(name) if store != OURS else None
    return "" if value is None else f", x {value:.3g}"
