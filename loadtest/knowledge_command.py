"""`knowledge`: the measures of stored collections, each with what was asked of it."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from loadtest import honesty, options
from loadtest.knowledge import Plan, measured
from loadtest.knowledge_ends import REPLACED


@click.command("knowledge", short_help="Stored collections by themselves: writes, kills, searches, a start.")
@click.option("--passages", type=click.IntRange(min=2), default=100_000, show_default=True)
@click.option("--writes", type=click.IntRange(min=1), default=10_000, show_default=True, help="One after the other.")
@click.option("--searches", type=click.IntRange(min=1), default=5_000, show_default=True, help="5 % writes between.")
@click.option("--kills", type=click.IntRange(min=0), default=200, show_default=True, help="Of a process that writes.")
@click.option(
    "--tenants", type=click.IntRange(min=0), default=50, show_default=True, help="Of sizes 1, 1/2, ...; 0: none."
)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where to write.  [a temporary one]")
@click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def knowledge(
    passages: int,
    writes: int,
    searches: int,
    kills: int,
    tenants: int,
    folder: Path | None,
    out: Path | None,
    is_json: bool,
) -> None:
    """Two-passage documents around 200 subjects, with made vectors of 384 dimensions: those of many tenants first, then
    all of them in one collection.

    Exit code 1 where a write that was acknowledged was lost, torn or not seen.
    """
    plan = Plan(passages, writes, searches, kills, tenants)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        numbers = asyncio.run(measured(plan, Path(name)))
    faults = _faults(numbers)
    found = {
        "kind": "knowledge",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        **honesty.facts(),
        "valid": not faults,
        "faults": faults,
        **numbers,
    }
    options.finish(found, show, out=out, html=None, is_json=is_json)


def _faults(numbers: dict[str, Any]) -> list[str]:
    wrong = {
        "were acknowledged and are gone": numbers["lost"],
        "are there by half": numbers["torn"],
        "were acknowledged and not seen by the next search": numbers["writes"] - numbers["seen"],
    }
    return [f"{count} writes {what}" for what, count in wrong.items() if count]


def show(found: dict[str, Any], console: Console) -> None:
    console.print(
        f"{found['processor']}, {found['system']}, commit {found['commit']}, {found['when']}", highlight=False
    )
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for heading in ("", "found", "asked", "aim"):
        table.add_column(heading)
    for row in rows(found):
        table.add_row(*row)
    console.print(table)


def rows(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """What was measured, and what was asked of it: in words."""
    write, start, killed = found["write_ms"], found["start"], found["start_after_kill"]
    million = 1e6 / max(1, start["passages"]) / 1e9
    return [
        (
            f"hybrid search of {found['passages']:,} passages of {found['tenants']} tenants, 5 % writes, p50 / p99",
            _pair(found["search_ms"]) if found["search_ms"] else "not asked",
            "1.5 / 6 ms",
            "0.8 / 3 ms",
        ),
        ("the same, all in one collection", _pair(found["search_of_one_ms"]), "", ""),
        ("recall@10 of documents against a scan", f"{found['recall']:.4f}", "0.98", "0.995"),
        ("upsert acknowledged, without embedding, p50 / p99", _pair(write), "3 / 25 ms", "1 / 15 ms"),
        ("seen by the next search", f"{found['seen']:,} of {found['writes']:,}", "all", "all, while merging"),
        (
            f"acknowledged writes lost in {found['kills']} kills",
            f"{found['lost']} of {found['acknowledged']:,}, {found['torn']} torn",
            "0",
            "0",
        ),
        (
            "restart to exact answers / to full speed",
            _start(start),
            "2 / 5 s",
            "1 / 3 s",
        ),
        (
            f"the same after a kill, {REPLACED:,} writes later",
            _start(killed),
            "",
            "",
        ),
        (
            "memory beyond text, of a million passages",
            f"{start['private_bytes'] * million:.2f} GB, and {start['file_bytes'] * million:.2f} GB of mapped files",
            "2.2 GB",
            "1 GB",
        ),
        ("ingest without embedding", f"{found['ingest_passages_per_second']:,.0f} passages/s", "", ""),
    ]


def _start(found: dict[str, float]) -> str:
    seconds = f"{found['exact_seconds']:.2f} / {found['full_speed_seconds']:.2f} s"
    later = found["merged_seconds"]
    return f"{seconds}, merges until {later:.1f} s" if later > found["full_speed_seconds"] + 0.1 else seconds


def _pair(percentiles: dict[str, float]) -> str:
    return f"{percentiles['p50']:.2f} / {percentiles['p99']:.2f} ms"
