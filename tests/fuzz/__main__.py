"""`python -m tests.fuzz`: so many inputs for each target, and what came of them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import click

from tests.fuzz import calls, files, wire
from tests.fuzz.runner import Result, Target, fuzzed

TARGETS: dict[str, tuple[Callable[[], Target], float]] = {
    "calls": (calls.Calls, 0.6),
    "files": (files.Files, 0.399),
    "wire": (wire.Wire, 0.001),
}
"""Each with its share of the inputs: a connection costs a hundred times what a call without one does."""


@click.command()
@click.option("--runs", default=100_000, show_default=True, help="Inputs, of all targets together.")
@click.option("--seed", default=0, show_default=True, help="The same one makes the same inputs.")
@click.option("--target", type=click.Choice(list(TARGETS)), help="Only this one.")
@click.option("--again", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="One input, from a file.")
@click.option("--findings", type=click.Path(path_type=Path), default="fuzz-findings", show_default=True)
def main(runs: int, seed: int, target: str | None, again: Path | None, findings: Path) -> None:
    """Exit code 1 where an input did what none may: each is kept as a file; --target T --again FILE tries it again."""
    logging.disable(logging.CRITICAL)
    if again is not None:
        if target is None:
            raise click.UsageError("--again needs --target: whose input it is")
        one = TARGETS[target][0]()
        click.echo(one.run(again.read_bytes()))
        one.close()
        return
    results = []
    for name, (make, share) in TARGETS.items():
        if target in (None, name):
            results.append(fuzzed(name, make(), max(1, round(runs * (1 if target else share))), seed, findings))
            _show(results[-1])
    sys.exit(any(one.findings for one in results))


def _show(result: Result) -> None:
    rate = result.inputs / max(result.seconds, 1e-9)
    click.echo(f"{result.name}: {result.inputs:,} inputs, {rate:,.0f}/s, {len(result.findings)} findings")
    for outcome, count in result.outcomes.most_common():
        click.echo(f"  {count:>12,}  {outcome}")
    for path, problem in result.findings:
        click.echo(f"  FOUND {problem}\n        {path}")


if __name__ == "__main__":
    main()
