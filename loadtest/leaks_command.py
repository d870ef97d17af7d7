"""`leaks`: whether anybody is ever shown what is not for them, or what is not there any more."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from loadtest import leaks as proof
from loadtest import options, proof_results
from loadtest.leaks import Tally


@click.command("leaks", short_help="Random questions to a changing knowledge base, against what may be seen.")
@click.option("--cases", type=click.IntRange(min=1), default=100_000, show_default=True, help="Questions.")
@click.option("--seed", default=7, show_default=True)
@click.option(
    "--dates/--no-dates", "has_dates", default=True, help="Of some documents, which come and go by the clock."
)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where to write.  [a temporary one]")
@click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def leaks(cases: int, seed: int, has_dates: bool, folder: Path | None, out: Path | None, is_json: bool) -> None:
    """Three tenants with collections of the same names change and are searched, read and watched by random principals,
    through two processes' views of one folder that restart and are killed. Plain dictionaries say what may be seen.

    Exit code 1 where something was seen that must not be, or not found that must be.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as name, _quiet():
        tally = asyncio.run(proof.found(cases, seed, Path(name), has_dates))
    seconds = round(time.perf_counter() - started, 1)
    found = proof_results.result(
        "leaks", _faults(tally), seed=seed, dates=has_dates, seconds=seconds, **_numbers(tally)
    )
    options.finish(found, show, out=out, html=None, is_json=is_json)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of what a crash left by half."""
    logger = logging.getLogger("gateway")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _faults(tally: Tally) -> list[str]:
    shown = [
        f"case {one['case']}, {one['kind']} of {one.get('place')} by {one.get('groups')}, asked {one.get('asked')}: "
        + "; ".join(one["wrong"])
        for one in tally.described
    ]
    more = tally.leaks - len(shown)
    return shown + ([f"and {more} more"] if more else [])


def _numbers(tally: Tally) -> dict[str, Any]:
    return {
        "cases": tally.cases.total(),
        "by_kind": dict(tally.cases),
        "steps": dict(tally.steps),
        "restarts": tally.steps["restart"],
        "crashes": tally.steps["crash"],
        "changes": tally.changes,
        "with_a_graph": tally.graphs,
        "with_a_mask": tally.masked,
        "of_several_segments": tally.several,
        "leaks": tally.leaks,
        "described": tally.described,
    }


def show(found: dict[str, Any], console: Console) -> None:
    proof_results.show(found, console, ("", "how many"), _rows(found))


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, int]]:
    yield from sorted(found["by_kind"].items(), key=lambda one: -one[1])
    yield "all cases", found["cases"]
    yield "of those, with a graph", found["with_a_graph"]
    yield "with documents that are masked", found["with_a_mask"]
    yield "of several segments", found["of_several_segments"]
    yield "changes", found["changes"]
    yield "restarts", found["restarts"]
    yield "crashes", found["crashes"]
    yield "leaks", found["leaks"]
