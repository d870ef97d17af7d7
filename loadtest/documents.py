"""Results as JSON files: each states its kind, and what it was measured on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

KINDS = (
    "run",
    "capacity",
    "sweep",
    "peers",
    "comparison",
    "cross-check",
    "kept",
    "gpu",
    "knowledge",
    "knowledge-peers",
    "leaks",
    "crashes",
    "medquad",
    "fusion",
    "guarantee",
    "drift",
    "flywheel",
    "audit-cost",
    "call-cost",
    "restarts",
    "entrances",
    "scrape-cost",
    "chaos",
)


class NotAResult(ValueError):
    """A file that no command of ours has written."""


def text(found: dict[str, Any]) -> str:
    """For people and for files. Raises ValueError for a number that JSON does not have."""
    return json.dumps(found, indent=1, allow_nan=False)


def write(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(found) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Raises NotAResult, naming the file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotAResult(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise NotAResult(f"{path}: is not JSON: {error}") from None
    if not isinstance(found, dict) or found.get("kind") not in KINDS:
        raise NotAResult(f"{path}: is not a result of a load test")
    return found


def without_full(found: dict[str, Any]) -> dict[str, Any]:
    """What is shown and printed: histograms and series only belong into files."""
    return {name: value for name, value in found.items() if name != "full"}
