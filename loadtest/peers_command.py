"""`peers`: the gateway, Triton and MLServer in turn."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from loadtest import options, peers, subjects, trials
from loadtest.peers import Contender
from loadtest.tables import show_peers
from loadtest.trials import SearchTerms, Terms, Watcher

FAMILIES = ("gateway", "triton", "mlserver")


@click.command("peers", short_help="The gateway, Triton and MLServer in turn.")
@options.given(options.QUESTIONS)
@options.given(options.PEERS)
@click.option(
    "--model-dir",
    "model",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help=options.MODEL_HELP,
)
@click.option("--serve", metavar="ARGS", default="", help="Arguments of `gateway serve`, such as --bundle FOLDER.")
@click.option(
    "--only",
    type=click.Choice(FAMILIES),
    multiple=True,
    help="Measure these alone; ratios to the others stay empty.",
)
@options.given(*options.SEARCH, *options.TERMS, *options.HONESTY, *options.OUTPUT)
def peers_in_turn(
    sources: tuple[Path, ...],
    folder: Path | None,
    model: Path,
    serve: str,
    only: tuple[str, ...],
    start: float,
    tolerance: float,
    repeats: int,
    out: Path | None,
    html: Path | None,
    is_json: bool,
    **others: Any,
) -> None:
    """Find the capacity of each server, and its CPU time an answer at half of the lowest capacity, in one table.

    Triton runs in each of its settings, and the best one counts. Ratios are the gateway's measure to the peer's: of the
    capacity more is better, of CPU time less. Exit code 1 if one of the runs that count is invalid.
    """
    if folder is None:
        raise click.UsageError("name the folder of the peers' scripts with --peers")
    terms = options.terms(sources, **others)
    contenders = [one for one in _contenders(folder, model, shlex.split(serve)) if not only or one.family in only]
    how = SearchTerms(start, tolerance, repeats)
    with options.watching() as watcher:
        found = options.run(_measured(contenders, terms, how, watcher)) | {"serve": serve}
    options.finish(found, show_peers, out=out, html=html, is_json=is_json)


def _contenders(folder: Path, model: Path, arguments: list[str]) -> list[Contender]:
    return [
        Contender("gateway", subjects.gateway(arguments, "gateway")),
        *(Contender("triton", subjects.triton(folder, model, setting)) for setting in subjects.TRITON),
        Contender("mlserver", subjects.mlserver(folder, model)),
    ]


async def _measured(contenders: list[Contender], terms: Terms, how: SearchTerms, watcher: Watcher) -> dict[str, Any]:
    found = await peers.measured(contenders, terms, how, watcher)
    return trials.heading("peers", "the gateway beside its peers", terms) | peers.to_json(found)
