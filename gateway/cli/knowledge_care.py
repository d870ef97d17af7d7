"""`gateway knowledge search`, `stats` and `watch`: what is in the stored collections of a running gateway."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli.target import client_at, editor_at, given
from gateway.types import Ranker, SearchConfidence

QUOTE = 200
"""Characters of a quote that are shown."""


@click.command()
@click.argument("text")
@click.option("--collection", required=True)
@click.option("--limit", type=click.IntRange(1, 50), default=5, show_default=True, help="The most documents to show.")
@click.option(
    "--ranker",
    type=click.Choice([one.value for one in Ranker]),
    help="What to go by: meaning (dense), words (lexical) or both.  [default: the server's, hybrid]",
)
@click.option("--min-knowledge-version", type=click.IntRange(min=0), default=0, help="Of a write that must be seen.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
@given()
def search(
    text: str,
    collection: str,
    limit: int,
    ranker: str | None,
    min_knowledge_version: int,
    is_json: bool,
    **where: Any,
) -> None:
    """The documents nearest to TEXT, best first. Nothing is decided: the nearest may be wrong."""
    with client_at(**where) as client:
        hits = client.search(
            text,
            collection=collection,
            limit=limit,
            ranker=Ranker(ranker) if ranker else None,
            min_knowledge_version=min_knowledge_version,
        )
    if is_json:
        click.echo(json.dumps([dataclasses.asdict(one) for one in hits], ensure_ascii=False, indent=2))
        return
    table = Table("score", "similarity", "document", "title", "quote", box=box.SIMPLE_HEAD)
    for one in hits:
        quote = " ".join(one.citations[0].quote.split()) if one.citations else ""
        shown = quote if len(quote) <= QUOTE else f"{quote[:QUOTE]}…"
        table.add_row(f"{one.score:.3f}", f"{one.similarity:.3f}", Text(one.document_id), Text(one.title), Text(shown))
    Console().print(table)


@click.command()
@click.argument("collection")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
@given()
def stats(collection: str, is_json: bool, **where: Any) -> None:
    """What a stored COLLECTION holds, and takes on disk: all of it, whatever the caller may read."""
    with editor_at(**where) as editor:
        found = editor.stats(collection)
    if is_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=2))
        return
    oldest = datetime.fromtimestamp(found.oldest_superseded, UTC)
    since = f", the oldest since {oldest:%Y-%m-%d %H:%M} UTC" if found.superseded_versions else ""
    table = Table.grid(padding=(0, 2))
    for name, value in (
        ("documents", f"{found.documents:,}"),
        ("passages", f"{found.passages:,}"),
        ("segments", f"{found.segments:,}"),
        ("knowledge version", str(found.knowledge_version)),
        ("superseded versions", f"{found.superseded_versions:,}{since}"),
        ("texts on disk", f"{found.text_bytes:,} bytes"),
        ("vectors on disk", f"{found.vector_bytes:,} bytes"),
        ("threshold of retrieval", threshold_of(found.confidence, found.is_confidence_used)),
    ):
        table.add_row(name, value)
    for one in found.encoders:
        used = ", which searches go by" if one.is_used else ""
        table.add_row(f"embedded by {one.name[:12]}", f"{one.documents:,} of {found.documents:,} documents{used}")
    Console().print(table)


def threshold_of(confidence: SearchConfidence | None, is_used: bool) -> str:
    """What a collection's own confidence must reach."""
    if confidence is None:
        return "the bundle's"
    own = "never" if confidence.threshold > 1 else f"{confidence.threshold:.3f}"
    return own if is_used else f"the bundle's ({own} is not used)"


@click.command()
@click.argument("collection")
@click.option("--after", type=click.IntRange(min=0), default=0, help="A knowledge version; 0: all that there is.")
@click.option("--json", "is_json", is_flag=True, help="Print each change as JSON.")
@given()
def watch(collection: str, after: int, is_json: bool, **where: Any) -> None:
    """Print each change of a stored COLLECTION as it comes, until it ends or Ctrl-C: the knowledge version, what, and
    of which document, or by which encoder all is searched from then on. "seen": all up to that version was printed."""
    with editor_at(**where) as editor:
        for one in editor.watch(collection, after):
            if is_json:
                click.echo(json.dumps(dataclasses.asdict(one)))
            else:
                click.echo(f"{one.version:>10}  {one.op:<7}  {one.document_id or one.encoder}".rstrip())
