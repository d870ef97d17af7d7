"""What differs between two versions, by what both say of themselves."""

from __future__ import annotations

from typing import Any

from gateway.model.bundle import Bundle
from gateway.registry import facts

LEFT_OUT = ("attribution",)
"""Parts of a recipe that decide nothing."""


def between(one: Bundle, other: Bundle) -> dict[str, Any]:
    """From `one` to `other`: {part: ...}, each part with what only one has, or with pairs [one's, other's]."""
    said = facts.of(one), facts.of(other)
    return {
        "labels": _labels(one, other),
        "data": _pairs(one.manifest.data, other.manifest.data),
        "recipe": _pairs(_flat(one.manifest.recipe), _flat(other.manifest.recipe)),
        "lineage": _pairs(*({key: some["lineage"][key] for key in ("parent", "base", "teacher")} for some in said)),
        "sizes": _pairs(*({key: some[key] for key in ("layers", "dim", "labels", "bytes")} for some in said)),
        "metrics": _pairs(*(some["metrics"] for some in said)),
        "certificate": _pairs(*(_flat(some["certificate"]) for some in said)),
    }


def _labels(one: Bundle, other: Bundle) -> dict[str, Any]:
    before = {label.name: label.document_id for label in one.manifest.labels}
    after = {label.name: label.document_id for label in other.manifest.labels}
    return {
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "documents": _pairs(*({name: some[name] for name in before.keys() & after.keys()} for some in (before, after))),
    }


def _pairs(one: dict[str, Any], other: dict[str, Any]) -> dict[str, list[Any]]:
    """What is not the same; None stands for what is not there."""
    names = [*one, *(name for name in other if name not in one)]
    return {name: [one.get(name), other.get(name)] for name in sorted(names) if one.get(name) != other.get(name)}


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested keys as paths with dots; lists are values."""
    if not isinstance(value, dict):
        return {path: value}
    found: dict[str, Any] = {}
    for key, one in value.items():
        if key not in LEFT_OUT:
            found |= _flat(one, f"{path}.{key}" if path else str(key))
    return found
