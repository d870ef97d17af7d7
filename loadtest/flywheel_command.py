"""`flywheel`: intents that were launched later, from fallbacks of a running gateway to labels of the next bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from gateway.client import CallFailed
from gateway.config import Config
from gateway.errors import GatewayError
from gateway.forge import recipes, texts
from gateway.forge.harvest import Source
from loadtest import flywheel as turning
from loadtest import flywheel_world as worlds
from loadtest import options, proof_results
from loadtest.flywheel import StepFailed
from loadtest.flywheel_turn import Turn
from loadtest.flywheel_world import IN_SCOPE, LAUNCHED
from loadtest.processes import ServerFailed

SHARE, SHARE_AIM = 0.6, 0.8
"""Of the frozen questions about intents that were launched later: what the model is to answer after the turn."""
ROUTES = ("model", "retrieval")
SHOWN = 5
"""Intents that lost most, in the table."""


@click.command("flywheel", short_help="From fallbacks to labels of the next bundle, and back: a whole turn.")
@click.option(
    "--bundle", type=click.Path(path_type=Path), default=lambda: Config().model.bundle, help="[the shipped one]"
)
@click.option("--recipe", type=click.Path(path_type=Path), help="What it was made by.  [recipe.toml beside its folder]")
@click.option("--frozen", type=click.FloatRange(0.1, 0.9), default=0.3, show_default=True, help="Share not to arrive.")
@click.option("--drawn", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="Share that is judged.")
@click.option("--reviewer", type=click.Choice(turning.REVIEWERS), default="correct", show_default=True)
@click.option("--outliers", default="clinc150/train_val.json#oos_val", show_default=True, help="They arrive, too.")
@click.option(
    "--test", type=click.Path(path_type=Path, exists=True), help="Ask these of both as well; decides nothing."
)
@click.option("--folder", type=click.Path(path_type=Path), help="A new one, to keep everything.  [a temporary one]")
@click.option("--seed", default=7, show_default=True)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the shares into this PNG.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def flywheel(
    bundle: Path,
    recipe: Path | None,
    frozen: float,
    drawn: float,
    reviewer: str,
    outliers: str,
    test: Path | None,
    folder: Path | None,
    seed: int,
    plot: Path | None,
    out: Path | None,
    is_json: bool,
) -> None:
    """A gateway serves the shipped bundle, and intents that came after it arrive as fallbacks. A drawn share is judged,
    the log is harvested and the harvest reviewed; `forge run --parent` gives the bundle the new labels, and `models
    promote` lets it serve after frozen questions and a shadow. Then the frozen questions again, and the way back.

    Exit code 1 where the model then answers less than 60 % of the frozen questions about those intents, is wrong more
    often than certified, or was not promoted. GATEWAY_DATA names the folder that the recipe's data is in.
    """
    source = recipe or bundle.parent / "recipe.toml"
    with tempfile.TemporaryDirectory(prefix="flywheel-") as scratch:
        place = (folder or Path(scratch)).absolute()
        place.mkdir(parents=True, exist_ok=True)
        try:
            world = worlds.load(source, _texts(source, outliers), frozen, seed)
            asked = worlds.test_questions(test, world.intents) if test else ()
            numbers = Turn(world, bundle, place, drawn, reviewer, asked).run()
        except (OSError, ValueError, GatewayError, CallFailed, ServerFailed, StepFailed) as error:
            raise click.ClickException(str(error)) from None
    found = proof_results.result("flywheel", faults(numbers), reviewer=reviewer, drawn=drawn, seed=seed, **numbers)
    if plot is not None:
        from gateway.forge import plots  # matplotlib: a second to import

        plot.write_bytes(plots.turn({when: found[when]["groups"] for when in ("before", "after")}))
    options.finish(found, show, out=out, html=None, is_json=is_json)


def _texts(recipe: Path, spec: str) -> list[str]:
    return [row.text for row in texts.read(*recipes.load(recipe).located(spec))]


def faults(found: dict[str, Any]) -> list[str]:
    """What of the measures that were asked is missed."""
    after = found["after"]
    share = after["groups"][LAUNCHED]["routes"].get("model", 0.0)
    said = []
    if share < SHARE:
        said.append(
            f"the model answers {share:.1%} of the questions about intents launched later, at least {SHARE:.0%}"
        )
    if after["certificate"]["status"] != "valid":
        said.append(f"the certificate of {after['bundle']} is {after['certificate']['status']}")
    everything, alpha = after["groups"]["all"], after["certificate"]["alpha"]
    if everything["model_wrong"] > alpha * everything["model_answers"]:
        wrong = everything["model_wrong"] / everything["model_answers"]
        said.append(f"{wrong:.1%} of the model's answers are wrong, certified are {alpha:.0%}")
    if not found["promotion"]["recorded"]:
        failed = [
            f"{one['name']}: {one['detail']}" for one in found["promotion"]["gates"] if one["outcome"] == "failed"
        ]
        said.append(f"not promoted: {'; '.join(failed)}")
    elif not found["back"]["is_as_before"]:
        said.append("after the way back, frozen questions are answered otherwise than before the turn")
    if forgotten := found["promotion"]["compared"]["forgotten"]:
        said.append(f"forgotten: {', '.join(forgotten)}")
    return said


def show(found: dict[str, Any], console: Console) -> None:
    headings = ("bundle", "model", "right", "retrieval", "right", "abstains", "right", "wrong")
    kinds = {"groups": "frozen questions"} | ({"test": "test questions"} if "test" in found["before"] else {})
    for which, what in kinds.items():
        proof_results.show(found, console, (what, *headings), _rows(found, which))
    for line in _lines(found):
        console.print(line, highlight=False, soft_wrap=True)


def _rows(found: dict[str, Any], which: str) -> Iterator[tuple[str, ...]]:
    for group in (LAUNCHED, IN_SCOPE, "all"):
        for when in ("before", "after"):
            one = found[when][which][group]
            cells = [cell for route in ROUTES for cell in _of_route(one, route)]
            yield (
                f"{group} ({one['questions']:,})" if when == "before" else "",
                found[when]["bundle"],
                *cells,
                f"{one['routes'].get('abstain', 0):.1%}",
                f"{one['right']:.1%}",
                f"{one['wrong']:.1%}",
            )


def _of_route(one: dict[str, Any], route: str) -> tuple[str, str]:
    share = one["routes"].get(route, 0.0)
    return f"{share:.1%}", f"{one['right_by_route'][route]:.1%}" if share else "-"


def _lines(found: dict[str, Any]) -> Iterator[str]:
    seen, arrived = found["review"], found["as_it_arrived"][LAUNCHED]
    judged = seen["by_source"].get(Source.VERDICT, [0, 0])
    right, alone = seen["right"] - judged[0], seen["proposals"] - judged[1]
    yield (
        f"traffic: {found['traffic']:,} questions, {arrived['questions']:,} of them about {found['intents']} intents "
        f"that the bundle does not know, of which retrieval answered {arrived['routes'].get('retrieval', 0):.1%}; "
        f"{found['judged']} drawn and judged; drift alarms after questions {found['drift_alarms'] or 'none'}"
    )
    yield (
        f"harvest: {seen['proposals']:,} proposals, {judged[1]} by a verdict; of the others {right:,} of {alone:,} "
        f"({right / max(alone, 1):.1%}) are right; what the reviewer does with wrong ones: {found['reviewer']}; "
        f"{found['harvested']}"
    )
    for when in ("before", "after"):
        one = found[when]
        given, all_ = one["certificate"], one["groups"]["all"]
        yield (
            f"{one['bundle']}, {one['labels']} labels: certificate {given['status']} at {given['threshold']:g}, "
            f"{given['wrong']} of {given['accepted']} wrong on {given['questions']} questions, at most "
            f"{given['upper_bound']:.2%}; of the model's {all_['model_answers']} answers to frozen ones "
            f"{all_['model_wrong']} are wrong"
        )
    yield from _decided(found)
    yield "seconds: " + ", ".join(f"{name} {seconds:g}" for name, seconds in found["seconds"].items())


def _decided(found: dict[str, Any]) -> Iterator[str]:
    promotion = found["promotion"]
    compared, right, wrong = (promotion["compared"], *(promotion["compared"][name] for name in ("right", "wrong")))
    yield (
        f"paired, by the same questions: right {_interval(right)}, wrong {_interval(wrong)} points; forgotten: "
        f"{', '.join(compared['forgotten']) or 'none'}; most lost: "
        + ", ".join(f"{one['name']} {one['before']} > {one['after']}" for one in compared["intents"][:SHOWN])
    )
    for gate in promotion["gates"]:
        yield f"  gate {gate['name']:<12} {gate['outcome']:<8} {gate['detail']}"
    if found["back"]:
        same = "as before" if found["back"]["is_as_before"] else "otherwise than before"
        yield f"rolled back to {found['back']['bundle']}: the frozen questions are answered {same}"


def _interval(one: dict[str, float]) -> str:
    return f"{100 * one['value']:+.1f} ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"
