"""`client-cost`: what the Python client adds to a call of a bare stub."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console

from loadtest import options, proof_results
from loadtest.client_cost import KINDS, measure

AT_MOST, AIM = 0.15, 0.05
"""Shares of what a call of the stub takes, of wall and of CPU time."""


@click.command("client-cost", short_help="What the Python client adds to a call of a bare stub.")
@click.option("--calls", type=click.IntRange(min=1), default=200, show_default=True, help="Of each block.")
@click.option("--blocks", type=click.IntRange(min=1), default=40, show_default=True, help="Of each, stub and client.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def client_cost(calls: int, blocks: int, out: Path | None, is_json: bool) -> None:
    """Client and AsyncClient beside generated stubs: one call after another, of a server in a process of its own that
    has its answer (three citations) at once. Blocks of both take turns; the medians of pairs are compared.

    Exit code 1 where the client adds more than 15 % of wall or CPU time.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        costs = runner.run(measure(calls, blocks))
    faults = [
        f"{kind}: the client adds {added:.1%} {of}, at most {AT_MOST:.0%}"
        for kind, cost in costs.items()
        for of, added in (("of wall time", cost.added_wall), ("of CPU time", cost.added_cpu))
        if added > AT_MOST
    ]
    settings = {"calls": calls, "blocks": blocks, "at_most": AT_MOST, "aim": AIM}
    found = {kind: dataclasses.asdict(cost) for kind, cost in costs.items()}
    result = proof_results.result("client-cost", faults, **settings, costs=found)
    options.finish(result, show, out=out, html=None, is_json=is_json)


def show(found: dict[str, Any], console: Console) -> None:
    rows = [
        (f"{kind}, {of}", f"{cost['stub'][key]:.1f}", f"{cost['client'][key]:.1f}", f"{cost[f'added_{key}']:+.1%}")
        for kind in KINDS
        for of, key in (("wall", "wall"), ("CPU", "cpu"))
        for cost in (found["costs"][kind],)
    ]
    proof_results.show(found, console, ("us a call", "stub", "client", "added"), rows)
    console.print(f"asked: at most {found['at_most']:.0%}, aim {found['aim']:.0%}", highlight=False)
