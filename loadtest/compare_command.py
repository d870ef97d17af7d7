"""`compare`: two results of the same kind, as ratios."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from loadtest import compare, documents, options
from loadtest.compare import Ratio
from loadtest.documents import NotAResult
from loadtest.results import Run
from loadtest.tables import show_comparison


@click.command("compare", short_help="Two results as ratios, with intervals.")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@options.given(*options.OUTPUT)
def compare_files(a: Path, b: Path, out: Path | None, html: Path | None, is_json: bool) -> None:
    """Compare two runs, or two capacities, that were kept with --out: B / A with a 95 % bootstrap interval.

    Only ratios of runs on the same machine, close to each other in time, mean anything. Exit code 1 if one is invalid.
    """
    with options.shown_errors():
        first, second = documents.read(a), documents.read(b)
        found = compared(first, second)
    options.finish(found, show_comparison, out=out, html=html, is_json=is_json)


def compared(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Raises NotAResult for kinds that differ or have no ratios."""
    if a["kind"] != b["kind"]:
        raise NotAResult(f"a {a['kind']} cannot be compared with a {b['kind']}")
    faults = [f"{name}: {fault}" for name, one in (("A", a), ("B", b)) for fault in one["faults"]]
    return {
        "kind": "comparison",
        "title": "comparison",
        "valid": not faults,
        "faults": faults,
        "warnings": [
            f"{name} differs: {a[name]} and {b[name]}" for name in ("processor", "system") if a[name] != b[name]
        ],
        "a": _name(a),
        "b": _name(b),
        **{name: b[name] for name in ("processor", "system", "commit", "when")},
        "ratios": {name: ratio.to_json() for name, ratio in _ratios(a, b).items()},
    }


def _ratios(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Ratio]:
    if a["kind"] == "capacity":
        return {"capacity": compare.repeats(a["repeats"], b["repeats"])}
    if a["kind"] != "run":
        raise NotAResult(f"only runs and capacities can be compared, not a {a['kind']}")
    try:
        return compare.runs(Run.from_json(a), Run.from_json(b))
    except (KeyError, TypeError, ValueError) as error:
        raise NotAResult(f"not comparable: {error} (were both kept with --out?)") from None


def _name(found: dict[str, Any]) -> str:
    what = f"{found['scenario']}: " if found["kind"] == "run" else ""
    return f"{what}{found['server']}, commit {found['commit']}, {found['when']}"
