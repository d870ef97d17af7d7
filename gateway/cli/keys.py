"""`gateway keys`: who may call a gateway, in a file that holds no key."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path

import click
from pydantic import ValidationError

from gateway.access import keys as files
from gateway.access.grants import Scope
from gateway.access.keys import Entry
from gateway.cli.main import Failure
from gateway.types import Criticality

FILE = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    envvar="GATEWAY_ACCESS__KEYS",
    show_envvar=True,
    help="The file of callers: access.keys of the gateway.",
)
USUAL = (Scope.ASK, Scope.SEARCH, Scope.FEEDBACK)


@click.group()
def keys() -> None:
    """Create, list and revoke API keys. A gateway that serves by the file notices within seconds."""


@keys.command()
@click.argument("name")
@FILE
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    default=[scope.value for scope in USUAL],
    show_default=True,
    help="What it is for; may be repeated.",
)
@click.option(
    "--tenant",
    "tenants",
    multiple=True,
    default=["default"],
    show_default=True,
    help="Whose; may be repeated, and the first is meant where a call names none. '*': any.",
)
@click.option("--group", "groups", multiple=True, help="A group that it is in; may be repeated. '*': any.")
@click.option(
    "--criticality",
    type=click.Choice([one.value for one in Criticality]),
    default=Criticality.CRITICAL.value,
    show_default=True,
    help="The highest that its calls may say.",
)
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="How long it holds.  [until it is revoked]")
@click.option(
    "--certificate-name",
    help="No key: the DNS name or URI in a client's certificate, which tells who calls (tls.client_ca).",
)
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def create(
    name: str,
    file: Path,
    scopes: tuple[str, ...],
    tenants: tuple[str, ...],
    groups: tuple[str, ...],
    criticality: str,
    days: float | None,
    certificate_name: str | None,
    is_json: bool,
) -> None:
    """Let a caller in, NAME for you to know it by, and print its API key. Nobody can read that a second time."""
    with files.changing(file) as entries:
        key_id = files.new_id(entries)
        key = None if certificate_name else files.new_key(key_id)
        created = files.now()
        entries.append(
            _entry(
                id=key_id,
                name=name,
                sha256=files.digest_of(key).hex() if key else None,
                certificate_name=certificate_name,
                scopes=scopes,
                tenants=tenants,
                groups=groups,
                criticality=criticality,
                created=created,
                expires=None if days is None else created + timedelta(days=days),
            )
        )
        if certificate_name and _is_taken(entries):
            raise Failure(f"{file}: {certificate_name} has a caller already; revoke that one first")
    if is_json:
        click.echo(json.dumps({"id": key_id, "key": key}))
        return
    click.echo(f"{file}: {name} is caller {key_id}", err=True)
    if key:
        click.echo("its key, which is kept nowhere; clients take it from GATEWAY_API_KEY or --api-key-file:", err=True)
        click.echo(key)


def _entry(**given: object) -> Entry:
    try:
        return Entry.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = first["msg"].removeprefix("Value error, ")
        raise click.UsageError(f"{'.'.join(map(str, first['loc'][:1]))}: {what}") from None


def _is_taken(entries: list[Entry]) -> bool:
    """Whether the last one has the name of another that is not revoked."""
    names = [one.certificate_name for one in entries if one.revoked is None]
    return names.count(entries[-1].certificate_name) > 1


@keys.command("list")
@FILE
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def list_(file: Path, is_json: bool) -> None:
    """Say who is in the file, with what rights, and until when."""
    callers, now = files.read(file).callers, time.time()
    if is_json:
        shown = [one.model_dump(mode="json", exclude={"sha256"}) | {"state": one.state(now)} for one in callers]
        click.echo(json.dumps(shown, indent=2))
        return
    for one in callers:
        click.echo("\n".join(_shown(one, now)))


def _shown(one: Entry, now: float) -> Iterator[str]:
    until = f" until {one.expires.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if one.expires else ""
    yield f"{one.id}  {one.name}: {one.state(now)}{until}"
    scopes = " ".join(scope for scope in Scope if scope in one.scopes)
    groups = f", groups {' '.join(sorted(one.groups))}" if one.groups else ""
    yield f"          {scopes}; tenants {' '.join(one.tenants)}{groups}; at most {one.criticality.value}"
    if one.certificate_name:
        yield f"          by the certificate of {one.certificate_name}"


@keys.command()
@click.argument("key_id", metavar="ID")
@FILE
def revoke(key_id: str, file: Path) -> None:
    """Let the caller with that ID in no more. Its calls fail from the moment that the gateway has read the file."""
    with files.changing(file) as entries:
        at = next((at for at, one in enumerate(entries) if one.id == key_id), None)
        if at is None:
            raise Failure(f"{file}: there is no caller {key_id}; `gateway keys list` names them")
        if entries[at].revoked is None:
            entries[at] = entries[at].model_copy(update={"revoked": files.now()})
    click.echo(f"{entries[at].name} ({key_id}) is revoked")
