"""`gateway audit`: what the gateway has answered, read from its audit log; and whether that is as it was written."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from gateway.audit import forgetting, reading
from gateway.audit.marks import KEY_FILE, Marker, key_of
from gateway.audit.reading import Wanted
from gateway.audit.segments import chains
from gateway.audit.verifying import Findings, verify
from gateway.cli.audit_cases import pending, plan, report
from gateway.cli.audit_options import check_kept, filtered, located, moment, show
from gateway.config import load


@click.group(short_help="Read and verify the log of what was answered.")
def audit() -> None:
    """Read the audit log of a gateway that keeps one, on its own machine, beside it or after it:

    GATEWAY_AUDIT__FOLDER=audit gateway serve
    """


for each in (pending, report, plan):
    audit.add_command(each)


@audit.command()
@located
@filtered
@click.option("-n", "--count", type=click.IntRange(min=0), default=20, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
def tail(folder: Path, count: int, follow: bool, is_json: bool, **wanted: Any) -> None:
    """The last records."""
    check_kept(folder)
    sought = Wanted(**wanted)
    if count:
        show(reading.last(folder, sought, count), is_json)
    if follow:
        for record in reading.followed(folder, sought):
            show([record], is_json)


@audit.command()
@located
@filtered
@click.option("--since", callback=moment, metavar="TIME", help="ISO 8601, or how long ago: 90s, 15m, 24h, 7d.")
@click.option("--until", callback=moment, metavar="TIME", help="As --since, which it does not include.")
@click.option("--text", "has_text", is_flag=True, help="With the questions' texts, where they were kept.")
def query(folder: Path, has_text: bool, is_json: bool, **wanted: Any) -> None:
    """Records by time, route, tenant, label or id, the oldest first."""
    check_kept(folder)
    show(reading.records(folder, Wanted(**wanted), has_text), is_json)


@audit.command()
@located
@click.option("--tenant", required=True, help="Whose questions and comments go.")
@click.option("--until", callback=moment, metavar="TIME", help="Only those before: ISO 8601, or how long ago.")
def forget(folder: Path, tenant: str, until: str | None) -> None:
    """Overwrite the texts of a tenant's questions, and the comments of its feedback; also beside a gateway that runs.

    The records stay and the chain verifies: of each question there is a keyed hash in it. Copies are not reached.
    """
    check_kept(folder)
    before = datetime.fromisoformat(until).timestamp() if until else None
    click.echo(f"{forgetting.forget(folder, tenant, before)} texts of {tenant} are gone")


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
    check_kept(folder)
    key = key or load(environment=os.environ).audit.key
    has_key = key is not None or (folder / KEY_FILE).exists()
    marker = Marker(key_of(folder, key), 0.0) if has_key else None
    found = [
        verify(chain, marker, {seq: sha256 for worker, seq, sha256 in heads if worker == chain.name})
        for chain in chains(folder)
    ]
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
