"""What commands that change a bundle say of one that is promoted."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.model import versions


def warn(folder: Path) -> None:
    """Once the bundle in `folder` has changed. Raises BundleInvalid where the registry beside it is damaged."""
    place = folder.absolute()
    registry = versions.read(place.parent)
    if registry is not None and registry.current == place.name:
        click.echo(
            f"{folder} is promoted as it was: it is not served by the name of {place.parent.name} until it is promoted "
            f"again: gateway models promote {folder}",
            err=True,
        )
