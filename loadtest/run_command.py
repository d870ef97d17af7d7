"""`run`: one scenario against one server."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from loadtest import events, options, scenarios, subjects
from loadtest.honesty import Limits
from loadtest.measure import measure
from loadtest.plan import plan
from loadtest.questions import Questions
from loadtest.results import Run
from loadtest.scenarios import Scenario
from loadtest.subjects import Subject, opened
from loadtest.tables import show_run
from loadtest.trials import SearchTerms, Terms, Watcher, find_capacity


@click.command(short_help="Ask what a scenario says.", epilog=f"Scenarios: {', '.join(scenarios.shipped())}.")
@click.argument("scenario")
@options.given(options.QUESTIONS, *options.SERVER)
@click.option(
    "--capacity",
    type=click.FloatRange(min=0, min_open=True),
    help="Questions a second, for scenarios in multiples of it. Found first if it is not given.",
)
@click.option(
    "--swap-to",
    "bundle",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The bundle that a swap of the scenario puts in.  [the one that --serve names, again]",
)
@options.given(*options.HONESTY, *options.OUTPUT)
def run(
    scenario: str,
    sources: tuple[Path, ...],
    capacity: float | None,
    bundle: Path | None,
    max_late_ms: float,
    max_cpu: float,
    out: Path | None,
    html: Path | None,
    is_json: bool,
    **where: Any,
) -> None:
    """Ask what SCENARIO says: the name of a shipped one, or a TOML file.

    Exit code 1 if the run is invalid: the generator was late or starved.
    """
    with options.shown_errors():
        found = scenarios.read(scenario)
    serve, subject = where["serve"], options.subject(where)
    questions = options.questions(sources)
    limits = Limits(max_late_ms, max_cpu)
    if bundle is None and serve is not None:
        bundle = subjects.served_bundle(shlex.split(serve))
    with options.watching() as watcher:
        done = options.run(_run(found, subject, questions, capacity, bundle, limits, watcher))
    options.finish(done.to_json(), show_run, out=out, html=html, is_json=is_json)


async def _run(
    scenario: Scenario,
    subject: Subject,
    questions: Questions,
    capacity: float | None,
    bundle: Path | None,
    limits: Limits,
    watcher: Watcher,
) -> Run:
    async with opened(subject, scenario.channels) as server:
        for event in scenario.events:  # before a search that takes minutes
            events.act(event, server, bundle)
        if scenario.unit == "capacity" and capacity is None:
            terms = Terms(questions, target_ms=scenario.target_ms, channels=scenario.channels, seed=scenario.seed)
            searched = await find_capacity(server, terms, watcher, SearchTerms(repeats=1))
            capacity = searched.median
            if not capacity:
                raise scenarios.ScenarioInvalid(f"{subject.name}: no rate passes, so there is no capacity to multiply")
        return await measure(
            scenario,
            plan(scenario, questions.texts, capacity, questions.source),
            server,
            limits=limits,
            bundle=bundle,
            on_second=lambda progress: watcher(f"{scenario.name}: {subject.name}", progress),
        )
