"""`gateway replay`: what another policy or bundle would have done with the questions of an audit log."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from gateway import assembly
from gateway.audit import reading
from gateway.audit.reading import Wanted
from gateway.audit.records import Kind
from gateway.cli.audit_options import located, moment, verdicts_in
from gateway.cli.main import Failure
from gateway.config import AuditSection, Config, DriftMode, DriftSection, load
from gateway.deadline import Deadline
from gateway.errors import UnknownCollection
from gateway.forge.replay import Asked, Pair, Prices, asked, compared
from gateway.rpc.service import Startable
from gateway.types import Policy

WAYS = ("now", "other", "difference")
PATIENCE = 60.0
"""Seconds for an answer: deadlines are no part of what is compared."""


@click.command()
@located
@click.option("--policy", type=click.Choice([one.value for one in Policy]), help="The other policy.  [as logged]")
@click.option("--bundle", type=click.Path(path_type=Path), help="The other bundle.  [the one of the settings]")
@click.option("--config", "file", type=click.Path(path_type=Path), help="The gateway's settings.  [GATEWAY_CONFIG]")
@click.option("--since", callback=moment, metavar="TIME", help="ISO 8601, or how long ago: 90s, 15m, 24h, 7d.")
@click.option("--until", callback=moment, metavar="TIME", help="As --since, which it does not include.")
@click.option("--tenant", help="Questions of one tenant.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the last so many.")
@click.option("--wrong", default=1.0, show_default=True, help="Price of a wrong answer, as its confidence expects it.")
@click.option("--handoff", default=0.25, show_default=True, help="Price of an abstention.")
@click.option("--second", default=0.0, show_default=True, help="Price of a second of work.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def replay(
    folder: Path,
    policy: str | None,
    bundle: Path | None,
    file: Path | None,
    since: str | None,
    until: str | None,
    tenant: str | None,
    limit: int | None,
    wrong: float,
    handoff: float,
    second: float,
    is_json: bool,
) -> None:
    """Answer the questions of an audit log anew, by the gateway's settings and by another --policy or --bundle, and
    compare, both as if their certificates had never gone stale. Only questions whose texts were kept
    (audit.text_tenants) can be; those of stored collections are left out.

    Prices are in any unit: the cost of an answer is what its own confidence expects it to be.
    """
    if policy is None and bundle is None:
        raise click.UsageError("name the other way: --policy, --bundle or both")
    wanted = Wanted(kind=Kind.ANSWER, since=since, until=until, tenant=tenant)
    found, without = asked(reading.records(folder, wanted, has_text=True))
    if not found:
        raise Failure(_nothing(folder, without))
    pairs, left_out = asyncio.run(_pairs(load(file, os.environ), bundle, policy, found[-limit:] if limit else found))
    if not pairs:
        raise Failure(f"{folder}: none of its {len(found)} questions is about a collection that is read from a folder")
    result = compared(pairs, verdicts_in(folder), Prices(wrong, handoff, second))
    result |= {"without_text": without, "in_other_collections": left_out, "policy": policy or "as logged"}
    if is_json:
        click.echo(json.dumps(result, indent=1))
    else:
        _show(result, Console())


def _nothing(folder: Path, without: int) -> str:
    if not without:
        return f"{folder}: has no answer of that time and tenant"
    return (
        f"{folder}: {without} answers, and the text of no question: they cannot be asked again. Texts are kept of the "
        "tenants in audit.text_tenants, from when that is set on"
    )


async def _pairs(
    config: Config, bundle: Path | None, policy: str | None, found: Sequence[Asked]
) -> tuple[list[Pair], int]:
    """What both ways answer, and how many questions are about collections that are not there.

    Both go by certificates that are fresh: what is asked again is no traffic, so that nothing watches it, and nothing
    is marked by it.
    """
    config = config.model_copy(
        update={
            "knowledge": config.knowledge.model_copy(update={"data": None}),
            "cascade": config.cascade.model_copy(update={"cached_answers": 0}),
            "drift": DriftSection(mode=DriftMode.OFF),
            "audit": AuditSection(),
        }
    )
    now = assembly.assemble(config)
    other = now
    if bundle is not None:
        model = config.model.model_copy(update={"bundle": bundle})
        other = assembly.assemble(config.model_copy(update={"model": model}))
    gateways = [now] if other is now else [now, other]
    for one in gateways:
        one.start()
    try:
        # One at a time, so that the stages' times are of one question each.
        with Progress(console=Console(stderr=True), transient=True) as progress:
            pairs = [
                await _pair(now, other, Policy(policy) if policy else one.question.policy, one)
                for one in progress.track(found, description="replayed")
            ]
    finally:
        for one in gateways:
            await one.close()
    known = [pair for pair in pairs if pair is not None]
    return known, len(found) - len(known)


async def _pair(now: Startable, other: Startable, policy: Policy, one: Asked) -> Pair | None:
    try:
        first = await now.answer(one.question, Deadline.after(PATIENCE))
        second = await other.answer(replace(one.question, policy=policy), Deadline.after(PATIENCE))
    except UnknownCollection:
        return None
    return Pair(one, first, second)


def _show(found: dict[str, Any], console: Console) -> None:
    changed = found["changed_since"]
    console.print(
        f"{found['questions']:,} questions, {found['different_questions']:,} different ones; {found['without_text']:,} "
        f"without text and {found['in_other_collections']:,} of other collections were left out",
        highlight=False,
    )
    console.print(
        f"since they were logged, {changed['route']:.1%} have another route and {changed['answer']:.1%} another answer",
        highlight=False,
    )
    table = Table("", *WAYS, box=box.SIMPLE_HEAD)
    for route, both in found["routes"].items():
        table.add_row(f"{route}, %", *(_cell(both[which], 100) for which in WAYS))
    table.add_section()
    table.add_row("expected cost", *(_cell(found["cost"][which]) for which in WAYS))
    table.add_row("work, ms", *(_cell(found["milliseconds"][which]) for which in WAYS))
    judged = found["judged"]
    if judged["questions"]:
        label = f"right, % of {judged['questions']:,} judged"
        table.add_row(label, *(_cell(judged["right"][which], 100) for which in WAYS))
    console.print(table)
    console.print(
        f"another route, %: {_cell(found['other_route'], 100)}; another answer, %: {_cell(found['other_answer'], 100)}",
        highlight=False,
    )
    for move in found["moves"]:
        console.print(f"  {move['from']} > {move['to']}: {move['questions']:,}", highlight=False)


def _cell(one: dict[str, float], scale: float = 1.0) -> Text:
    """A value, and between which it is in 95 % of the resamples."""
    value, low, high = (scale * one[name] for name in ("value", "low", "high"))
    return Text(f"{value:.3g} [{low:.3g}, {high:.3g}]")
