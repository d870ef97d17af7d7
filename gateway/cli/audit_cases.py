"""`gateway audit pending`, `report` and `plan`: what is to be judged, how often answers are wrong by what was judged,
and how much has to be judged to know."""

from __future__ import annotations

import math
from itertools import groupby
from pathlib import Path

import click
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from gateway.audit import reading
from gateway.audit.cases import FILE, Cases
from gateway.audit.marks import time_of
from gateway.audit.planning import bounds, judged_until_sure
from gateway.audit.rates import rates
from gateway.audit.reading import Wanted
from gateway.audit.records import Kind, stamp
from gateway.cli.audit_options import located, show
from gateway.cli.main import Failure
from gateway.types import ErrorRate

JUDGED = (30, 100, 300, 1000, 3000, 10_000)


@click.command()
@located
@click.option("-n", "--count", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--json", "is_json", is_flag=True, help="Print whole records, a line each.")
def pending(folder: Path, count: int, is_json: bool) -> None:
    """Answers that chance has drawn and nobody has judged, with the questions' texts where they are kept.

    `gateway feedback` takes what you find.
    """
    cases = _cases(folder)
    ids = set(cases.pending(count))
    cases.close()
    if not ids:
        click.echo("nothing is to be judged", err=True)
        return
    wanted = Wanted(kind=Kind.ANSWER, since=stamp(min(time_of(one) for one in ids)))
    show((one for one in reading.records(folder, wanted, has_text=True) if one["id"] in ids), is_json)


@click.command()
@located
def report(folder: Path) -> None:
    """How often answers are wrong, by bundle and route: by those that chance has drawn and somebody has judged.

    The bounds hold at all times at once with 95 %, whichever were not judged: those count as right for the lower bound
    and as wrong for the upper one.
    """
    cases = _cases(folder)
    tallies = cases.tallies()
    cases.close()
    for bundle, some in groupby(tallies, key=lambda one: one.bundle):
        table = Table("route", "drawn", "judged", "wrong", "error rate", "95 % bounds", box=box.SIMPLE_HEAD)
        for one in rates(some):
            table.add_row(*_cells(one))
        click.echo(bundle)
        Console().print(table)


@click.command()
@click.option("--rate", type=click.FloatRange(0, 1), default=0.03, show_default=True, help="Of wrong answers.")
@click.option("--promised", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05, show_default=True)
@click.option("--runs", type=click.IntRange(min=1), default=200, show_default=True, help="Simulated.")
@click.option("--most", type=click.IntRange(min=100), default=5000, show_default=True, help="Answers of each.")
@click.option("--seed", default=7, show_default=True)
def plan(rate: float, promised: float, runs: int, most: int, seed: int) -> None:
    """How many drawn answers have to be judged: the bounds by then, and when a rate above what is promised is seen."""
    table = Table("judged", "95 % bounds", box=box.SIMPLE_HEAD)
    for judged in JUDGED:
        found = bounds(judged, rate)
        table.add_row(f"{judged:,}", f"{100 * found.lower:.1f} to {100 * found.upper:.1f} %")
    Console().print(table)
    if rate > promised:
        until = judged_until_sure(rate, promised, runs, most, seed)
        middle, late = np.quantile(until, (0.5, 0.9))
        click.echo(
            f"{100 * rate:g} % where {100 * promised:g} % are promised: the certificate is doubted after {middle:,.0f} "
            f"judged answers (median; 90 %: {late:,.0f}) of {runs} simulated runs"
        )


def _cells(one: ErrorRate) -> tuple[str, ...]:
    rate = "-" if math.isnan(one.estimate) else f"{100 * one.estimate:.2f} %"
    counts = (f"{number:,}" for number in (one.drawn, one.judged, one.wrong))
    return one.route, *counts, rate, f"{100 * one.lower:.2f} to {100 * one.upper:.2f} %"


def _cases(folder: Path) -> Cases:
    if not (folder / FILE).exists():
        raise Failure(f"{folder}: nothing was drawn there: it has no {FILE}, and is no folder of an audit log")
    return Cases(folder)
