"""`run`: one scenario against one server."""

from __future__ import annotations

from pathlib import Path

import click

from loadtest import options, scenarios
from loadtest.honesty import Limits
from loadtest.measure import measure
from loadtest.plan import plan
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
@options.given(*options.HONESTY, *options.OUTPUT)
def run(
    scenario: str,
    sources: tuple[Path, ...],
    target: str | None,
    serve: str | None,
    protocol: str,
    is_owned: bool,
    capacity: float | None,
    max_late_ms: float,
    max_cpu: float,
    out: Path | None,
    html: Path | None,
    is_json: bool,
) -> None:
    """Ask what SCENARIO says: the name of a shipped one, or a TOML file.

    Exit code 1 if the run is invalid: the generator was late or starved.
    """
    with options.shown_errors():
        found = scenarios.read(scenario)
    subject = options.subject(target, serve, protocol, is_owned=is_owned)
    questions = options.questions(sources)
    limits = Limits(max_late_ms, max_cpu)
    with options.watching() as watcher:
        done = options.run(_run(found, subject, questions, capacity, limits, watcher))
    options.finish(done.to_json(), show_run, out=out, html=html, is_json=is_json)


async def _run(
    scenario: Scenario,
    subject: Subject,
    questions: list[str],
    capacity: float | None,
    limits: Limits,
    watcher: Watcher,
) -> Run:
    async with opened(subject, scenario.channels) as server:
        if scenario.unit == "capacity" and capacity is None:
            terms = Terms(questions, target_ms=scenario.target_ms, channels=scenario.channels, seed=scenario.seed)
            searched = await find_capacity(server, terms, watcher, SearchTerms(repeats=1))
            capacity = searched.median
            if not capacity:
                raise scenarios.ScenarioInvalid(f"{subject.name}: no rate passes, so there is no capacity to multiply")
        return await measure(
            scenario,
            plan(scenario, questions, capacity),
            server.target,
            subject.name,
            limits=limits,
            process=server.process,
            on_second=lambda progress: watcher(f"{scenario.name}: {subject.name}", progress),
        )
