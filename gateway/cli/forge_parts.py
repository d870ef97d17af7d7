"""`gateway forge outlook`, `reference` and `encoder`: what goes into a bundle that was made before all had it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from gateway.cli import promoted
from gateway.cli.settled import made_by
from gateway.errors import ConfigInvalid

Command = TypeVar("Command", bound=Callable[..., Any])


def of_a_recipe(command: Command) -> Command:
    """A recipe, the bundle of it, and the options that its run was given; or a bundle alone."""
    for option in (
        click.option("--name", help="The name that the run was given.  [the recipe's name]"),
        click.option("--data", type=click.Path(path_type=Path), help="The CSV that the run was given."),
        click.argument("bundle", required=False, type=click.Path(path_type=Path)),
        click.argument("recipe", type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command


@click.command()
@of_a_recipe
def outlook(recipe: Path, bundle: Path | None, data: Path | None, name: str | None) -> None:
    """Write into a bundle what a search promises, for the policy `routing`; without it, routing always searches.

    `gateway forge run` has done so. Nothing that is certified changes. RECIPE may be a bundle, which has its own.
    [BUNDLE: where the recipe's goes]
    """
    from gateway.forge import data as dividing
    from gateway.forge import knowledge, outlooks

    try:
        wanted, folder = made_by(recipe, bundle, data, name, Console(stderr=True))
        divided = dividing.load(wanted)
        outlooks.write(folder, wanted, divided, knowledge.of(wanted, divided))
    except (FileNotFoundError, ValueError) as error:
        raise ConfigInvalid(str(error)) from None
    promoted.warn(folder)
    click.echo(f"{folder}: what a search promises, by {len(divided.calibrate)} questions")


@click.command()
@of_a_recipe
def reference(recipe: Path, bundle: Path | None, data: Path | None, name: str | None) -> None:
    """Write into a bundle what its questions were like, for serving to tell when others come.

    `gateway forge run` has done so; this is for a bundle that was made before, or whose thresholds were changed since.
    Nothing else of it changes. RECIPE may be a bundle, which has its own.
    [BUNDLE: where the recipe's goes]
    """
    from gateway.forge import data as dividing
    from gateway.forge import knowledge, references

    try:
        wanted, folder = made_by(recipe, bundle, data, name, Console(stderr=True))
        divided = dividing.load(wanted)
        references.write(folder, divided, knowledge.of(wanted, divided))
    except (FileNotFoundError, ValueError) as error:
        raise ConfigInvalid(str(error)) from None
    promoted.warn(folder)
    click.echo(f"{folder}: {len(divided.calibrate) + len(divided.certify)} questions to compare with")


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
def encoder(bundle: Path) -> None:
    """Write into BUNDLE what of its graphs makes embeddings, by which stored vectors are known.

    `gateway forge run` has done so. Without it they are known by the whole graph, and embedded again for a bundle that
    has other labels on the same encoder. Nothing else of it changes.
    """
    from gateway.forge import trunk

    trunk.write(bundle)
    promoted.warn(bundle)
    click.echo(f"{bundle}: stored vectors are good for every bundle with this encoder")
