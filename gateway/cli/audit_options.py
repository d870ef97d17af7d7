"""Options that the commands of `gateway audit` have in common, and how they show records."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import click

from gateway.audit.cases import FILE, Cases, Verdict
from gateway.audit.reading import Record
from gateway.audit.records import Kind, stamp
from gateway.audit.segments import chains
from gateway.cli.main import Failure
from gateway.config import load
from gateway.errors import ConfigInvalid
from gateway.types import Route

SHOWN_ID = 12
"""Digits of an answer's id in a line."""
NOT_SHOWN = frozenset({"seq", "prev", "kind", "time", "id"})
_AGO = re.compile(r"(\d+)([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
Command = TypeVar("Command", bound=Callable[..., object])


def located(command: Command) -> Command:
    """--folder, which becomes the folder that there is."""
    return click.option(
        "--folder",
        type=click.Path(path_type=Path),
        callback=lambda _, __, given: the_folder(given),
        help="The audit log's.  [audit.folder]",
    )(command)


def the_folder(given: Path | None) -> Path:
    """That one, or that of the settings. Raises ConfigInvalid unless there is one."""
    folder = given or load(environment=os.environ).audit.folder
    if folder is None:
        raise ConfigInvalid("no audit log is named: give --folder, or set audit.folder (GATEWAY_AUDIT__FOLDER)")
    if not folder.is_dir():
        raise ConfigInvalid(f"{folder}: is no folder: name that of the gateway's audit.folder")
    return folder


def check_kept(folder: Path) -> None:
    """Raises Failure where there is nothing to read."""
    if not chains(folder):
        raise Failure(f"{folder}: holds no chain: no gateway has kept its audit log there")


def verdicts_in(folder: Path) -> dict[str, Verdict]:
    """By the answers' ids."""
    if not (folder / FILE).exists():
        return {}
    with closing(Cases(folder)) as cases:
        return {one.id: one for one in cases.verdicts()}


def filtered(command: Command) -> Command:
    for option in reversed(
        (
            click.option("--route", type=click.Choice([one.value for one in Route])),
            click.option("--tenant"),
            click.option("--label", help="The model's label that was answered with."),
            click.option("--request-id", help="The caller's own name of the request."),
            click.option("--id", help="The answer's, as the answer said it (audit_id)."),
            click.option("--kind", type=click.Choice([one.value for one in Kind]), help="[any]"),
            click.option("--json", "is_json", is_flag=True, help="Print whole records, a line each."),
        )
    ):
        command = option(command)
    return command


def moment(_: click.Context, __: click.Parameter, given: str | None) -> str | None:
    """An instant in ISO 8601, or how long ago it is: 90s, 15m, 24h, 7d."""
    if given is None:
        return None
    try:
        if ago := _AGO.fullmatch(given):
            return stamp((datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})).timestamp())
        at = datetime.fromisoformat(given)
    except (ValueError, OverflowError):
        raise click.BadParameter("must be a time of ISO 8601, or how long ago: 90s, 15m, 24h, 7d") from None
    return stamp((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def show(found: Iterable[Record], is_json: bool) -> None:
    for record in found:
        click.echo(json.dumps(record, ensure_ascii=False) if is_json else _line(record))


def _line(record: Record) -> str:
    """For people: when, which, whose, and what came of it."""
    at = str(record.get("time", ""))[:23].replace("T", " ")
    begin = f"{at}  {str(record.get('id', ''))[:SHOWN_ID]:{SHOWN_ID}}  "
    if record.get("kind") != Kind.ANSWER:
        rest = {name: value for name, value in record.items() if name not in NOT_SHOWN}
        return f"{begin}{record.get('kind')}: {', '.join(f'{name} {value}' for name, value in rest.items())}"
    what = record["document"] or record["label"] or "-"
    drawn = "  drawn" if record["drawn"] else ""
    text = f"  {record['text']!r}" if "text" in record else ""
    return (
        f"{begin}{record['tenant']}  {record['route']} {record['reason']} {record['confidence']:.3f}  {what}  "
        f"{record['us'] / 1000:.1f} ms{drawn}{text}"
    )
