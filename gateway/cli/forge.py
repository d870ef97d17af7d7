"""`gateway forge`: making bundles."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from gateway import assembly
from gateway.cli import promoted
from gateway.cli.evaluate import FILE_WIDTH
from gateway.cli.forge_parts import encoder, of_a_recipe, outlook, reference
from gateway.cli.settled import default_out, default_work, made_by, named_after, settled
from gateway.errors import ConfigInvalid

if TYPE_CHECKING:
    from gateway.forge.recipes import Recipe

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.group()
def forge() -> None:
    """Make model bundles from labelled questions."""


for each in (encoder, outlook, reference):
    forge.add_command(each)


@forge.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="A CSV with text,category instead of the recipe's.")
@click.option("--name", help="What the bundle is called.  [the recipe's name, or that of --data]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where the bundle goes.  [<recipe's folder>/<version>; with --name, <name>/<version> beside that folder]",
)
@click.option("--work", type=click.Path(path_type=Path), help="Where finished steps are kept.  [build/forge/<name>]")
@click.option("--layers", help="Depths to try instead of the recipe's, for example 3,6.")
@click.option("--version", help="Of the bundle, instead of the recipe's.")
@click.option("--parent", type=click.Path(path_type=Path, exists=True), help="Give that bundle more labels: no torch.")
@click.option("--harvest", type=FILE, multiple=True, help="Questions that `gateway harvest` wrote; may be repeated.")
@click.option("--harvest-outliers", type=FILE, multiple=True, help="What nothing answers, of it; may be repeated.")
@click.option("--json", "is_json", is_flag=True, help="Print the bundle's metrics as JSON; progress goes to stderr.")
def run(
    recipe: Path,
    data: Path | None,
    name: str | None,
    out: Path | None,
    work: Path | None,
    layers: str | None,
    version: str | None,
    parent: Path | None,
    harvest: tuple[Path, ...],
    harvest_outliers: tuple[Path, ...],
    is_json: bool,
) -> None:
    """Distil, export, calibrate and certify what RECIPE describes.

    Finished steps are kept and not made again. GATEWAY_DATA names the folder that the recipe's data is in. With
    --parent, or [extend] in the recipe, nothing is distilled: the parent's encoder stays, the last layer of its head is
    fitted for the labels of the harvest as well, and all is calibrated and certified anew.
    """
    from gateway.forge import bases

    console = Console(stderr=is_json)
    try:
        name = name or named_after(data)
        wanted = settled(recipe, data, name, layers, console, _further(version, parent, harvest, harvest_outliers))
        places = work or default_work(wanted), out or default_out(wanted, name)
        made = _made(wanted, *places, console)
    except (FileNotFoundError, ValueError, bases.BaseMissing) as error:
        raise ConfigInvalid(str(error)) from None
    report(made, console, is_json)


def _made(recipe: Recipe, work: Path, out: Path, console: Console) -> Path:
    if recipe.extend is not None:
        from gateway.forge import extend

        return extend.run(recipe, work, out, console)
    from gateway.forge import run  # torch and more: seconds to import

    return run.run(recipe, work, out, assembly.cache_folder() / "bases", console)


def _further(
    version: str | None, parent: Path | None, harvest: Sequence[Path], harvest_outliers: Sequence[Path]
) -> dict[str, dict[str, Any]]:
    """What the command line lays over the recipe's sections."""
    named = {"harvest": harvest, "harvest_outliers": harvest_outliers}
    found: dict[str, dict[str, Any]] = {
        "bundle": {"version": version} if version else {},
        "data": {key: [str(file.absolute()) for file in files] for key, files in named.items() if files},
    }
    if parent is not None:
        found["bundle"]["parent"] = str(parent.absolute())
        found["extend"] = {}
    return found


