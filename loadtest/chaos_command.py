"""`chaos`: every fault test on a gateway of its own, and a table of what was seen."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest import options, proof_results
from loadtest.chaos import suite
from loadtest.chaos.suite import FAIL, Line
from loadtest.chaos.verdicts import FaultTest, Terms

WIDTH = 150
"""Columns at least: in fewer nobody reads such a table."""


@click.command("chaos", short_help="Faults of all kinds, one after the other, and what callers see of each.")
@click.option("--only", metavar="N,N", help="These tests, by number.  [all]")
@click.option("--short", "is_short", is_flag=True, help="Each in seconds, as tests of the repository run them.")
@click.option(
    "--no-timing",
    "ignores_time",
    is_flag=True,
    help="Fail nothing by its duration: for a machine whose cores others use.",
)
@click.option(
    "--soak-minutes", type=click.FloatRange(min=1), default=30.0, show_default=True, help="Of the soak's long form."
)
@click.option("--seed", default=7, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where to write.  [a temporary one]")
@click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def chaos(
    only: str | None,
    is_short: bool,
    ignores_time: bool,
    soak_minutes: float,
    seed: int,
    folder: Path | None,
    out: Path | None,
    is_json: bool,
) -> None:
    """Starts gateways on free ports of this machine and lets one thing at a time go wrong. The long form takes more
    than an hour, half of it the soak.

    Exit code 1 where a test failed. What a machine cannot do is not run, and says why.
    """
    tests = _chosen(only)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        judges_time = not (ignores_time or is_short)
        terms = Terms(Path(name), is_short, judges_time, seed, soak_minutes)
        lines = options.run(suite.run(tests, terms, _tell))
    faults = [f"{one.number}, {one.name}: {fault}" for one in lines if one.result == FAIL for fault in one.faults]
    found = proof_results.result(
        "chaos",
        faults,
        form="short" if is_short else "long",
        durations_judged=terms.judges_time,
        seed=seed,
        seconds=round(time.perf_counter() - started, 1),
        tests=[one.to_json() for one in lines],
    )
    options.finish(found, show, out=out, html=None, is_json=is_json)


def _chosen(only: str | None) -> list[FaultTest]:
    if only is None:
        return list(suite.TESTS)
    known = {str(one.number): one for one in suite.TESTS}
    try:
        return [known[one.strip()] for one in only.split(",")]
    except KeyError as missing:
        raise click.UsageError(f"--only: there is no test {missing}; there are {', '.join(known)}") from None


def _tell(line: Line) -> None:
    click.echo(f"{line.number}, {line.name}: {line.result}, {line.seconds:.0f} s", err=True)


def show(found: dict[str, Any], console: Console) -> None:
    console = Console(file=console.file, width=max(console.width, WIDTH))
    proof_results.show(found, console, (), ())
    table = Table("", "test", "criterion", "seen", "", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.columns[1].width, table.columns[2].width = 22, 40
    for one in found["tests"]:
        seen = [*one["seen"], *(f"FAULT: {each}" for each in one["faults"])]
        seen += [f"not judged: {each}" for each in one["unjudged"]]
        cells = (str(one["number"]), one["name"], one["criterion"], "\n".join(seen), one["result"])
        table.add_row(*map(Text, cells))
    console.print(table)
    counts = ", ".join(
        f"{sum(one['result'] == result for one in found['tests'])} {result}"
        for result in (suite.PASS, FAIL, suite.NOT_RUN)
    )
    console.print(f"{counts}; {found['form']} form, {found['seconds']:.0f} s", highlight=False)
