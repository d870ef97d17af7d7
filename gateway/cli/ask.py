"""`gateway ask`: one question to a running gateway, the answer for a person or as JSON."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console, Group
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gateway.cli.styles import ROUTES
from gateway.cli.target import connection, explained, given
from gateway.client import CallFailed, Client, as_json
from gateway.types import Answer, Criticality, Policy

BAR = 24  # characters of the longest stage


@click.command()
@click.argument("question")
@click.option("--collection", default="", help="Where to look.  [the server's default]")
@click.option("--policy", type=click.Choice([policy.value for policy in Policy]), help="[the server's default]")
@click.option(
    "--criticality", type=click.Choice([one.value for one in Criticality]), help="How much it matters.  [critical]"
)
@click.option("--request-id", default="", help="A name of your own for the request, returned as it is.")
@click.option(
    "--min-knowledge-version", type=click.IntRange(min=0), default=0, help="Of a write that the answer has to see."
)
@click.option("--json", "is_json", is_flag=True, help="Print the answer, or the error, with the keys of the API.")
@given(timeout_ms=1000)
def ask(
    question: str,
    collection: str,
    policy: str | None,
    criticality: str | None,
    request_id: str,
    min_knowledge_version: int,
    is_json: bool,
    **where: Any,
) -> None:
    """Ask a running gateway QUESTION. An abstention is an answer, and ends with exit code 0."""
    matters = Criticality(criticality) if criticality else None
    with Client(**connection(**where), criticality=matters) as client:
        try:
            answer = client.answer(
                question,
                collection=collection,
                policy=Policy(policy) if policy else None,
                request_id=request_id,
                min_knowledge_version=min_knowledge_version,
            )
        except CallFailed as error:
            failure = explained(error, where["target"])
            if not is_json:
                raise failure from None
            shown = {"code": error.code, "message": error.message, "reason": error.reason}
            click.echo(json.dumps({"error": shown}, ensure_ascii=False, indent=2))
            raise click.exceptions.Exit(failure.exit_code) from None
    if is_json:
        click.echo(as_json(answer, request_id))
    else:
        Console().print(rendered(answer))


def rendered(answer: Answer) -> Group:
    """The answer for a person: what, how sure, what it rests on, where the time went."""
    head = Text.assemble(
        (f" {answer.route.value} ", f"reverse {ROUTES[answer.route]}"),
        f"  {answer.reason.value}  ",
        (f"confidence {answer.confidence:.3f}", "bold"),
        (f"  (model's threshold {answer.threshold:.3f}, certificate {answer.certificate.value})", "dim"),
    )
    parts: list[Text | Padding] = [
        head,
        Padding(escape(answer.text) or "[dim]No answer was good enough to give.[/]", (1, 2)),
    ]
    if answer.suggestions:
        parts.append(Text(f"Nearest documents: {', '.join(answer.suggestions)}\n"))
    for number, citation in enumerate(answer.citations, 1):
        parts.append(Text.assemble((f"[{number}] {citation.title}", "bold"), (f"  {citation.uri}", "dim")))
        parts.append(Padding(Text(f"“{citation.quote.strip()}”", "italic"), (0, 4)))
    parts.append(Padding(timings(answer), (1, 0, 0, 0)))
    facts = f"{answer.policy.value} · bundle {answer.bundle} · knowledge version {answer.knowledge_version}"
    parts.append(Text(facts, "dim"))
    return Group(*parts)


def timings(answer: Answer) -> Table:
    table = Table.grid(padding=(0, 1))
    longest = max(answer.timings.values(), default=0.0) or 1.0
    for stage, seconds in answer.timings.items():
        table.add_row(stage, f"{seconds * 1000:8.3f} ms", Text("━" * round(BAR * seconds / longest), "cyan"))
    return table
