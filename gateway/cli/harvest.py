"""`gateway harvest`: training questions from an audit log, for people to review; and what they have accepted."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from pathlib import Path

import click

from gateway import disk
from gateway.audit import reading
from gateway.audit.reading import Wanted
from gateway.audit.records import Kind
from gateway.cli.audit_options import moment, the_folder, verdicts_in
from gateway.cli.main import Failure, WrongSettings
from gateway.config import load
from gateway.forge import recipes, texts
from gateway.forge.harvest import REVIEWS, Harvest, harvest, line, reviewed
from gateway.model import versions


@click.command("harvest")
@click.option("--folder", type=click.Path(path_type=Path), help="The audit log's.  [audit.folder]")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Where candidates go, as JSON lines.")
@click.option("--since", callback=moment, metavar="TIME", help="ISO 8601, or how long ago: 90s, 15m, 24h, 7d.")
@click.option("--tenant", "tenants", multiple=True, help="Only of that tenant; may be repeated.")
@click.option("--bundle", type=click.Path(path_type=Path), help="Whose labels are proposed.  [model.bundle]")
@click.option("--not-in", "known", multiple=True, metavar="FILE", help="Questions to leave out, as test files.")
@click.option("--unjudged", is_flag=True, help="Also fallbacks and abstentions that were not drawn.")
@click.option(
    "--reviewed",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Candidates with their reviews: write what was accepted to --csv and --outliers.",
)
@click.option("--csv", "table", type=click.Path(path_type=Path, dir_okay=False), help="Questions with their answers.")
@click.option("--outliers", type=click.Path(path_type=Path, dir_okay=False), help="What nothing answers.")
def harvest_(
    folder: Path | None,
    out: Path | None,
    since: str | None,
    tenants: tuple[str, ...],
    bundle: Path | None,
    known: tuple[str, ...],
    unjudged: bool,
    file: Path | None,
    table: Path | None,
    outliers: Path | None,
) -> None:
    """Make candidates for training of the questions of an audit log: of those whose answers were judged, and of drawn
    fallbacks. Each has a document proposed, the evidence, and a `review` to be filled in by a person.

    Only questions whose texts the log has kept are used; addresses, links and long numbers in them are taken out. Of
    nearly the same questions one is kept. Give the file to --reviewed then, for data of `gateway forge run`: --csv gets
    text,category,document, and --outliers, as JSON lines, what nothing answers.
    """
    if file is not None:
        _write_reviewed(file, table, outliers)
        return
    if out is None:
        raise click.UsageError("name a file for the candidates with --out, or one that was --reviewed")
    folder = the_folder(folder)
    records = reading.records(folder, Wanted(kind=Kind.ANSWER, since=since), has_text=True)
    found = harvest(
        (one for one in records if not tenants or one["tenant"] in tenants),
        verdicts_in(folder),
        _labels(bundle),
        [row.text for name in known for row in _read(name)],
        unjudged,
    )
    if not found.candidates:
        raise Failure(_nothing(folder, found))
    _put(out, "".join(f"{line(one)}\n" for one in found.candidates))
    _tell(out, found)


def _put(path: Path, content: str) -> None:
    """What people have asked is for its owner alone."""
    try:
        disk.put(path, content)
    except OSError as error:
        raise Failure(f"{path}: cannot be written ({error.strerror})") from None


def _labels(bundle: Path | None) -> dict[str, str]:
    """By the documents that they stand for; where several stand for one, a person has to choose."""
    labels = versions.load(bundle or load(environment=os.environ).model.bundle).manifest.labels
    times = Counter(one.document_id for one in labels)
    return {one.document_id: one.name for one in labels if one.document_id and times[one.document_id] == 1}


def _read(name: str) -> list[texts.Labelled]:
    try:
        return texts.read(*recipes.named(name))
    except (FileNotFoundError, ValueError) as error:
        raise WrongSettings(f"--not-in: {error}") from None


def _nothing(folder: Path, found: Harvest) -> str:
    return (
        f"{folder}: nothing to learn from: {found.of_no_use} answers that were not judged and are no drawn fallbacks, "
        f"{found.without_text} whose texts were not kept (audit.text_tenants), {found.known} that are known already"
    )


def _tell(out: Path, found: Harvest) -> None:
    sources = Counter(one.source.value for one in found.candidates)
    times = sum(one.times for one in found.candidates)
    click.echo(f"{len(found.candidates)} candidates of {times} questions in {out}: {_list(sources)}")
    click.echo(
        f"left out: {found.known} known already, {found.without_text} without text, {found.of_no_use} that say nothing"
    )
    click.echo(f"now fill in each `review`: {REVIEWS}; then gateway harvest --reviewed {out} --csv FILE")


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _write_reviewed(file: Path, table: Path | None, outliers: Path | None) -> None:
    try:
        rows, nothing = reviewed(file)
    except ValueError as error:
        raise WrongSettings(str(error)) from None
    if (rows and table is None) or (nothing and outliers is None):
        raise click.UsageError(f"{len(rows)} questions need --csv, and {len(nothing)} texts need --outliers")
    if not rows and not nothing:
        raise Failure(f"{file}: nothing in it is accepted yet: fill in each `review`, with {REVIEWS}")
    if table is not None:
        written = io.StringIO()
        writer = csv.writer(written, lineterminator="\n")
        writer.writerow(("text", "category", "document"))
        writer.writerows((row.text, row.category, row.document) for row in rows)
        _put(table, written.getvalue())
    if outliers is not None:
        _put(outliers, "".join(f"{json.dumps({'text': text}, ensure_ascii=False)}\n" for text in nothing))
    click.echo(f"{len(rows)} questions of {len({row.category for row in rows})} categories, {len(nothing)} outliers")
