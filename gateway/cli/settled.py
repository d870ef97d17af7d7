"""The recipe that a command means, with what its options lay over it, and where the bundle of it goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gateway.errors import ConfigInvalid
from gateway.knowledge.documents import slug

if TYPE_CHECKING:
    from gateway.forge.recipes import Recipe


def settled(
    path: Path,
    data: Path | None,
    name: str | None,
    layers: str | None,
    console: Console,
    further: Mapping[str, dict[str, Any]] = MappingProxyType({}),
) -> Recipe:
    """The recipe with what the command line says instead; `further` by section. What of its data is not there beside
    `data` is left out."""
    from gateway.forge import recipes

    if path.is_dir():
        raise ConfigInvalid(f"{path} is a folder: name a recipe, a TOML file")
    bundle = ({"name": name} if name else {}) | further.get("bundle", {})
    recipe = recipes.load(path, **{**further, "bundle": bundle, "student": _layers(layers)})
    if data is None:
        return recipe
    recipe, left_out = recipe.with_questions(str(data.absolute()))
    for one in left_out:
        console.print(f"[yellow]warning:[/] {path} names {one}, which is not there; left out", highlight=False)
    return recipe


def made_by(
    path: Path, bundle: Path | None, data: Path | None, name: str | None, console: Console
) -> tuple[Recipe, Path]:
    """The recipe in `path`, with what the run was given instead, and the bundle of it: `bundle`, or where the recipe's
    goes. Where `path` is a bundle itself, its own recipe, with the harvests that it has learnt."""
    from gateway.forge import lineage
    from gateway.model import bundle as bundles

    if path.is_dir():
        if bundle or data or name:
            raise ConfigInvalid(f"{path} is a bundle, which says itself what it was made of: give no more than that")
        return lineage.recipe_of(bundles.load(path)), path
    name = name or named_after(data)
    wanted = settled(path, data, name, None, console)
    return wanted, bundle or default_out(wanted, name)


def default_work(recipe: Recipe) -> Path:
    return Path("build/forge") / recipe.bundle.name


def named_after(data: Path | None) -> str | None:
    """Another file of questions makes another bundle, which must not take the recipe's name, steps or folder."""
    return (slug(data.name.partition(".")[0]) or "mine") if data else None


def default_out(recipe: Recipe, name: str | None) -> Path:
    """The recipe's own folder, or, for a bundle that is called otherwise, the one of its name beside it."""
    folder = recipe.source.parent
    return (folder.parent / name if name else folder) / recipe.bundle.version


def _layers(given: str | None) -> dict[str, Any]:
    if not given:
        return {}
    try:
        return {"layers": [int(one) for one in given.split(",")]}
    except ValueError:
        raise ConfigInvalid(f"--layers {given!r}: give whole numbers, for example 3,6") from None
