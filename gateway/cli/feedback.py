"""`gateway feedback`: says whether an answer of a running gateway was right, or many at once from a file."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import click

from gateway.cli.main import Failure
from gateway.cli.target import client_at, given
from gateway.client import Client

VERDICTS = ("correct", "incorrect")
KEYS = frozenset({"id", "tenant", "verdict", "label", "document", "no_answer", "comment"})


@click.command()
@click.argument("audit_id", required=False)
@click.argument("verdict", required=False, type=click.Choice(VERDICTS))
@click.option("--label", default="", help="The label that would have been right.")
@click.option("--document", default="", help="The document that would have been right.")
@click.option("--no-answer", is_flag=True, help="Nothing there answers the question.")
@click.option("--comment", default="", help="Kept only where the gateway keeps the tenant's texts.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Verdicts as JSON lines instead: id and verdict, and tenant, label, document, no_answer, comment.",
)
@given()
def feedback(
    audit_id: str | None,
    verdict: str | None,
    label: str,
    document: str,
    no_answer: bool,
    comment: str,
    file: Path | None,
    **where: Any,
) -> None:
    """Say that the answer called AUDIT_ID was correct or incorrect, as the tenant that it was given to. `gateway audit
    pending` names those that chance has drawn to be judged. The last word on an answer counts."""
    if (file is None) == (audit_id is None) or (audit_id is None) != (verdict is None):
        raise click.UsageError("name an answer and a verdict, or a --file of them")
    if file is not None:
        changed, total = _give(_read(file), where)
        click.echo(f"{total} verdicts, {changed} of them new")
        return
    one = {"id": audit_id, "verdict": verdict, "label": label, "document": document, "no_answer": no_answer}
    changed, _ = _give([one | {"comment": comment}], where)
    click.echo("taken" if changed else "known already")


def _give(verdicts: list[dict[str, Any]], where: dict[str, Any]) -> tuple[int, int]:
    """How many were new, and how many there are. Each is of its own tenant, or else of the one that was named."""
    changed = 0
    by_tenant = defaultdict(list)
    for one in verdicts:
        by_tenant[one.get("tenant") or where["tenant"]].append(one)
    for tenant, some in by_tenant.items():
        with client_at(**where | {"tenant": tenant}) as client:
            changed += sum(_is_new(client, one) for one in some)
    return changed, len(verdicts)


def _is_new(client: Client, one: dict[str, Any]) -> bool:
    return client.feedback(
        str(one["id"]),
        is_correct=one["verdict"] == "correct",
        label=one.get("label") or "",
        document_id=one.get("document") or "",
        no_answer=bool(one.get("no_answer")),
        comment=one.get("comment") or "",
    )


def _read(file: Path) -> list[dict[str, Any]]:
    """Raises Failure, naming the line, before anything is given."""
    verdicts = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError:
            raise Failure(f"{file}:{number}: is no JSON; one object a line is wanted") from None
        if not isinstance(found, dict) or "id" not in found or found.get("verdict") not in VERDICTS:
            raise Failure(f"{file}:{number}: needs an id, and a verdict of {' or '.join(VERDICTS)}")
        if unknown := found.keys() - KEYS:
            raise Failure(f"{file}:{number}: has no key {min(unknown)!r}; there are {', '.join(sorted(KEYS))}")
        verdicts.append(found)
    return verdicts
