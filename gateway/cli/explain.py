"""`gateway explain`: one question through the tiers, with every number that the decision rests on."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gateway import assembly, doubts
from gateway.cascade.explanation import Explanation, explain
from gateway.cascade.standing import CertificateStanding
from gateway.cli.announcement import STYLES as STATUS_STYLES
from gateway.cli.ask import timings
from gateway.cli.styles import ROUTES
from gateway.config import Config, load
from gateway.deadline import Deadline
from gateway.errors import ConfigInvalid, DeadlineExceeded
from gateway.types import Policy, Principal, Question

BAR = 24
"""Characters of a probability of 1."""


@click.command(name="explain")
@click.argument("question")
@click.option("--config", "file", type=click.Path(path_type=Path), help="A TOML file of settings, as for serve.")
@click.option("--bundle", help="Folder of the model bundle.  [models/banking/1]")
@click.option("--collection", help="Where to look.  [the first that is configured]")
@click.option("--policy", type=click.Choice([policy.value for policy in Policy]), help="[the configured one]")
@click.option("--timeout-ms", type=click.FloatRange(min=0, min_open=True), default=1000.0, show_default=True)
@click.option("--group", "groups", multiple=True, help="A group that the asker is in; may be repeated.")
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def explain_(
    question: str,
    file: Path | None,
    bundle: str | None,
    collection: str | None,
    policy: str | None,
    timeout_ms: float,
    groups: tuple[str, ...],
    is_json: bool,
) -> None:
    """Answer QUESTION here, by the settings that `serve` would take, and say why it comes out as it does.

    Nothing has to run, and nothing is written. Collections from folders are searched; stored ones are a running
    gateway's.
    """
    if not question.strip():
        raise click.UsageError("QUESTION is empty")
    config = load(file, os.environ, {"model.bundle": bundle, "cascade.default_policy": policy})
    asked = Principal(groups=frozenset(groups))
    try:
        found = asyncio.run(_explained(config, question, collection, asked, timeout_ms / 1000))
    except DeadlineExceeded as error:
        raise click.ClickException(f"{error}: allow more time with --timeout-ms") from None
    if is_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=1, ensure_ascii=False))
    else:
        Console().print(rendered(question, found))


async def _explained(
    config: Config, text: str, collection: str | None, principal: Principal, seconds: float
) -> Explanation:
    engine = assembly.load_engine(config)
    collections = assembly.served(config.knowledge, engine.bundle)
    if collection and collection not in collections:
        raise ConfigInvalid(f"--collection {collection}: served would be {', '.join(sorted(collections)) or 'none'}")
    library = assembly.load_library(engine, collections, assembly.cache_folder(), config.knowledge.language)
    name = collection or (config.knowledge.default if collections else "")
    question = Question(text, name, principal, config.cascade.default_policy)
    standing = CertificateStanding(doubts.of(config, engine.bundle.manifest_sha256))
    engine.start()
    try:
        # Once before: the first of everything is slow, and is not what a served question takes.
        for _ in range(2):
            found = await explain(engine, library, engine.profile(), question, Deadline.after(seconds), standing)
        return found
    finally:
        await engine.stop()


def rendered(question: str, found: Explanation) -> RenderableType:
    """For a person: what came out, and tier by tier why."""
    answer = found.answer
    head = Text.assemble(
        (f" {answer.route.value} ", f"reverse {ROUTES[answer.route]}"),
        f"  {answer.reason.value}  ",
        (f"confidence {answer.confidence:.3f}", "bold"),
        (f"  {answer.document_id or answer.label}", "dim"),
    )
    parts: list[RenderableType] = [Text(question, "italic"), head]
    if answer.text:
        parts.append(Padding(Text(answer.text), (0, 2)))
    for one in found.tried:
        has = "answered" if one.answered else "did not answer" if one.has_run else "was skipped"
        parts.append(Text.assemble((f"\n{one.tier} ", "bold"), (f"{has}: ", "dim"), one.why))
        parts.append(Padding(_details(one.tier, found), (0, 2)))
    parts += [Text("\ntime", "bold"), Padding(timings(answer), (0, 2))]
    parts.append(Text(f"{answer.policy.value} · bundle {answer.bundle}", "dim"))
    return Group(*parts)


def _details(tier: str, found: Explanation) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for row in _of_model(found) if tier == "model" else _of_retrieval(found):
        table.add_row(*row)
    return table


def _of_model(found: Explanation) -> Iterator[tuple[RenderableType, ...]]:
    for name, probability in found.labels:
        yield name, f"{probability:.3f}", Text("━" * round(BAR * probability), "cyan")
    heard = "having heard the search" if found.is_informed else "by its own outputs"
    yield "confidence", f"{found.confidence:.3f}", heard
    if found.is_informed:
        yield "  without a search", f"{found.alone:.3f}"
    yield "threshold", f"{found.threshold:.3f}", f"while stale {found.certificate.stale_threshold:.3f}"
    yield "certificate", *_certificate(found)
    for name, value in found.features.items():
        yield name.replace("_", " "), f"{value:.3f}", _meaning(name, value, found)
    yield "its document", found.standing.value


def _certificate(found: Explanation) -> tuple[RenderableType, str]:
    given = found.certificate
    status = Text(given.status.value, STATUS_STYLES[given.status])
    if not given.risk:
        return status, "nothing is promised"
    return status, f"{given.group}: at most {given.risk:.1%} wrong, up to {given.oos_share:.1%} out of scope"


def _meaning(name: str, value: float, found: Explanation) -> str:
    """Of a feature, in words; empty for one that says no more than its name."""
    if name == "prototype":
        side = "in scope" if value >= found.scope_floor else "out of scope"
        return f"cosine to its nearest centre: {side} (floor {found.scope_floor:.3f})"
    return {
        "log_odds": "of the likeliest label",
        "prototype_gap": "ahead of other labels' centres",
        "own": "cosine of its document",
        "lead": "ahead of documents without a label",
    }.get(name, "")


def _of_retrieval(found: Explanation) -> Iterator[tuple[RenderableType, ...]]:
    for document, similarity in found.documents:
        yield document, f"{similarity:.3f}", Text("━" * round(BAR * max(0.0, similarity)), "cyan")
    if found.evidence is not None:
        yield "confidence", f"{found.evidence:.3f}"
        yield "threshold", f"{found.evidence_threshold:.3f}"
