"""`crashes`: whether the knowledge base keeps what it acknowledged, however it ends and whatever the disk does."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from loadtest import crashes as proof
from loadtest import options, proof_results, tables
from loadtest.crash_kills import Kind
from loadtest.crashes import Plan, Tried

TRIES = click.IntRange(min=1)


@click.command("crashes", short_help="A knowledge base that is killed, starved and damaged keeps what it acknowledged.")
@click.option("--kills", type=TRIES, default=200, show_default=True, help="At random moments.")
@click.option("--at-points", type=TRIES, default=10, show_default=True, help="Kills at each of the named points.")
@click.option("--logs", type=TRIES, default=200, show_default=True, help="Logs cut, and as many with a flipped bit.")
@click.option("--bits", type=TRIES, default=400, show_default=True, help="Of the main file, one at a time.")
@click.option("--disks", type=TRIES, default=20, show_default=True, help="That are full, or fail to sync.")
@click.option("--seed", default=7, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where to write.  [a temporary one]")
@click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def crashes(folder: Path | None, out: Path | None, is_json: bool, **tries: int) -> None:
    """Processes that write are killed, run out of disk, and are told that a sync failed; the files that they left are
    cut, exchanged and altered bit by bit. After each the folder is opened, and compared with what was acknowledged.

    Exit code 1 where anything is lost, torn, or found though it was deleted, where a search finds what a scan does not,
    where anything damaged is served, or read otherwise than before without being refused or found by a verification.
    What a damaged disk cost, and is refused, is counted, and no fault.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        tried = asyncio.run(proof.tried(Plan(**tries), Path(name), lambda kind: click.echo(f"{kind}: done", err=True)))
    found = proof_results.result(
        "crashes",
        [*tried.faults, *(fault for kind in tried.kinds for fault in kind.faults)],
        plan=tries,
        seconds=round(time.perf_counter() - started, 1),
        **_numbers(tried),
    )
    options.finish(found, show, out=out, html=None, is_json=is_json)


def _numbers(tried: Tried) -> dict[str, Any]:
    return {
        "kinds": [_kind(one) for one in tried.kinds],
        "skipped": tried.skipped,
        "lost_by_kills": sum(one.lost for one in tried.kinds if one.name.startswith("kill")),
        "lost_by_damaged_logs": sum(one.lost for one in tried.kinds if one.name.startswith("log")),
    }


def _kind(kind: Kind) -> dict[str, Any]:
    return {
        "name": kind.name,
        "tries": kind.tries,
        "acknowledged": kind.acknowledged,
        "lost": kind.lost,
        "came": dict(kind.came),
    }


def show(found: dict[str, Any], console: Console) -> None:
    headings = ("what was done", "tries", "acknowledged", "lost", "what came of it")
    proof_results.show(found, console, headings, _rows(found))
    console.print(
        f"acknowledged writes lost by kills: {found['lost_by_kills']:,}; lost, or not to be read any more, by a log "
        f"that the disk damaged: {found['lost_by_damaged_logs']:,}",
        highlight=False,
    )
    for one in found["skipped"]:
        console.print(f"skipped: {one}", highlight=False)


def _rows(found: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for one in found["kinds"]:
        yield one["name"], one["tries"], one["acknowledged"], one["lost"], tables.counted(one["came"])
