"""`restarts`: how many calls fail where servers and workers end under load."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from loadtest import options, proof_results, restarts
from loadtest.chaos.verdicts import Terms


@click.command("restarts", short_help="Servers and workers that end under load: calls that fail, of default clients.")
@click.option("--rate", type=click.FloatRange(min=1), default=60.0, show_default=True, help="Questions a second.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Of each way to end.")
@click.option("--seed", default=7, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def restarts_(rate: float, rounds: int, seed: int, out: Path | None, is_json: bool) -> None:
    """Ends one of two servers by SIGTERM, and one of two workers by SIGTERM and by SIGKILL, while clients ask that are
    as `gateway.client` makes them: with its deadlines and its retries.

    Exit code 1 where a call failed.
    """
    done = options.run(_all(rate, rounds, seed))
    faults = [f"{one.what}: {one.failed}" for one in done if one.failed]
    ways = [one.to_json() for one in done]
    found = proof_results.result("restarts", faults, rate=rate, rounds=rounds, seed=seed, ways=ways)
    options.finish(found, show, out=out, html=None, is_json=is_json)


async def _all(rate: float, rounds: int, seed: int) -> list[restarts.Restarted]:
    with tempfile.TemporaryDirectory() as folder:
        terms = Terms(Path(folder), seed=seed)
        return [await way(terms, rate, rounds) for way in restarts.WAYS]


def show(found: dict[str, Any], console: Console) -> None:
    rows = [
        (
            one["what"],
            one["rounds"],
            one["calls"],
            ", ".join(f"{count} {code}" for code, count in one["failed"].items()) or "0",
            f"{one['p99']:g} / {one['worst']:g}",
            f"{max(one['away']):g}",
        )
        for one in found["ways"]
    ]
    headings = (f"at {found['rate']:g}/s", "rounds", "calls", "failed", "p99 / worst, ms", "gone or replaced, s")
    proof_results.show(found, console, headings, rows)
