"""`python -m loadtest`, also `gateway loadtest`: the commands of the harness, most in a module of their own."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from gateway.cli import machine
from gateway.client import CallFailed, Client
from gateway.types import Answer
from loadtest import options
from loadtest.audit_cost_command import audit_cost
from loadtest.call_cost_command import call_cost
from loadtest.capacity_command import find_capacity
from loadtest.chaos_command import chaos
from loadtest.client_cost_command import client_cost
from loadtest.compare_command import compare_files
from loadtest.crashes_command import crashes
from loadtest.cross_check_command import cross_check
from loadtest.drift_command import drift
from loadtest.entrances_command import entrances_
from loadtest.flywheel_command import flywheel
from loadtest.fusion_command import fusion
from loadtest.gpu import gpu
from loadtest.guarantee_command import guarantee
from loadtest.kept_command import kept_results
from loadtest.knowledge_command import knowledge
from loadtest.knowledge_peers_command import knowledge_beside_peers
from loadtest.leaks_command import leaks
from loadtest.medquad_command import medquad
from loadtest.peers_command import peers_in_turn
from loadtest.prove_command import prove
from loadtest.report_command import report_files
from loadtest.restarts_command import restarts_
from loadtest.run_command import run
from loadtest.scrape_cost_command import scrape_cost_
from loadtest.startup import seconds_to_ready
from loadtest.sweep_command import sweep
from loadtest.words_command import words_

PERCENTILES = (50, 90, 99, 99.9)


@click.group()
def main() -> None:
    """Measures a running gateway, or one that it starts itself."""
    machine.facts()  # of the commit that it begins on


for command in (
    run,
    find_capacity,
    sweep,
    compare_files,
    peers_in_turn,
    cross_check,
    prove,
    kept_results,
    report_files,
    gpu,
    knowledge,
    knowledge_beside_peers,
    leaks,
    crashes,
    chaos,
    restarts_,
    entrances_,
    scrape_cost_,
    medquad,
    fusion,
    words_,
    guarantee,
    drift,
    flywheel,
    audit_cost,
    call_cost,
    client_cost,
):
    main.add_command(command)


@main.command()
@click.option("--target", default="127.0.0.1:50051", show_default=True, metavar="HOST:PORT")
@options.given(options.QUESTIONS)
@click.option("--count", default=2000, show_default=True, help="Questions to time.")
@click.option("--warm", default=200, show_default=True, help="Questions before that.")
@click.option("--seed", default=7, show_default=True)
@click.option("--json", "is_json", is_flag=True)
def latency(target: str, sources: tuple[Path, ...], count: int, warm: int, seed: int, is_json: bool) -> None:
    """One at a time, each after the answer to the last: the latency without any queue."""
    questions = options.questions(sources)
    asked = random.Random(seed).choices(questions.texts, k=warm + count)  # noqa: S311 - a sample, no secret
    with Client(target, timeout=5.0) as client:
        try:
            answers = [_timed(client, text) for text in asked][warm:]
        except CallFailed as error:
            raise click.ClickException(f"{target}: {error}") from None
    found = _found(answers) | {"asked": questions.source}
    if is_json:
        click.echo(json.dumps(found, indent=1))
    else:
        _show(found)


@main.command()
@click.option("--runs", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--json", "is_json", is_flag=True)
@click.argument("arguments", nargs=-1)
def startup(runs: int, is_json: bool, arguments: tuple[str, ...]) -> None:
    """Seconds from the start of `gateway serve ARGUMENTS` until it is ready. The first run fills the caches."""
    try:
        seconds = [seconds_to_ready(list(arguments)) for _ in range(runs + 1)]
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    warm = sorted(seconds[1:])
    middle = float(np.median(warm))
    if is_json:
        rounded = {"first": seconds[0], "min": warm[0], "median": middle, "max": warm[-1]}
        found = {
            **machine.facts(),
            "runs": runs,
            "seconds": {name: round(value, 3) for name, value in rounded.items()},
        }
        click.echo(json.dumps(found, indent=1))
        return
    click.echo(f"first {seconds[0]:.2f} s; then min {warm[0]:.2f}, median {middle:.2f}, max {warm[-1]:.2f} s")


def _timed(client: Client, text: str) -> tuple[Answer, float]:
    started = time.perf_counter()
    answer = client.answer(text)
    return answer, time.perf_counter() - started


def _found(answers: list[tuple[Answer, float]]) -> dict[str, object]:
    stages = [sum(answer.timings.values()) for answer, _ in answers]
    return {
        **machine.facts(),
        "bundle": answers[0][0].bundle,
        "questions": len(answers),
        "routes": {route.value: n / len(answers) for route, n in Counter(a.route for a, _ in answers).items()},
        "milliseconds": {
            "caller": _percentiles([seconds for _, seconds in answers]),
            "server, sum of stages": _percentiles(stages),
        },
    }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{one:g}": round(1e3 * float(np.percentile(seconds, one)), 3) for one in PERCENTILES}


def _show(found: dict[str, object]) -> None:
    console = Console()
    milliseconds = found.pop("milliseconds")
    assert isinstance(milliseconds, dict)
    for name, value in found.items():
        console.print(f"{name:<10} {value}", highlight=False)
    table = Table("ms, one at a time", *(f"p{one:g}" for one in PERCENTILES))
    for name, values in milliseconds.items():
        table.add_row(name, *(f"{value:.3f}" for value in values.values()))
    console.print(table)


if __name__ == "__main__":
    main()
