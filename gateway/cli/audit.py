"""`gateway audit`: what the gateway has answered, read from its audit log; and whether that is as it was written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.audit import reading
from gateway.audit.marks import KEY_FILE, Marker, key_of
from gateway.audit.reading import Record, Wanted
from gateway.audit.records import Kind, stamp
from gateway.audit.segments import chains
from gateway.audit.verifying import Findings, verify
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


@click.group(short_help="Read and verify the log of what was answered.")
def audit() -> None:
    """Read the audit log of a gateway that keeps one, on its own machine, beside it or after it:

    GATEWAY_AUDIT__FOLDER=audit gateway serve
    """


def located(command: Command) -> Command:
    """--folder, which becomes the folder that there is."""

    def found(_: click.Context, __: click.Parameter, given: Path | None) -> Path:
        folder = given or load(environment=os.environ).audit.folder
        if folder is None:
            raise ConfigInvalid("no audit log is named: give --folder, or set audit.folder (GATEWAY_AUDIT__FOLDER)")
        if not folder.is_dir():
            raise ConfigInvalid(f"{folder}: is no folder: name that of the gateway's audit.folder")
        return folder

    return click.option(
        "--folder", type=click.Path(path_type=Path), callback=found, help="The audit log's.  [audit.folder]"
    )(command)


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
    if ago := _AGO.fullmatch(given):
        return stamp((datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})).timestamp())
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise click.BadParameter("must be a time of ISO 8601, or how long ago: 90s, 15m, 24h, 7d") from None
    return stamp((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


@audit.command()
@located
@filtered
@click.option("-n", "--count", type=click.IntRange(min=0), default=20, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
def tail(folder: Path, count: int, follow: bool, is_json: bool, **wanted: Any) -> None:
    """The last records."""
    sought = Wanted(**wanted)
    if count:
        _show(reading.last(folder, sought, count), is_json)
    if follow:
        for record in reading.followed(folder, sought):
            _show([record], is_json)


@audit.command()
@located
@filtered
@click.option("--since", callback=moment, metavar="TIME", help="ISO 8601, or how long ago: 90s, 15m, 24h, 7d.")
@click.option("--until", callback=moment, metavar="TIME", help="As --since, which it does not include.")
@click.option("--text", "has_text", is_flag=True, help="With the questions' texts, where they were kept.")
def query(folder: Path, has_text: bool, is_json: bool, **wanted: Any) -> None:
    """Records by time, route, tenant, label or id, the oldest first."""
    _show(reading.records(folder, Wanted(**wanted), has_text), is_json)


@audit.command("verify")
@located
@click.option("--known", multiple=True, metavar="WORKER:SEQ:SHA256", help="A head that was noted before; repeatable.")
@click.option("--key", type=click.Path(path_type=Path), help="The key, if it is not in the folder.  [audit.key]")
def verify_(folder: Path, known: tuple[str, ...], key: Path | None) -> None:
    """Whether nothing was changed, taken out or put in. Exit code 1 if something was.

    A chain shows that by itself for all but its end: whoever may write the folder can cut that off, or make the whole
    anew. So note the heads that this prints somewhere else, and give them to the next run with --known.
    """
    heads = [_known(one) for one in known]
    key = key or load(environment=os.environ).audit.key
    has_key = key is not None or (folder / KEY_FILE).exists()
    marker = Marker(key_of(folder, key), 0.0) if has_key else None
    found = [
        verify(chain, marker, {seq: sha256 for worker, seq, sha256 in heads if worker == chain.name})
        for chain in chains(folder)
    ]
    if not found:
        raise Failure(f"{folder}: holds no chain: no gateway has kept its audit log there")
    for one in found:
        _tell(one)
    if marker is None:
        click.echo("no key: ids, draws and texts were not checked; name it with --key")
    if any(one.faults for one in found):
        raise click.exceptions.Exit(1)


def _known(given: str) -> tuple[str, int, str]:
    worker, _, rest = given.partition(":")
    seq, _, sha256 = rest.partition(":")
    if not (worker.isdigit() and seq.isdigit() and re.fullmatch("[0-9a-f]{64}", sha256)):
        raise click.BadParameter(f"{given}: must be WORKER:SEQ:SHA256, as `gateway audit verify` prints it")
    return worker, int(seq), sha256


def _tell(found: Findings) -> None:
    span = f"records {found.first} to {found.head.seq}" if found.records else "no records"
    click.echo(f"{found.folder.name}:{found.head.seq}:{found.head.sha256}  {span}")
    if found.torn:
        click.echo(
            f"  {found.torn} bytes of a torn record after {found.head.seq}: it is being written, or a crash has left "
            "it, and the next start goes on before it"
        )
    if found.dropped or found.crashes:
        click.echo(f"  {found.dropped} records were dropped, for want of room; {found.crashes} ends were crashes")
    for fault in found.faults:
        click.echo(f"  {fault}")


def _show(found: Iterable[Record], is_json: bool) -> None:
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
