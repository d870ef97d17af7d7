"""`chaos`: every fault test on a gateway of its own, and a table of what was seen."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest import documents, options, proof_results
from loadtest.chaos import suite
from loadtest.chaos.suite import FAIL, PASS, Line
from loadtest.chaos.verdicts import FaultTest, Terms

WIDTH = 150
"""Columns at least: in fewer nobody reads such a table."""
SAME = ("kind", "commit", "processor", "form", "durations_judged", "seed", "soak_minutes")
"""Of all that one table tells of."""


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
@click.option("--out", type=click.Path(path_type=Path), help="Write the result to this JSON file, after each test.")
@click.option("--resume", is_flag=True, help="Keep what --out holds of this commit; run what has not passed there.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def chaos(
    only: str | None,
    is_short: bool,
    ignores_time: bool,
    soak_minutes: float,
    seed: int,
    folder: Path | None,
    out: Path | None,
    resume: bool,
    is_json: bool,
) -> None:
    """Starts gateways on free ports of this machine and lets one thing at a time go wrong. The long form takes more
    than an hour, half of it the soak; with --out and --resume it can be run in pieces, of which the last prints all.

    Exit code 1 where a test failed. What a machine cannot do is not run, and says why.
    """
    tests = _chosen(only)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        terms = Terms(Path(name), is_short, not (ignores_time or is_short), seed, soak_minutes)
        lines = _kept(out, _result(terms, [])) if resume else {}
        left = [one for one in tests if one.number not in lines or lines[one.number].result != PASS]

        def tell(line: Line) -> None:
            lines[line.number] = line
            click.echo(f"{line.number}, {line.name}: {line.result}, {line.seconds:.0f} s", err=True)
            if out is not None:
                documents.write(out, _result(terms, lines.values()))

        options.run(suite.run(left, terms, tell))
    options.finish(_result(terms, lines.values()), show, out=out, html=None, is_json=is_json)


def _result(terms: Terms, lines: Iterable[Line]) -> dict[str, Any]:
    """As it is written and shown: by number, whenever each was run."""
    ordered = sorted(lines, key=lambda one: one.number)
    return proof_results.result(
        "chaos",
        [f"{one.number}, {one.name}: {fault}" for one in ordered if one.result == FAIL for fault in one.faults],
        form="short" if terms.is_short else "long",
        durations_judged=terms.judges_time,
        seed=terms.seed,
        soak_minutes=terms.soak_minutes,
        seconds=round(sum(one.seconds for one in ordered), 1),
        tests=[one.to_json() for one in ordered],
    )


def _kept(out: Path | None, now: dict[str, Any]) -> dict[int, Line]:
    """By number, what an earlier run has written; nothing where there is no such file yet. One table is of one commit
    and form."""
    if out is None:
        raise click.UsageError("--resume goes on with the file of --out: name it")
    if not out.exists():
        return {}
    with options.shown_errors():
        before = documents.read(out)
    for what in SAME:
        if before.get(what) != now[what]:
            raise click.UsageError(
                f"--resume: {out} is of {what} {before.get(what)!r}, and this is {now[what]!r}: remove it, or name "
                "another file"
            )
    return {one["number"]: Line(**one) for one in before["tests"]}


def _chosen(only: str | None) -> list[FaultTest]:
    if only is None:
        return list(suite.TESTS)
    known = {str(one.number): one for one in suite.TESTS}
    try:
        return [known[one.strip()] for one in only.split(",")]
    except KeyError as missing:
        raise click.UsageError(f"--only: there is no test {missing}; there are {', '.join(known)}") from None


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
        f"{sum(one['result'] == result for one in found['tests'])} {result}" for result in (PASS, FAIL, suite.NOT_RUN)
    )
    console.print(f"{counts}; {found['form']} form, {found['seconds']:.0f} s", highlight=False)