@forge.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Your own CSV (text,category) instead of the recipe's.")
@click.option("--show", default=10, show_default=True, help="Examples of each kind.")
@click.option("--into", type=FOLDER, help="Write the numbers into the card of that bundle, which was made of the data.")
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def check(recipe: Path, data: Path | None, show: int, into: Path | None, is_json: bool) -> None:
    """Look through RECIPE's data, and train nothing: labels that may be wrong, what stands twice, what leaks.

    `gateway forge run` does so too, and the bundle's card has the numbers. Exit code 1 where that would refuse it.
    """
    from gateway.cli import data_tables
    from gateway.forge import cards, data_checks
    from gateway.forge import data as dividing

    try:
        wanted = settled(recipe, data, named_after(data), None, Console(stderr=True))
        divided = dividing.load(wanted)
        found = data_checks.check(wanted, divided)
        if into is not None and not found.problems():
            cards.tell_checks(into, divided, found.summary())
    except (FileNotFoundError, ValueError) as error:
        raise ConfigInvalid(str(error)) from None
    if is_json:
        click.echo(json.dumps(found.everything(), indent=1))
    else:
        data_tables.show(found, Console(width=None if sys.stdout.isatty() else FILE_WIDTH), show)
    if found.problems():
        raise click.exceptions.Exit(1)
    if into is not None:
        promoted.warn(into)


@forge.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="The CSV that the run was given.")
@click.option("--name", help="The name that the run was given.  [the recipe's name]")
@click.option("--work", type=click.Path(path_type=Path), help="Where the run's steps are.  [build/forge/<name>]")
@click.option("--layout", type=click.Choice(["packed", "padded"]), default="padded", show_default=True)
@click.option("--precision", type=click.Choice(["int8", "fp16", "fp32"]), default="int8", show_default=True)
@click.option("--layers", help="Which student, where the run made several.  [the shipped one]")
def export(
    recipe: Path,
    path: Path,
    data: Path | None,
    name: str | None,
    work: Path | None,
    layout: Any,
    precision: Any,
    layers: str | None,
) -> None:
    """Write a finished run's student as one ONNX file, in the layout and precision that another server wants."""
    from gateway.forge import bases, single

    console = Console(stderr=True)
    try:
        wanted = settled(recipe, data, name or named_after(data), layers, console)
        folder = work or default_work(wanted)
        single.export(wanted, folder, assembly.cache_folder() / "bases", path, precision, layout, console)
    except (FileNotFoundError, ValueError, bases.BaseMissing) as error:
        raise ConfigInvalid(str(error)) from None
    click.echo(f"{path}: {layout}, {precision}")


@forge.command()
@of_a_recipe
def recalibrate(recipe: Path, bundle: Path | None, data: Path | None, name: str | None) -> None:
    """Fit a bundle's confidences anew on its graphs as they are, and certify them: minutes, and nothing is trained.

    For a bundle that was made before the confidences were changed. RECIPE may be a bundle, which has its own.
    [BUNDLE: where the recipe's goes]
    """
    from gateway.forge import data as dividing
    from gateway.forge import knowledge
    from gateway.forge import recalibrate as recalibrating

    console = Console(stderr=True)
    try:
        wanted, folder = made_by(recipe, bundle, data, name, console)
        divided = dividing.load(wanted)
        recalibrating.again(folder, wanted, divided, knowledge.of(wanted, divided), console)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigInvalid(str(error)) from None
    promoted.warn(folder)
    report(folder, console, is_json=False)


def report(made: Path, console: Console, is_json: bool) -> None:
    """Say what was made, and what is wrong with it."""
    from gateway.forge import card
    from gateway.model import bundle as bundles

    bundle = bundles.load(made)
    manifest, certificate = bundle.manifest, bundle.certificate
    assert certificate
    warnings = card.warnings(certificate)
    for warning in warnings:
        console.print(f"[bold yellow]warning:[/] {warning}", highlight=False)
    if is_json:
        found = {"bundle": str(made), "layers": manifest.layers, "warnings": warnings, **manifest.metrics}
        found["certificate"] = certificate.model_dump(mode="json")
        click.echo(json.dumps(found, indent=1))
    else:
        click.echo(f"try it: gateway serve --bundle {made}")
