"""`fusion`: ways to order what a search finds, beside the served one, on the questions that are there to choose by."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from loadtest import fusion_measures, medquad, medquad_command, options, proof_results
from loadtest.medquad_data import DEV, Data
from loadtest.medquad_fidelity import scanned


@click.command("fusion", short_help="Ways to fuse and to rerank, on MedQuAD's questions to choose by.")
@options.given(*medquad_command.WHERE, *medquad_command.OUTPUT)
def fusion(
    data: Path | None,
    bundle: Path,
    folder: Path | None,
    documents: int | None,
    threads: int,
    out: Path | None,
    is_json: bool,
) -> None:
    """All documents are scored, so that ways differ in the order alone. By how much each is better than the served one
    has a 95 % interval over the questions; of twenty ways that are no better one is above 0 by chance.
    """
    numbers = medquad_command.ran(_measured, data, DEV, bundle, folder, documents, threads)
    found = proof_results.result("fusion", [], partial=documents is not None, **numbers)
    options.finish(found, show, out=out, html=None, is_json=is_json)


async def _measured(data: Data, bundle: Path, folder: Path, threads: int, tell: medquad.Tell) -> dict[str, Any]:
    async with medquad.filled(data.documents, bundle, folder, threads, tell) as (desk, found):
        predictions = await medquad.predicted(desk, data.asked)
        whole = scanned(desk.generation)
        ways = await asyncio.to_thread(fusion_measures.measured, whole, data.asked, predictions, desk.engine.embed)
        return found | {"questions": len(data.asked), "ways": ways}


def show(found: dict[str, Any], console: Console) -> None:
    headings = ("way", "first is right", "more, points", "among 3", "mean reciprocal rank", "more", "ms")
    proof_results.show(found, console, headings, _rows(found))
    part = ", NOT THE WHOLE of it" if found["partial"] else ""
    console.print(
        f"{found['questions']} questions to choose by, {found['documents']:,} documents of {found['passages']:,} "
        f"passages{part}; intervals of 95 %",
        highlight=False,
        soft_wrap=True,
    )


def _rows(found: dict[str, Any]) -> Iterator[Sequence[str]]:
    for name, one in found["ways"].items():
        yield (
            name,
            f"{100 * one['first']:.1f} %",
            f"{100 * one['first_more']:+.1f} ({100 * one['first_low']:+.1f} to {100 * one['first_high']:+.1f})",
            f"{100 * one['among_3']:.1f} %",
            f"{one['mrr']:.3f}",
            f"{one['mrr_more']:+.3f} ({one['mrr_low']:+.3f} to {one['mrr_high']:+.3f})",
            "" if one["ms"] is None else f"{one['ms']:.1f}",
        )
