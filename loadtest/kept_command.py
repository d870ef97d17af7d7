"""`kept`: the table of results that are kept, as Markdown beside them."""

from __future__ import annotations

from pathlib import Path

import click

from loadtest import documents, kept, options

FOLDER = Path("loadtest/results")


@click.command("kept", short_help="The table of the results that are kept.")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), default=FOLDER)
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if README.md is not what would be written.")
@click.option("--json", "is_json", is_flag=True, help="Print all of them as JSON, too.")
def kept_results(folder: Path, check: bool, is_json: bool) -> None:
    """Write FOLDER/README.md from the measures that `prove --out` keeps in FOLDER  [loadtest/results], and print it."""
    with options.shown_errors():
        results = kept.read(folder)
    text, path = kept.markdown(results), folder / kept.README
    if check:
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            raise click.ClickException(f"{path} is not that of its results: run `gateway loadtest kept {folder}`")
    else:
        path.write_text(text, encoding="utf-8")
    click.echo(documents.text({"kept": results}) if is_json else text, nl=is_json)
