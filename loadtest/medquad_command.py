"""`medquad`: what is found in a real collection, by meaning, by words and by both, and how fast it is taken in."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from gateway.config import Config
from gateway.errors import GatewayError
from loadtest import medquad as measures
from loadtest import medquad_data, options, proof_results
from loadtest.medquad_data import FILE, Data

FOLDER = click.Path(path_type=Path, file_okay=False)
TOLD_EVERY = 1024
"""Documents."""


def _data() -> Path | None:
    root = os.environ.get("GATEWAY_DATA")
    return Path(root) / "medquad" if root else None


WHERE = (
    click.option("--data", type=FOLDER, default=_data, help=f"Folder with {FILE}.  [$GATEWAY_DATA/medquad]"),
    click.option(
        "--bundle", type=FOLDER, default=lambda: Config().model.bundle, help="What embeds.  [the shipped one]"
    ),
    click.option("--folder", type=FOLDER, help="Of the store, used again where it holds them.  [a temporary one]"),
    click.option("--documents", type=click.IntRange(min=0), help="Only the first so many, and those asked for.  [all]"),
    click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of the session."),
)
OUTPUT = (
    click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file."),
    click.option("--json", "is_json", is_flag=True, help="Print JSON."),
)


@click.command("medquad", short_help="MedQuAD through the knowledge base, and questions of laypeople to it.")
@options.given(*WHERE)
@click.option(
    "--questions",
    "which",
    type=click.Choice(list(medquad_data.QUESTIONS)),
    default=medquad_data.FROZEN,
    show_default=True,
    help="300 by which nothing may be chosen, or 150 others that are there to choose by.",
)
@options.given(*OUTPUT)
def medquad(
    data: Path | None,
    bundle: Path,
    folder: Path | None,
    documents: int | None,
    which: str,
    threads: int,
    out: Path | None,
    is_json: bool,
) -> None:
    """Takes some 15 minutes for all of it, on one core. A document is right if it is the question's own, or has its
    focus and type, or its words: those ask the same. At last the served hits are compared with those of a search that
    scores every passage by the same formula.
    """
    numbers = ran(measures.measured, data, which, bundle, folder, documents, threads)
    found = proof_results.result("medquad", [], asked=which, partial=documents is not None, **numbers)
    options.finish(found, show, out=out, html=None, is_json=is_json)


Measure = Callable[[Data, Path, Path, int, measures.Tell], Coroutine[Any, Any, dict[str, Any]]]


def ran(
    measure: Measure,
    data: Path | None,
    which: str,
    bundle: Path,
    folder: Path | None,
    documents: int | None,
    threads: int,
) -> dict[str, Any]:
    """What `measure` finds with `which` of medquad_data.QUESTIONS. Raises click's UsageError, ClickException."""
    if data is None:
        raise click.UsageError("name the folder of MedQuAD with --data, or that above it in $GATEWAY_DATA")
    if not (data / FILE).is_file():
        raise click.ClickException(f"{data}: holds no {FILE}: name the folder that does with --data")
    try:
        with tempfile.TemporaryDirectory() as name:
            read = medquad_data.read(data, documents, which)
            return asyncio.run(measure(read, bundle, folder or Path(name), threads, _tell))
    except (OSError, ValueError, GatewayError) as error:
        raise click.ClickException(str(error)) from None


def _tell(done: int, of: int) -> None:
    if done == of or done // TOLD_EVERY > (done - 16) // TOLD_EVERY:
        click.echo(f"{done} of {of} documents are written", err=True)


def show(found: dict[str, Any], console: Console) -> None:
    headings = ("ranker", "first is right", "among 10", "mean reciprocal rank", "p50 / p99")
    proof_results.show(found, console, headings, _rows(found))
    for line in _lines(found):
        console.print(line, highlight=False, soft_wrap=True)


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, one in found["rankers"].items():
        shares = (f"{100 * one[which]:.1f} %" for which in ("first", "among_10"))
        yield name, *shares, f"{one['mrr']:.3f}", f"{one['p50_ms']:.2f} / {one['p99_ms']:.2f} ms"
    lead = found["hybrid_lead_points"]
    yield "hybrid's lead, points", *(f"{lead[which]:+.1f}" for which in ("first", "among_10", "mrr")), ""


def _lines(found: dict[str, Any]) -> Iterator[str]:
    part = ", NOT THE WHOLE of it" if found["partial"] else ""
    yield (
        f"{found['questions']} {found['asked']} questions, {found['documents']:,} documents of "
        f"{found['passages']:,} passages{part}; "
        f"{found['left_out']} records were left out as doubles; {found['bytes'] / 1e6:,.1f} MB on disk"
    )
    yield "beside a search that scores every passage, hybrid:"
    for name, one in found["fidelity"].items():
        yield (
            f"  {name:<12} {100 * one['overlap']:.2f} % of its first 10, {100 * one['first']:.2f} % of its first ones; "
            f"{one['time']:.2f} x the time"
        )
    if found["written"]:
        yield (
            f"written: {found['written']:,} documents of {found['ingest_passages']:,} passages in "
            f"{found['ingest_seconds']:.1f} s, {found['ingest_passages_per_second']:,.0f} passages/s, "
            f"{found['ingest_tokens_per_second']:,.0f} tokens/s; the session alone on the same texts "
            f"{found['session_tokens_per_second']:,.0f} tokens/s with {found['threads']} thread: "
            f"{100 * found['ingest_to_session']:.1f} % of it"
        )
