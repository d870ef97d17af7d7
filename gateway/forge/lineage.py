"""What a bundle follows: its parent, by what that says of itself."""

from __future__ import annotations

from gateway.forge.recipes import Recipe
from gateway.model import bundle as bundles
from gateway.model.bundle import ParentPart


def parent(recipe: Recipe) -> ParentPart | None:
    """Of the bundle that the recipe names, if it names one. Raises FileNotFoundError, BundleInvalid."""
    if not recipe.bundle.parent:
        return None
    found = bundles.load(recipe.locate(recipe.bundle.parent))
    return ParentPart(name=found.manifest.name, version=found.manifest.version, manifest_sha256=found.manifest_sha256)
