"""`gateway forge`: making bundles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from gateway import assembly
from gateway.errors import ConfigInvalid


@click.group()
def forge() -> None:
    """Make model bundles from labelled questions."""


@forge.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="A CSV with text,category instead of the recipe's.")
@click.option("--out", type=click.Path(path_type=Path), help="Where the bundle goes.  [<recipe's folder>/<version>]")
@click.option("--work", type=click.Path(path_type=Path), help="Where finished steps are kept.  [build/forge/<name>]")
@click.option("--layers", help="Depths to try instead of the recipe's, for example 3,6.")
@click.option("--json", "is_json", is_flag=True, help="Print the bundle's metrics as JSON; progress goes to stderr.")
def run(
    recipe: Path, data: Path | None, out: Path | None, work: Path | None, layers: str | None, is_json: bool
) -> None:
    """Distil, export, calibrate and certify what RECIPE describes.

    Finished steps are kept and not made again. GATEWAY_DATA names the folder that the recipe's data is in.
    """
    from gateway.forge import bases, recipes, run  # torch and more: seconds to import

    try:
        wanted = recipes.load(recipe, {"questions": str(data.resolve())} if data else {}, _layers(layers))
        made = run.run(
            wanted,
            work or Path("build/forge") / wanted.bundle.name,
            out or wanted.source.parent / wanted.bundle.version,
            assembly.cache_folder() / "bases",
            Console(stderr=is_json),
        )
    except (FileNotFoundError, ValueError, bases.BaseMissing) as error:
        raise ConfigInvalid(str(error)) from None
    if is_json:
        manifest = json.loads((made / "manifest.json").read_text())
        click.echo(json.dumps({"bundle": str(made), "layers": manifest["layers"], **manifest["metrics"]}, indent=1))
    else:
        click.echo(f"try it: gateway serve --bundle {made}")


@forge.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--work", type=click.Path(path_type=Path), help="Where the run's steps are.  [build/forge/<name>]")
@click.option("--layout", type=click.Choice(["packed", "padded"]), default="padded", show_default=True)
@click.option("--precision", type=click.Choice(["int8", "fp16", "fp32"]), default="int8", show_default=True)
@click.option("--layers", help="Which student, where the run made several.  [the shipped one]")
def export(recipe: Path, path: Path, work: Path | None, layout: Any, precision: Any, layers: str | None) -> None:
    """Write a finished run's student as one ONNX file, in the layout and precision that another server wants."""
    from gateway.forge import bases, recipes, run

    try:
        wanted = recipes.load(recipe, {}, _layers(layers))
        folder = work or Path("build/forge") / wanted.bundle.name
        run.export_single(wanted, folder, assembly.cache_folder() / "bases", path, precision, layout)
    except (FileNotFoundError, ValueError, bases.BaseMissing) as error:
        raise ConfigInvalid(str(error)) from None
    click.echo(f"{path}: {layout}, {precision}")


def _layers(given: str | None) -> dict[str, Any]:
    if not given:
        return {}
    try:
        return {"layers": [int(one) for one in given.split(",")]}
    except ValueError:
        raise ConfigInvalid(f"--layers {given!r}: give whole numbers, for example 3,6") from None
