"""`sweep`: what a server still does at multiples of its capacity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from loadtest import options, trials
from loadtest.processes import ServerFailed
from loadtest.subjects import Subject, opened
from loadtest.tables import show_sweep
from loadtest.trials import SearchTerms, Terms, Watcher

MULTIPLES = "0.5,0.8,1,1.2,1.5,2,3,5,10"


@click.command(short_help="Run at multiples of the capacity: the goodput curve.")
@options.given(options.QUESTIONS, *options.SERVER)
@click.option(
    "--capacity", type=click.FloatRange(min=0, min_open=True), help="Questions a second. Found first if not given."
)
@click.option("--multiples", default=MULTIPLES, show_default=True, help="Of the capacity, in this order.")
@options.given(*options.TERMS, *options.HONESTY, *options.OUTPUT)
def sweep(
    sources: tuple[Path, ...],
    capacity: float | None,
    multiples: str,
    out: Path | None,
    html: Path | None,
    is_json: bool,
    **others: Any,
) -> None:
    """Run at each multiple of the capacity: the goodput curve, which ought to stay flat beyond 1.

    Exit code 1 if one of the runs is invalid.
    """
    try:
        wanted = [float(one) for one in multiples.split(",")]
    except ValueError:
        raise click.UsageError(f"--multiples: {multiples!r} is not a list of numbers") from None
    if not all(0 < one <= 100 for one in wanted):
        raise click.UsageError("--multiples: between 0 and 100")
    subject = options.subject(others)
    terms = options.terms(sources, **others)
    with options.watching() as watcher:
        found = options.run(_sweep(subject, terms, watcher, wanted, capacity))
    options.finish(found, show_sweep, out=out, html=html, is_json=is_json)


async def _sweep(
    subject: Subject, terms: Terms, watcher: Watcher, multiples: Sequence[float], capacity: float | None
) -> dict[str, Any]:
    points = []
    async with opened(subject, terms.channels) as server:
        if capacity is None:
            searched = await trials.find_capacity(server, terms, watcher, SearchTerms(repeats=1))
            capacity = searched.median
        if not capacity:
            raise ServerFailed(f"{subject.name}: no rate passes, so there is no capacity to multiply")
        for multiple in multiples:
            rate = multiple * capacity
            trial = trials.judged(await trials.run_at(rate, server, terms, watcher), rate)
            share = round(trial.good_per_second / capacity, 4)
            points.append({"multiple": multiple, "good_of_capacity": share, **asdict(trial)})
    faults = [f"{point['multiple']:g} x: {fault}" for point in points for fault in point["faults"]]
    return trials.heading("sweep", subject.name, terms) | {
        "valid": not faults,
        "faults": faults,
        "capacity": round(capacity, 2),
        "points": points,
    }
