"""`find-capacity`: the highest rate at which a server answers every question, and 99 % of them within the target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from loadtest import options, trials
from loadtest.subjects import Subject, opened
from loadtest.tables import show_capacity
from loadtest.trials import SearchTerms, Terms, Watcher


@click.command("find-capacity", short_help="Search the highest rate that is answered within the target.")
@options.given(options.QUESTIONS, *options.SERVER, *options.SEARCH, *options.TERMS, *options.HONESTY, *options.OUTPUT)
def find_capacity(
    sources: tuple[Path, ...],
    start: float,
    tolerance: float,
    repeats: int,
    out: Path | None,
    html: Path | None,
    is_json: bool,
    **others: Any,
) -> None:
    """Search the highest rate with p99 <= --target-ms and nothing refused, failed or late beyond its deadline.

    The rate is doubled (or halved) until it fails (or passes), then narrowed by bisection; the median of --repeats
    searches counts.
    """
    subject = options.subject(others)
    terms = options.terms(sources, **others)
    with options.watching() as watcher:
        found = options.run(_search(subject, terms, watcher, SearchTerms(start, tolerance, repeats)))
    options.finish(found, show_capacity, out=out, html=html, is_json=is_json)


async def _search(subject: Subject, terms: Terms, watcher: Watcher, how: SearchTerms) -> dict[str, Any]:
    async with opened(subject, terms.channels) as server:
        capacity = await trials.find_capacity(server, terms, watcher, how)
    return trials.heading("capacity", subject.name, terms) | trials.capacity_to_json(capacity)
