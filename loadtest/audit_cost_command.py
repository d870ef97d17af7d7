"""`audit-cost`: what the audit log costs a question, beside the same without it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from loadtest import options, proof_results
from loadtest.audit_cost import Costs, measure

AT_MOST, AIM = 100.0, 40.0
"""Microseconds a question, on the path of an answer."""


@click.command("audit-cost", short_help="What the audit log adds to a question, in microseconds.")
@click.option("--questions", type=click.IntRange(min=100), default=2000, show_default=True, help="Of each block.")
@click.option(
    "--blocks", type=click.IntRange(min=1), default=15, show_default=True, help="With a log, and as many without."
)
@click.option("--text", "keeps_text", is_flag=True, help="Keep the questions' texts, too.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def audit_cost(questions: int, blocks: int, keeps_text: bool, out: Path | None, is_json: bool) -> None:
    """Answers.Answer behind gRPC, with a gateway that has its answer at once: CPU time of the thread that answers, and
    of the thread that writes. Blocks with and without a log take turns, and their medians are compared.

    Exit code 1 where the log adds more than 100 us to the thread that answers.
    """
    costs = measure(questions, blocks, keeps_text)
    is_dear = costs.hot_path > AT_MOST
    faults = (
        [f"the log adds {costs.hot_path:.1f} us to the thread that answers, at most {AT_MOST:g}"] if is_dear else []
    )
    settings = {"questions": questions, "blocks": blocks, "text": keeps_text}
    found = proof_results.result("audit-cost", faults, **settings, **_numbers(costs))
    options.finish(found, show, out=out, html=None, is_json=is_json)


def _numbers(costs: Costs) -> dict[str, Any]:
    return {
        "microseconds": {
            "without": asdict(costs.without),
            "with": asdict(costs.with_),
            "hot_path": costs.hot_path,
            "aside": costs.aside,
        },
        "at_most": AT_MOST,
        "aim": AIM,
        "record_bytes": costs.record_bytes,
    }


def show(found: dict[str, Any], console: Console) -> None:
    us = found["microseconds"]
    rows = [
        (f"{name} a log", *(f"{us[name][which]:.1f}" for which in ("answering", "process")))
        for name in ("without", "with")
    ]
    rows.append(("the log", f"{us['hot_path']:.1f}", f"{us['hot_path'] + us['aside']:.1f}"))
    proof_results.show(found, console, ("CPU, us a question", "thread that answers", "whole process"), rows)
    console.print(
        f"on the hot path {us['hot_path']:.1f} us (at most {found['at_most']:g}, aim {found['aim']:g}), in a thread of "
        f"its own {us['aside']:.1f} us; {found['record_bytes']:.0f} bytes a record",
        highlight=False,
    )
