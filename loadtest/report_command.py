"""`report`: results that were kept, as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from loadtest import documents, options, report


@click.command("report", short_help="Results that were kept, on one HTML page.")
@click.argument("results", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--html", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option("--json", "is_json", is_flag=True, help="Print what was written as JSON.")
def report_files(results: tuple[Path, ...], html: Path, is_json: bool) -> None:
    """Put the RESULTS, kept with --out, on one page."""
    with options.shown_errors():
        page = report.page([documents.read(path) for path in results])
    html.parent.mkdir(parents=True, exist_ok=True)
    html.write_text(page, encoding="utf-8")
    click.echo(documents.text({"html": str(html), "results": len(results)}) if is_json else html)
