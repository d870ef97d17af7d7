"""What a bundle was made of: how it says so, whether some data is that, and which bundle it follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.forge import data as dividing
from gateway.forge import texts
from gateway.forge.data import HARVESTS, Data, text_key
from gateway.forge.recipes import Recipe
from gateway.model import bundle as bundles
from gateway.model.bundle import Bundle, ParentPart
from gateway.model.certificate import wrong_in


def parent(recipe: Recipe) -> ParentPart | None:
    """Of the bundle that the recipe names, if it names one. Raises FileNotFoundError, BundleInvalid."""
    if not recipe.bundle.parent:
        return None
    found = bundles.load(recipe.locate(recipe.bundle.parent))
    return ParentPart(name=found.manifest.name, version=found.manifest.version, manifest_sha256=found.manifest_sha256)


def recipe_of(bundle: Bundle) -> Recipe:
    """What it was made by, as its manifest has it; what that names is looked for beside the bundle as beside a recipe.
    ValueError where the manifest has none."""
    try:
        return Recipe(source=(bundle.folder.parent / "recipe.toml").resolve(), **bundle.manifest.recipe)
    except ValidationError as error:
        raise ValueError(f"{bundle.folder}: its manifest has no recipe: {wrong_in(error)}") from None


def said(recipe: Recipe, hashes: dict[str, str]) -> dict[str, Any]:
    """The parts `recipe` and `data` of a manifest, which go wherever the bundle goes: no file in them is named by where
    on this machine it lies. Whoever reads it anew finds it by the rest of its name, and knows it by its hash."""
    called: dict[str, str] = {}
    for name in hashes:
        called[name] = _apart(recipe.portable(name), name, called)

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: renamed(one) for key, one in value.items()}
        if isinstance(value, list):
            return [renamed(one) for one in value]
        if isinstance(value, str):
            return called.get(value) or (recipe.portable(value) if Path(value).is_absolute() else value)
        return value

    return {
        "recipe": renamed(recipe.model_dump(mode="json", exclude={"source"})),
        "data": {called[name]: digest for name, digest in hashes.items()},
    }


def _apart(called: str, name: str, others: dict[str, str]) -> str:
    """With as much of the whole name as tells it from the others."""
    parts = Path(name).parts
    depth = len(Path(called).parts)
    while called in others.values() and depth < len(parts) - 1:
        depth += 1
        called = str(Path(*parts[-depth:]))
    return called


def check_made_of(bundle: Bundle, data: Data) -> None:
    """ValueError, saying what is another, unless it was made of `data`, divided as it is there: else what has trained
    it might certify it."""
    others = differences(bundle, data)
    if not others and [label.name for label in bundle.manifest.labels] != list(data.labels):
        others = ["its labels are others"]
    if others:
        raise ValueError(
            f"{bundle.folder} was not made from this recipe's data ({'; '.join(others)}): what has trained it might "
            "certify it. Name the recipe and data of it"
        )


def differences(bundle: Bundle, data: Data, *, may_have_more: bool = False) -> list[str]:
    """In what it was made of other data, or divided otherwise. `may_have_more`: harvests beside those that it has."""
    was = dividing.division(bundle.manifest.recipe.get("data", {}), bundle.manifest.data)
    found = []
    for name, now in data.division.items():
        before = was.get(name)
        if may_have_more and name in HARVESTS and before is not None:
            now = now[: len(before)]
        if before != now:
            found.append(name)
    made_of, known = bundle.manifest.data, {*data.hashes.values()}
    others = [name for name, digest in made_of.items() if digest not in known]
    if not may_have_more:
        others += [name for name, digest in data.hashes.items() if digest not in made_of.values()]
    return found + [f"{name} is another file now" for name in dict.fromkeys(others)]


def check_never(bundle: Bundle, recipe: Recipe) -> None:
    """ValueError where a question of a file in the recipe's `never`, which it did not know of when it was made, has
    trained it: nobody must say then that it has not."""
    checked = {*bundle.manifest.metrics.get("checks", {}).get("never", {}).values()}
    everything = recipe.model_copy(update={"data": recipe.data.model_copy(update={"never": ()})})
    trained = {text_key(row.text) for row in dividing.load(everything).train}
    for spec in recipe.data.never:
        source, split = recipe.located(spec)
        if texts.sha256(source) in checked:
            continue
        if count := sum(text_key(row.text) in trained for row in texts.read(source, split)):
            raise ValueError(
                f"{recipe.source}: {count} questions of {spec}, which [data] never names, have trained {bundle.id}: "
                "take the file out of `never`, or make the bundle anew"
            )
