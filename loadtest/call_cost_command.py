"""`call-cost`: what it costs a call to be let in, counted and written down."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from loadtest import options, proof_results
from loadtest.call_cost import STEPS, measure

AT_MOST, AIM = 120.0, 60.0
"""Microseconds a call, on the thread that answers."""


@click.command("call-cost", short_help="What credentials, quota, metrics and audit log add to a call.")
@click.option("--calls", type=click.IntRange(min=100), default=1000, show_default=True, help="Of each block.")
@click.option("--blocks", type=click.IntRange(min=1), default=30, show_default=True, help="Of each step.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def call_cost(calls: int, blocks: int, out: Path | None, is_json: bool) -> None:
    """Answers.Answer as gRPC calls it, with a gateway that has its answer at once, and with more and more around it:
    CPU time of the thread that answers. The steps take turns, and the least of each is compared.

    Exit code 1 where all of it together adds more than 120 us.
    """
    costs = measure(calls, blocks)
    faults = [f"all of it adds {costs.added:.1f} us a call, at most {AT_MOST:g}"] if costs.added > AT_MOST else []
    microseconds = {**costs.steps, "added": costs.added}
    settings = {"calls": calls, "blocks": blocks, "at_most": AT_MOST, "aim": AIM}
    found = proof_results.result("call-cost", faults, **settings, microseconds=microseconds, tracing=costs.tracing)
    options.finish(found, show, out=out, html=None, is_json=is_json)


def show(found: dict[str, Any], console: Console) -> None:
    us = found["microseconds"]
    rows = [(STEPS["bare"], f"{us['bare']:.1f}", "")]
    # A token takes the place of the key, and all of it goes on from the key.
    before = {name: first for first, name in pairwise(STEPS)} | {"token": "limited", "whole": "key"}
    rows += [(STEPS[name], f"{us[name]:.1f}", f"{us[name] - us[one]:+.1f}") for name, one in before.items()]
    proof_results.show(found, console, ("CPU, us a call", "in all", "added"), rows)
    console.print(
        f"all of it adds {us['added']:.1f} us a call (at most {found['at_most']:g}, aim {found['aim']:g})",
        highlight=False,
    )
    console.print(
        f"tracing one call in a hundred: {found['tracing']:+.2%} of that thread's time a call", highlight=False
    )
