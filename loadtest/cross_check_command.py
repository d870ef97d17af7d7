"""`cross-check`: our generator and h2load, one after the other, at the same rate."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from loadtest import h2load, options, trials
from loadtest.h2load import Answered
from loadtest.measure import measure
from loadtest.peers import ratio
from loadtest.plan import plan
from loadtest.results import Run
from loadtest.scenarios import LoadPart, PiecePart, Scenario
from loadtest.subjects import Subject, opened
from loadtest.summary import ALL
from loadtest.tables import show_cross_check
from loadtest.targets import OK
from loadtest.trials import Terms, Watcher

QUESTION = "Why was my card payment declined?"
COMPARED = ("per_second", "p50_ms", "p99_ms")


@click.command("cross-check", short_help="The same rate by h2load, beside our own generator.")
@click.option("--rate", type=click.FloatRange(min=1), required=True, help="Questions a second, below the capacity.")
@click.option("--question", default=QUESTION, show_default=True, help="The one that both ask, over and over.")
@options.given(*options.OPEN_SERVER)
@options.given(*options.TERMS, *options.HONESTY, *options.OUTPUT)
def cross_check(
    rate: float,
    question: str,
    out: Path | None,
    html: Path | None,
    is_json: bool,
    **others: Any,
) -> None:
    """Ask one question at one even rate, by our own generator and then by h2load, on the same server.

    h2load is a closed loop, whose --rps gives it a pace: below the capacity, and only there, that is a constant rate.
    It counts from the send, so it is compared with our latency from the send, and not from the intended start; and it
    takes a refusal for an answer, so the rate must be one at which ours are all answered, or the result is invalid.
    """
    subject = options.subject(others)
    terms = replace(options.terms((), **others), channels=1)  # as h2load has
    with options.watching() as watcher:
        found = options.run(_both(subject, terms, watcher, rate, question))
    options.finish(found, show_cross_check, out=out, html=html, is_json=is_json)


async def _both(subject: Subject, terms: Terms, watcher: Watcher, rate: float, question: str) -> dict[str, Any]:
    h2load.program()  # before anything is started
    seconds, warmup = round(terms.seconds), round(terms.warmup)
    pieces = (PiecePart(seconds=warmup + seconds, rate=rate),)
    scenario = Scenario(
        name="cross-check",
        summary=f"{rate:g}/s, evenly",
        target_ms=terms.target_ms,
        warmup_seconds=warmup,
        channels=terms.channels,
        load=(LoadPart(name="all", process="constant", pieces=pieces, timeout_ms=terms.timeout_ms),),
    )
    async with opened(subject, terms.channels) as server:
        ours = await measure(
            scenario,
            plan(scenario, [question]),
            server,
            limits=terms.limits,
            on_second=lambda progress: watcher(f"{subject.name}, {rate:g}/s", progress),
        )
        theirs = await h2load.asked(question, subject.address, rate, seconds, warmup, terms.timeout_ms)
    heading = trials.heading("cross-check", subject.name, terms) | {"questions": 1, "question_source": question}
    return heading | compared(ours, theirs, rate)


def compared(ours: Run, theirs: Answered, rate: float) -> dict[str, Any]:
    """Both as rows, and h2load's numbers as multiples of ours."""
    whole = ours.numbers()["loads"][ALL]
    from_send = whole["milliseconds_from_send"]
    row = {"per_second": whole["ok_per_second"]} | {f"{name}_ms": from_send[name] for name in ("p50", "p99", "max")}
    faults = [*ours.faults]
    if whole["statuses"].keys() != {OK}:
        faults.append(f"at {rate:g}/s not every question is answered, and h2load cannot tell: {whole['statuses']}")
    if theirs.failed:
        faults.append(f"h2load: {theirs.failed} calls without HTTP 200")
    other = asdict(theirs)
    return {
        "valid": not faults,
        "faults": faults,
        "rate": rate,
        "rows": [{"generator": "ours, from the send", **row}, {"generator": "h2load", **other}],
        "ratios": {name: ratio(other[name], row[name]) for name in COMPARED},
    }
