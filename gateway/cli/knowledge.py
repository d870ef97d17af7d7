"""`gateway knowledge`: the stored collections of a running gateway, from a command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich import box
from rich.console import Console
from rich.table import Table

from gateway.cli.knowledge_care import search, stats, threshold_of, watch
from gateway.cli.knowledge_confidence import calibrate
from gateway.cli.knowledge_files import compact, mend, restore, snapshot, verify
from gateway.cli.main import Failure
from gateway.cli.target import editor_at as _editor
from gateway.cli.target import given

TOGETHER = 256
"""Deletions of a call."""


@click.group(short_help="Fill, read and keep the stored collections of a gateway.")
def knowledge() -> None:
    """Fill and read the stored collections of a running gateway, one that was given a folder for them:

    GATEWAY_KNOWLEDGE__DATA=data gateway serve

    With --data, a command works on that folder itself, on its own machine.
    """


for each in (calibrate, search, stats, watch, verify, mend, snapshot, restore, compact):
    knowledge.add_command(each)


@knowledge.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="PATH...")
@click.option("--collection", required=True)
@click.option("--group-all", "all_groups", multiple=True, help="Who may read what names no groups; may be repeated.")
@click.option("--prune", is_flag=True, help="Delete what the collection has and the PATHs have not.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do none of it.")
@given()
def import_(
    paths: tuple[Path, ...], collection: str, all_groups: tuple[str, ...], prune: bool, dry_run: bool, **where: Any
) -> None:
    """Write every document in each PATH, a file or a folder, into a collection, which is created if it is not there.

    Formats go by suffix: Markdown (.md), text (.txt), web pages (.html), .pdf, JSON lines (.jsonl, as `export` prints
    them, or question and answer) and tables (.csv, .tsv); .gz of each. A document that cannot be read is named, and the
    others go in; the exit code is then 1. What is there already as it was read is left alone, so that an import can be
    done again at any time.
    """
    # As slow as all of the other commands, which do without.
    from gateway.cli.importing import Import, Shown
    from gateway.knowledge.reading.files import Reading

    reading = Reading(paths)
    # Who gives a group the right to read must see what it has.
    where["groups"] = (*where["groups"], *all_groups)
    shown = Shown()
    with _editor(**where) as editor:
        doing = Import(editor, collection, groups=frozenset(all_groups), is_dry=dry_run, tell=shown.tell)
        deleted = 0
        try:
            with shown:
                if not dry_run:
                    editor.create(collection)
                doing.look(may_be_new=dry_run)
                doing.run(shown.counted(reading))
                # Not where nothing was read: an empty file is more likely a mistake than a wish to delete everything.
                is_pruned = prune and not doing.counts.bad and reading.seen
                for ids in _parts(sorted(doing.there.keys() - reading.seen) if is_pruned else []):
                    if not dry_run:
                        editor.delete(collection, ids)
                    deleted += len(ids)
        finally:
            # Also of what was cut short: it is kept, and the next import goes on from there.
            click.echo(doing.counts.summary(deleted) + dry_run * " (dry run: nothing was done)")
    if reading.left_out:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(reading.left_out.items()))
        click.echo(f"left out, of other formats: {kinds}", err=True)
    counts = doing.counts
    if counts.bad:
        raise Failure(f"{counts.bad} of {counts.done} documents were not read" + prune * ", and so none deleted")
    if prune and not reading.seen:
        raise Failure("nothing was read, and so none deleted: `gateway knowledge drop` ends a collection")


@knowledge.command()
@click.option("--collection", required=True)
@given()
def export(collection: str, **where: Any) -> None:
    """Print a collection as JSON, one document a line: what the caller may read, whatever its dates."""
    from gateway.cli.exporting import exported
    from gateway.cli.importing import Shown

    # Not between the lines that are printed, and not into a file.
    shown = Shown("export", is_hidden=sys.stdout.isatty() or not sys.stderr.isatty())
    with _editor(**where) as editor, shown:
        for one in shown.counted(exported(editor, collection)):
            click.echo(json.dumps(one, ensure_ascii=False))


@knowledge.command()
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
@given()
def collections(is_json: bool, **where: Any) -> None:
    """The collections that can be asked, and what they hold."""
    with _editor(**where) as editor:
        found = editor.collections()
    if is_json:
        keys = ("name", "documents", "passages", "knowledge_version", "is_stored")
        rows = [
            {key: getattr(one, key) for key in keys} | {"threshold": one.confidence and one.confidence.threshold}
            for one in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table("collection", "documents", "passages", "version", "", "threshold", box=box.SIMPLE_HEAD)
    for one in found:
        kind = "stored" if one.is_stored else "from a folder"
        threshold = threshold_of(one.confidence, one.is_confidence_used)
        table.add_row(one.name, str(one.documents), str(one.passages), str(one.knowledge_version), kind, threshold)
    Console().print(table)


@knowledge.command()
@click.argument("ids", nargs=-1, required=True)
@click.option("--collection", required=True)
@given()
def delete(ids: tuple[str, ...], collection: str, **where: Any) -> None:
    """Delete documents by their IDS."""
    with _editor(**where) as editor:
        versions = [version for some in _parts(ids) for version in editor.delete(collection, some).versions]
    click.echo(f"{sum(map(bool, versions))} deleted, {versions.count(0)} were not there")


@knowledge.command()
@click.argument("collection")
@click.confirmation_option(prompt="All of its documents are deleted. Go on?")
@given()
def drop(collection: str, **where: Any) -> None:
    """End a COLLECTION."""
    with _editor(**where) as editor:
        version = editor.drop(collection).knowledge_version
    click.echo("dropped" if version else "it was not there")


T = TypeVar("T")


def _parts(some: Sequence[T]) -> Iterator[Sequence[T]]:
    return (some[at : at + TOGETHER] for at in range(0, len(some), TOGETHER))
