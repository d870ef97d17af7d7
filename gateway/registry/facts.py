"""What a version says of itself, in the same words for every version, so that they can be laid side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.errors import BundleInvalid
from gateway.model import bundle as bundles
from gateway.model import versions
from gateway.model.bundle import Bundle, Manifest
from gateway.model.certificate import Certificate, Confidence, digest

MEASURES = ("accuracy", "unseen_retrieval", "seen_retrieval", "per_second")
"""Of the student that ships, on development questions; see the card."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version in a folder of them. `state` is "serves", "before" (what a rollback goes back to) or empty; `problem`
    says what is wrong with it, and then `facts` are empty."""

    name: str
    version: str
    folder: Path
    state: str
    problem: str
    facts: dict[str, Any]


def bundle_names(root: Path) -> list[str]:
    """The folders below `root` that hold versions."""
    if not root.is_dir():
        return []
    return sorted(one.name for one in root.iterdir() if versions.names(one) or (one / versions.NAME).is_file())


def listed(folder: Path) -> Iterator[Version]:
    """Every version in `folder`, the promoted one also where it is missing. Raises BundleInvalid where the registry is
    damaged: then nobody knows what serves."""
    registry = versions.read(folder)
    promoted = {event.version: event for event in (registry.before(), registry.now) if event} if registry else {}
    found = versions.names(folder)
    for version in [*found, *(one for one in promoted if one not in found)]:
        state = ("serves" if registry and version == registry.current else "before") if version in promoted else ""
        try:
            if version in promoted:
                versions.check(folder, promoted[version])
            facts = of(bundles.load(folder / version))
        except BundleInvalid as error:
            yield Version(folder.name, version, folder / version, state, str(error), {})
        else:
            yield Version(folder.name, version, folder / version, state, "", facts)


def of(bundle: Bundle) -> dict[str, Any]:
    """Plain values, as JSON has them."""
    manifest = bundle.manifest
    return {
        "id": bundle.id,
        "manifest_sha256": bundle.manifest_sha256,
        "created": manifest.created,
        "layers": manifest.layers,
        "dim": manifest.dim,
        "labels": len(manifest.labels),
        "bytes": sum(bundle.path(name).stat().st_size for name in manifest.files),
        "lineage": lineage(manifest),
        "metrics": metrics(manifest),
        "certificate": certificate(bundle),
    }


def lineage(manifest: Manifest) -> dict[str, Any]:
    """What it was made from and by: files by their sha256, the recipe by that of its settings."""
    return {
        "parent": manifest.parent.model_dump() if manifest.parent else None,
        "recipe_sha256": digest(manifest.recipe),
        "data": manifest.data,
        "base": manifest.base,
        "teacher": manifest.teacher,
    }


def metrics(manifest: Manifest) -> dict[str, float]:
    """What the forge measured of the student that ships, and of its 8-bit graph on certification questions."""
    student = manifest.metrics.get("students", {}).get(str(manifest.layers), {})
    fitted = manifest.metrics.get("fitted", {}).get("int8", {})
    agreement = manifest.metrics.get("parity", {}).get("agreement", {})
    found = {name: student.get(name) for name in MEASURES}
    found |= {"certify_accuracy": fitted.get("accuracy"), "int8_like_fp32": agreement.get("int8")}
    return {name: float(value) for name, value in found.items() if value is not None}


def certificate(bundle: Bundle) -> dict[str, Any]:
    """`problem` says why it is not this bundle's; it is empty where it is."""
    given = bundle.certificate
    if given is None:
        return {"problem": bundle.uncertified}
    return {
        "problem": bundle.uncertified,
        "alpha": given.risk,
        "assurance": given.assurance,
        "oos_share": given.oos_share,
        "questions": given.questions,
        "outliers": given.outliers,
        "variants": {
            precision: {name: _promise(one, given) for name, one in variant.confidences.items()}
            for precision, variant in given.variants.items()
        },
    }


def _promise(one: Confidence, given: Certificate) -> dict[str, Any]:
    at = one.operating
    return {
        "status": one.status.value,
        "threshold": at.value if at.holds else None,
        "coverage": at.accepted / given.questions if at.holds and given.questions else 0.0,
        "accepted": at.accepted,
        "wrong": at.wrong,
        "risk_at_most": at.upper_bound,
        "certified_up_to_oos_share": at.certified_up_to_oos_share,
    }


def served(facts: dict[str, Any]) -> dict[str, Any]:
    """The promise that a CPU serves by: of the 8-bit graph, with a search where there is one; {} without any."""
    eight = facts["certificate"].get("variants", {}).get("int8", {})
    found: dict[str, Any] = eight.get("informed") or eight.get("alone") or {}
    return found
