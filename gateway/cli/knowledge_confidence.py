"""`gateway knowledge calibrate`: when retrieval answers from a stored collection, and when it abstains."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from gateway.cli.main import Failure
from gateway.cli.target import client_at, editor_at, given


@click.command()
@click.argument("questions", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--collection", required=True)
@click.option(
    "--precision",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.8,
    show_default=True,
    help="The share of right ones among what is answered.",
)
@click.option("--dry-run", is_flag=True, help="Show what would come of it, and set nothing.")
@click.option("--clear", "is_clearing", is_flag=True, help="Take the collection's confidence away.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
@given()
def calibrate(
    questions: Path | None,
    collection: str,
    precision: float,
    dry_run: bool,
    is_clearing: bool,
    is_json: bool,
    **where: Any,
) -> None:
    """Fit how sure retrieval may be in a stored collection, on QUESTIONS about it, and set that.

    QUESTIONS is .jsonl or .csv with `question` and `document_id`: the documents that answer it, separated by ';', or
    nothing where the collection has no answer. It takes 30 at least, and some of both kinds; 150 tell far more. Each is
    searched for in the running gateway. What is shown was measured on folds that had no part in the fit.
    """
    if is_clearing:
        if questions is not None or dry_run:
            raise click.UsageError("--clear goes without QUESTIONS and --dry-run")
        with editor_at(**where) as editor:
            version = editor.set_confidence(collection, None).knowledge_version
        click.echo("cleared" if version else "it had none")
        return
    if questions is None:
        raise click.UsageError("Missing argument 'QUESTIONS'.")
    # As slow as all of the other commands, which do without.
    from gateway.cascade import fitting
    from gateway.cli import calibrating

    asked = calibrating.read(questions)
    with editor_at(**where) as editor, client_at(**where) as client:
        calibrating.check_there(editor, collection, asked)
        # Before the searches: where another bundle takes over meanwhile, the gateway refuses what was fitted.
        scored_by = next((one.scored_by for one in editor.collections() if one.name == collection), "")
        tried = calibrating.tried(client, collection, asked)
        try:
            confidence, report = fitting.fit(tried, precision, scored_by)
        except fitting.TooLittle as error:
            raise Failure(f"{questions}: {error}; nothing was set") from None
        version = 0 if dry_run else editor.set_confidence(collection, confidence).knowledge_version
    if is_json:
        found = {"confidence": dataclasses.asdict(confidence), "report": dataclasses.asdict(report)}
        click.echo(json.dumps(found | {"knowledge_version": version}, indent=2))
        return
    calibrating.show(confidence, report)
    click.echo("dry run: nothing was set" if dry_run else f"set; questions see it from version {version} on")
