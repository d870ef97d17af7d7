"""`gateway knowledge`: the stored collections of a running gateway, from a command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from gateway.cli.knowledge_care import search, stats, watch
from gateway.cli.knowledge_files import compact, restore, snapshot, verify
from gateway.cli.main import Failure
from gateway.cli.target import editor_at as _editor
from gateway.cli.target import given
from gateway.client.editor import Editor, Kept
from gateway.errors import DocumentInvalid
from gateway.knowledge import documents
from gateway.types import Document

TOGETHER = 16
"""Documents of a call: few enough for its deadline where each has many passages."""


@click.group(short_help="Fill, read and keep the stored collections of a gateway.")
def knowledge() -> None:
    """Fill and read the stored collections of a running gateway, one that was given a folder for them:

    GATEWAY_KNOWLEDGE__DATA=data gateway serve

    With --data, a command works on that folder itself, on its own machine.
    """


for each in (search, stats, watch, verify, snapshot, restore, compact):
    knowledge.add_command(each)


@knowledge.command("import")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--collection", required=True)
@click.option("--prune", is_flag=True, help="Delete what the collection has and the folder has not.")
@given
def import_(folder: Path, collection: str, prune: bool, **where: Any) -> None:
    """Write every article (*.md with front matter) in FOLDER into a collection, which is created if it is not there.

    An article that cannot be read is named, and the others go in; the exit code is then 1. What is there already as it
    is in the folder is left alone, so that an import can be done again at any time.
    """
    read, bad = _read(folder)
    with _editor(**where) as editor:
        editor.create(collection)
        there = {one.document.id: one for one in editor.list(collection)}
        changed = [one for one in read if not _is_same(one, there.get(one.id), editor, collection)]
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("import", total=len(changed))
            for some in _parts(changed):
                # As they are now: nobody's change of the last seconds is written over.
                expected = [there[one.id].version if one.id in there else 0 for one in some]
                editor.upsert(collection, some, expected=expected, idempotency_key=_key(collection, some, expected))
                progress.advance(task, len(some))
        gone = sorted(there.keys() - {one.id for one in read}) if prune and not bad else []
        for ids in _parts(gone):
            editor.delete(collection, ids)
    unchanged = len(read) - len(changed)
    click.echo(f"{len(changed)} written, {unchanged} unchanged, {len(gone)} deleted, {len(bad)} not read")
    for reason in bad:
        click.echo(reason, err=True)
    if bad:
        raise Failure(f"{len(bad)} of {len(bad) + len(read)} articles were not read" + prune * ", and so none deleted")


@knowledge.command()
@click.option("--collection", required=True)
@given
def export(collection: str, **where: Any) -> None:
    """Print a collection as JSON, one document a line: what the caller may read."""
    with _editor(**where) as editor:
        for one in editor.list(collection):
            kept = editor.get(collection, one.document.id)
            document = kept.document
            shown = {
                "id": document.id,
                "title": document.title,
                "uri": document.uri,
                "updated": document.updated,
                "answer": document.answer,
                "body": document.text.removeprefix(document.answer).strip(),
                "groups": sorted(document.groups),
                "version": kept.version,
            }
            click.echo(json.dumps(shown, ensure_ascii=False))


@knowledge.command()
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
@given
def collections(is_json: bool, **where: Any) -> None:
    """The collections that can be asked, and what they hold."""
    with _editor(**where) as editor:
        found = editor.collections()
    if is_json:
        keys = ("name", "documents", "passages", "knowledge_version", "is_stored")
        click.echo(json.dumps([{key: getattr(one, key) for key in keys} for one in found], indent=2))
        return
    table = Table("collection", "documents", "passages", "version", "", box=box.SIMPLE_HEAD)
    for one in found:
        kind = "stored" if one.is_stored else "from a folder"
        table.add_row(one.name, str(one.documents), str(one.passages), str(one.knowledge_version), kind)
    Console().print(table)


@knowledge.command()
@click.argument("ids", nargs=-1, required=True)
@click.option("--collection", required=True)
@given
def delete(ids: tuple[str, ...], collection: str, **where: Any) -> None:
    """Delete documents by their IDS."""
    with _editor(**where) as editor:
        versions = [version for some in _parts(ids) for version in editor.delete(collection, some).versions]
    click.echo(f"{sum(map(bool, versions))} deleted, {versions.count(0)} were not there")


@knowledge.command()
@click.argument("collection")
@click.confirmation_option(prompt="All of its documents are deleted. Go on?")
@given
def drop(collection: str, **where: Any) -> None:
    """End a COLLECTION."""
    with _editor(**where) as editor:
        version = editor.drop(collection).knowledge_version
    click.echo("dropped" if version else "it was not there")


def _read(folder: Path) -> tuple[list[Document], list[str]]:
    """The articles, and why some are not among them."""
    read: dict[str, Document] = {}
    bad = []
    for path in sorted(folder.glob("*.md")):
        if path.name == "README.md":
            continue
        try:
            document = documents.read(path)
        except DocumentInvalid as error:
            bad.append(str(error))
            continue
        if document.id in read:
            bad.append(f"{path}: its id {document.id} is another article's")
            continue
        read[document.id] = document
    return list(read.values()), bad


def _is_same(document: Document, there: Kept | None, editor: Editor, collection: str) -> bool:
    """`there` has no body."""
    if there is None:
        return False
    kept = there.document
    if (kept.title, kept.answer, kept.groups) != (document.title, document.answer, document.groups):
        return False
    return editor.get(collection, document.id).document == document


def _key(collection: str, some: Iterable[Document], expected: Sequence[int]) -> str:
    """The same for the same documents in the place of the same ones."""
    seen = [[one.id, one.title, one.uri, one.updated, one.text, sorted(one.groups)] for one in some]
    return "import-" + hashlib.sha256(json.dumps([collection, seen, list(expected)]).encode()).hexdigest()[:32]


T = TypeVar("T")


def _parts(some: Sequence[T]) -> Iterator[Sequence[T]]:
    return (some[at : at + TOGETHER] for at in range(0, len(some), TOGETHER))
