"""`scrape-cost`: what a scrape of /metrics adds to the latency of a busy replica."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console

from loadtest import options, proof_results, scrape_cost
from loadtest.chaos.verdicts import Terms
from loadtest.scrape_cost import Scraped

AT_MOST, AIM = 2.0, 0.5
"""Milliseconds that p99 may grow by."""


@click.command("scrape-cost", short_help="What a scrape of /metrics adds to the latency of a busy replica.")
@click.option("--rate", type=click.FloatRange(min=1), default=120.0, show_default=True, help="Questions a second.")
@click.option("--rounds", type=click.IntRange(min=1), default=10, show_default=True, help="Windows of each kind.")
@click.option("--seconds", type=click.FloatRange(min=1), default=6.0, show_default=True, help="Of each window.")
@click.option("--every", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="Seconds: a scrape.")
@click.option("--seed", default=7, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def scrape_cost_(
    rate: float, rounds: int, seconds: float, every: float, seed: int, out: Path | None, is_json: bool
) -> None:
    """Asks a gateway at an even rate, and scrapes it in every other window, fifteen times as often as Prometheus does.

    Exit code 1 where p99 grows by more than 2 ms.
    """
    with tempfile.TemporaryDirectory() as folder:
        terms = Terms(Path(folder), seed=seed)
        found = options.run(scrape_cost.measured(terms, rate, rounds, seconds, every))
    numbers = _numbers(found, seed)
    added = numbers["added_ms"]["p99"]
    faults = [f"p99 grows by {added:.2f} ms, at most {AT_MOST:g}"] if added > AT_MOST else []
    settings = {"rate": rate, "rounds": rounds, "seconds": seconds, "every": every, "seed": seed}
    result = proof_results.result("scrape-cost", faults, **settings, **numbers)
    options.finish(result, show, out=out, html=None, is_json=is_json)


def _numbers(found: Scraped, seed: int) -> dict[str, Any]:
    kinds = {"quiet_ms": found.quiet, "scraped_ms": found.scraped}
    numbers: dict[str, Any] = {
        kind: {f"p{one}": round(found.percentile(windows, one), 3) for one in (50, 99)}
        for kind, windows in kinds.items()
    }
    return numbers | {
        "added_ms": {f"p{one}": round(found.added(one), 3) for one in (50, 99)},
        "added_p99_interval_ms": [round(one, 3) for one in found.interval(99, seed)],
        "questions": sum(map(len, (*found.quiet, *found.scraped))),
        "failed": found.failed,
        "scrapes": len(found.took),
        "scrape_p50_ms": round(float(np.median(found.took)), 2),
        "scrape_bytes": found.size,
    }


def show(found: dict[str, Any], console: Console) -> None:
    rows = [
        (name, f"{found[key]['p50']:.2f}", f"{found[key]['p99']:.2f}")
        for name, key in (("without", "quiet_ms"), ("with scrapes", "scraped_ms"), ("added", "added_ms"))
    ]
    proof_results.show(found, console, (f"ms, {found['rate']:g}/s", "p50", "p99"), rows)
    low, high = found["added_p99_interval_ms"]
    growth, size = found["added_ms"]["p99"], found["scrape_bytes"] / 1024
    lines = (
        f"p99 grows by {growth:.2f} ms ({low:.2f} to {high:.2f}; at most {AT_MOST:g}, aim {AIM:g})",
        f"{found['questions']} questions, {found['failed']} failed",
        f"{found['scrapes']} scrapes of {size:.0f} kB, {found['scrape_p50_ms']:g} ms each",
    )
    for line in lines:
        console.print(line, highlight=False)
