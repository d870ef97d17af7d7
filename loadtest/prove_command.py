"""`prove`: every measure of what the gateway claims, each printed with what was asked of it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from loadtest import documents, kept, options
from loadtest.experiments import EXPERIMENTS, Bench, Experiment, Finding, Findings, Lacking
from loadtest.measures import MEASURES
from loadtest.trials import SearchTerms

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command("prove", short_help="Every measure of what is claimed, or some.")
@options.given(options.QUESTIONS)
@click.option(
    "--only", type=click.Choice(list(MEASURES)), multiple=True, metavar="MEASURE", help="Of the list below; repeatable."
)
@click.option("--serve", metavar="ARGS", default="", help="Arguments of `gateway serve`, such as --bundle FOLDER.")
@click.option(
    "--capacity", type=click.FloatRange(min=0, min_open=True), help="Questions a second. Found first if not given."
)
@click.option(
    "--server-cpus",
    "cpus",
    metavar="LIST",
    default="",
    callback=lambda _, __, cpus: _checked(cpus),
    help="Cores of the servers, such as 0,1 or 0-1; whoever asks keeps the others.  [all share all]",
)
@options.given(options.PEERS)
@click.option("--model-dir", "model", type=FOLDER, help=options.MODEL_HELP)
@click.option("--same-weights", "same", type=FOLDER, help="The bundle of the weights in --model-dir, for the peers.")
@click.option("--student", type=FOLDER, help="The bundle of a smaller student, for the peers.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to keep each measure in, as MEASURE.json.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
@options.given(*options.SEARCH, *options.TERMS, *options.HONESTY)
def prove(
    sources: tuple[Path, ...],
    only: tuple[str, ...],
    serve: str,
    capacity: float | None,
    cpus: str,
    folder: Path | None,
    model: Path | None,
    same: Path | None,
    student: Path | None,
    out: Path | None,
    is_json: bool,
    start: float,
    tolerance: float,
    repeats: int,
    **others: Any,
) -> None:
    """Take each measure, and say whether it is as was asked.

    Everything is started and stopped here, on this machine; all together takes an hour or more. What cannot be taken,
    as an option is lacking, is said and left out. Exit code 1 if a measure is invalid.
    """
    if cpus:  # before there are threads: they would keep all cores
        os.sched_setaffinity(0, os.sched_getaffinity(0) - _cores(cpus))
    bench = Bench(
        options.terms(sources, **others),
        SearchTerms(start, tolerance, repeats),
        lambda *_: None,
        shlex.split(serve),
        sources,
        frozenset(only or MEASURES),
        folder,
        model,
        same,
        student,
        capacity,
        cpus,
    )
    found = []
    for one in _taken(bench):
        found.append(one)
        if out is not None and "lacking" not in one:
            documents.write(out / f"{one['measure']}.json", one)
        if not is_json:
            _show(one)
    if is_json:
        click.echo(documents.text({"measures": found}))
    if not all(one["valid"] for one in found):
        raise SystemExit(1)


def _checked(cpus: str) -> str:
    """Raises BadParameter for what is no part of the cores that there are."""
    theirs, here = _cores(cpus), os.sched_getaffinity(0)
    if cpus and (not theirs <= here or theirs == here):
        raise click.BadParameter(
            f"must leave some of the cores {', '.join(map(str, sorted(here)))}, and name no others"
        )
    return cpus


def _cores(cpus: str) -> set[int]:
    """Of 0,2-3: 0, 2 and 3. Raises BadParameter."""
    try:
        ranges = [[int(end) for end in part.split("-", 1)] for part in cpus.split(",") if cpus]
        found = [range(part[0], part[-1] + 1) for part in ranges]
        if not all(found):
            raise ValueError
    except ValueError:
        raise click.BadParameter(f"{cpus!r} is no list of cores, such as 0,1 or 0-1") from None
    return {core for part in found for core in part}


prove.epilog = f"Measures: {', '.join(MEASURES)}."


def _taken(bench: Bench) -> Iterator[dict[str, Any]]:
    """Each wanted measure as soon as it is there: an hour's work is not lost to what fails after it."""
    for names, experiment in EXPERIMENTS.items():
        wanted = [name for name in names if name in bench.wanted]
        if not wanted:
            continue
        when = datetime.now(UTC).isoformat(timespec="seconds")
        lacking, findings = _tried(bench, experiment, wanted)
        for name in wanted:
            one = kept.document(MEASURES[name], findings[name], when, bench.terms, bench.cpus)
            needs = lacking or findings[name].lacking
            yield one | {"lacking": needs} if needs else one


def _tried(bench: Bench, experiment: Experiment, wanted: list[str]) -> tuple[str, Findings]:
    """What is lacking, if anything, and what was found."""
    nothing = Finding(None, "", {})
    try:
        with options.watching() as watcher:
            bench.watcher = watcher
            return "", options.run(experiment(bench))
    except Lacking as lacking:
        return str(lacking), dict.fromkeys(wanted, nothing)
    except click.ClickException as error:
        failed = Finding(None, "", {}, faults=(error.message,))
        return "", dict.fromkeys(wanted, failed)


def _show(one: dict[str, Any]) -> None:
    measure, console = MEASURES[one["measure"]], Console()
    if "lacking" in one:
        console.print(f"[dim]{measure.name:<18}not measured: needs {one['lacking']}[/]", highlight=False)
        return
    sign = "<=" if measure.is_less_better else ">="
    colour = {"missed": "red", "not measured": "dim"}.get(one["verdict"], "green")
    console.print(
        f"{measure.name:<18}[bold]{measure.shown(one['value']):>9}[/]  [{colour}]{one['verdict']}[/]  "
        f"(asked {sign} {measure.shown(one['at_least'])}, aim {measure.shown(one['aim'])})  {measure.what}",
        highlight=False,
    )
    for line in (*(f"INVALID: {fault}" for fault in one["faults"]), *one["warnings"]):
        console.print(f"{'':<18}{line}", style="yellow", highlight=False, markup=False)
