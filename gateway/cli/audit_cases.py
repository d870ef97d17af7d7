"""`gateway audit pending` and `report`: what is to be judged, and how often answers are wrong by what was judged."""

from __future__ import annotations

import math
from itertools import groupby
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from gateway.audit import reading
from gateway.audit.cases import FILE, Cases
from gateway.audit.marks import time_of
from gateway.audit.rates import rates
from gateway.audit.reading import Wanted
from gateway.audit.records import Kind, stamp
from gateway.cli.audit_options import located, show
from gateway.cli.main import Failure
from gateway.types import ErrorRate


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
    table = Table("bundle", "route", "drawn", "judged", "wrong", "error rate", "95 % bounds", box=box.SIMPLE_HEAD)
    for bundle, some in groupby(tallies, key=lambda one: one.bundle):
        for one in rates(some):
            table.add_row(bundle, *_cells(one))
    Console().print(table)


def _cells(one: ErrorRate) -> tuple[str, ...]:
    rate = "-" if math.isnan(one.estimate) else f"{100 * one.estimate:.2f} %"
    counts = (f"{number:,}" for number in (one.drawn, one.judged, one.wrong))
    return one.route, *counts, rate, f"{100 * one.lower:.2f} to {100 * one.upper:.2f} %"


def _cases(folder: Path) -> Cases:
    if not (folder / FILE).exists():
        raise Failure(f"{folder}: nothing was drawn there: it has no {FILE}, and is no folder of an audit log")
    return Cases(folder)
