"""`drift`: false alarms where nothing drifts, and how soon drift is found, by the real model's outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console

from gateway.config import Config
from gateway.errors import GatewayError
from loadtest import drift as measures
from loadtest import drift_world, options, proof_results

FALSE_ALARMS = 1
"""At most in any 100,000 questions; none is the aim."""
DELAY, DELAY_AIM = 500, 200
"""Questions: of the worst run of any kind of drift at most, and of the median run as an aim."""
COST = 20.0
"""Microseconds on the path of an answer, at most."""


@click.command("drift", short_help="How soon drift is found, and that there is no false alarm.")
@click.option(
    "--bundle", type=click.Path(path_type=Path), default=lambda: Config().model.bundle, help="[the shipped one]"
)
@click.option("--recipe", type=click.Path(path_type=Path), help="What it was made by.  [recipe.toml beside its folder]")
@click.option("--runs", type=click.IntRange(min=1), default=20, show_default=True, help="Without drift.")
@click.option("--questions", type=click.IntRange(min=1000), default=100_000, show_default=True, help="Of each of them.")
@click.option("--seeds", type=click.IntRange(min=1), default=50, show_default=True, help="Runs of each kind of drift.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def drift(
    bundle: Path, recipe: Path | None, runs: int, questions: int, seeds: int, out: Path | None, is_json: bool
) -> None:
    """Takes some minutes. GATEWAY_DATA names the folder that the recipe's data is in; no test question is read.

    Reference and questions are drawn from one pool, of questions that trained nothing, so that nothing drifts where it
    is not told to. Exit code 1 where there is more than one false alarm in 100,000 questions, or drift that takes more
    than 500 questions to be found.
    """
    try:
        world = drift_world.load(recipe or bundle.parent / "recipe.toml", bundle)
    except (OSError, ValueError, GatewayError) as error:
        raise click.ClickException(str(error)) from None
    numbers = _measured(world, runs, questions, seeds)
    found = proof_results.result("drift", faults(numbers), **numbers)
    options.finish(found, show, out=out, html=None, is_json=is_json)


def _measured(world: drift_world.World, runs: int, questions: int, seeds: int) -> dict[str, Any]:
    quiet = []
    for seed in range(runs):
        quiet.append(len(measures.quiet(world, seed, questions)))
        click.echo(f"without drift: run {seed + 1} of {runs}, {quiet[-1]} alarms in {questions:,} questions", err=True)
    kinds = {}
    for kind, (what, _) in measures.DRIFTS.items():
        kinds[kind] = {"what": what} | measures.summary([measures.drifting(world, kind, seed) for seed in range(seeds)])
        click.echo(f"{kind}: median {kinds[kind]['median']:g}, worst {kinds[kind]['worst']}", err=True)
    named = [measures.naming(world, seed) for seed in range(seeds)]
    delays = [one.delay for one in named if one.delay is not None]
    return {
        "pool": len(world.pool),
        "reference": world.reference.questions,
        "false_alarms_allowed": measures.FALSE_ALARMS,
        "quiet": {"runs": runs, "questions": questions, "alarms": quiet},
        "shipped": {"questions": world.unseen, "alarms": len(measures.shipped(world, 0))},
        "kinds": kinds,
        "tenant": {
            "runs": seeds,
            "named": len(delays),
            "others": sum(one.others for one in named),
            "median": float(np.median(delays)) if delays else None,
            "worst": max(delays, default=None),
        },
        "microseconds": measures.cost(world),
        "asked": {"false_alarms": FALSE_ALARMS, "delay": DELAY, "delay_aim": DELAY_AIM, "microseconds": COST},
    }


def faults(found: dict[str, Any]) -> list[str]:
    """What of the measures that were asked is missed."""
    quiet = found["quiet"]
    most = FALSE_ALARMS * max(1.0, quiet["questions"] / 100_000)
    said = [
        f"{alarms} false alarms in {quiet['questions']:,} questions of run {run}, at most {most:g}"
        for run, alarms in enumerate(quiet["alarms"], 1)
        if alarms > most
    ]
    for kind, one in found["kinds"].items():
        if one["missed"] or one["worst"] > DELAY:
            said.append(f"{kind}: {one['worst']:,} questions until the alarm in the worst run, at most {DELAY}")
    if found["microseconds"]["path"] > COST:
        said.append(f"{found['microseconds']['path']:g} us a question on the path of answers, at most {COST:g}")
    return said


def show(found: dict[str, Any], console: Console) -> None:
    headings = ("drift", "runs", "median", "90 %", "worst", "found first by", "model's answers wrong, %")
    proof_results.show(found, console, headings, _rows(found))
    for line in _lines(found):
        console.print(line, highlight=False, soft_wrap=True)


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for one in found["kinds"].values():
        first = ", ".join(f"{name} {count}" for name, count in sorted(one["first"].items(), key=lambda each: -each[1]))
        risk = one["wrong_of_model_answers"]
        wrong = " > ".join("-" if risk[name] is None else f"{100 * risk[name]:.1f}" for name in measures.RISKS)
        yield one["what"], str(one["runs"]), *(f"{one[name]:g}" for name in ("median", "p90", "worst")), first, wrong


def _lines(found: dict[str, Any]) -> Iterator[str]:
    quiet, tenant, us = found["quiet"], found["tenant"], found["microseconds"]
    yield (
        f"without drift: {sum(quiet['alarms'])} alarms in {quiet['runs']} runs of {quiet['questions']:,} questions by "
        f"{len(measures.TENANTS)} tenants (asked at most {FALSE_ALARMS} in each 100,000, aim 0); "
        f"{found['false_alarms_allowed']:g} in 100,000 are allowed for"
    )
    yield (
        f"the bundle's own reference of {found['reference']:,}, asked the {found['shipped']['questions']} questions of "
        f"its division that are not in it: {found['shipped']['alarms']} alarms"
    )
    yield (
        f"questions until the alarm: asked at most {DELAY} (worst run), aim {DELAY_AIM} (median); wrong of the model's "
        "answers: before the drift > until the alarm > after it, by the stricter thresholds > after it, if nobody had "
        f"watched; alarms before any drift: {sum(one['early'] for one in found['kinds'].values())}"
    )
    yield (
        f"one of {len(measures.TENANTS)} tenants drifts: named in {tenant['named']} of {tenant['runs']} runs, after "
        f"{tenant['median']} (median) and {tenant['worst']} (worst) of its own questions; others named in "
        f"{tenant['others']} runs"
    )
    yield f"{us['path']:g} us a question on the path of answers (at most {COST:g}), {us['process']:g} us CPU in all"
