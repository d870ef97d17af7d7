"""`gateway swap`: another bundle for a running gateway, by its admin port."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from gateway.cli.admin_port import ADMIN, asked
from gateway.types import Agreement

SHADOW = "Let the bundle in FOLDER see that share of the questions, 0 to 1, and answer nobody."
STILL_LOADING = (
    "it may be loading still, and then serves the bundle: `gateway swap --status` says how far it is. Wait longer with "
    "--timeout"
)


@click.command()
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--back", is_flag=True, help="Serve the bundle again that was served before, if it has not changed.")
@click.option("--shadow", type=click.FloatRange(0, 1, min_open=True), metavar="SHARE", help=SHADOW)
@click.option("--end-shadow", is_flag=True, help="Let no bundle see questions beside the one that serves.")
@click.option("--status", is_flag=True, help="Change nothing: say what serves, and how its shadow compares.")
@ADMIN
@click.option("--timeout", default=120.0, show_default=True, help="Seconds to wait for it.")
@click.option("--json", "is_json", is_flag=True, help="Print what serves now as JSON.")
def swap(
    folder: Path | None,
    back: bool,
    shadow: float | None,
    end_shadow: bool,
    status: bool,
    admin: str,
    timeout: float,
    is_json: bool,
) -> None:
    """Serve the bundle in FOLDER from the next question on; nothing changes if it is not fit to be served.

    It is loaded, verified and warmed beside the one that serves, and what is stored is embedded by it. FOLDER is read
    by the server, on its machine.
    """
    if [folder is not None, back, end_shadow, status].count(True) != 1:
        raise click.UsageError("name a FOLDER, or say one of --back, --end-shadow and --status")
    if shadow is not None and folder is None:
        raise click.UsageError("--shadow is of a FOLDER: name it")
    url = f"http://{admin}"
    if status:
        now = asked(f"{url}/status", None, timeout, STILL_LOADING)
    elif end_shadow:
        now = asked(f"{url}/shadow", {"end": True}, timeout, STILL_LOADING)
    elif shadow is not None:
        now = asked(f"{url}/shadow", {"folder": _path(folder), "share": shadow}, timeout, STILL_LOADING)
    else:
        now = asked(f"{url}/bundle", {"back": True} if back else {"folder": _path(folder)}, timeout, STILL_LOADING)
    if is_json:
        click.echo(json.dumps(now, indent=2))
        return
    for line in _status(now) if status else _told(now, shadow):
        click.echo(line)


def _path(folder: Path | None) -> str:
    return "" if folder is None else str(folder.resolve())


def _told(now: dict[str, Any], share: float | None) -> Iterator[str]:
    """Of a bundle that serves from now on or, where it was given a `share`, of one that was made a shadow."""
    if not now:
        yield "no bundle sees questions beside the one that serves"
        return
    yield (
        _named(now)
        if share is None
        else (f"{_named(now)}, sees {share:.1%} of the questions; `gateway swap --status` compares")
    )


def _named(now: dict[str, Any]) -> str:
    return f"{now['bundle']} ({now['bundle_sha256'][:12]}), {now['precision']} on {now['provider']}"


def _status(now: dict[str, Any]) -> Iterator[str]:
    if "bundle" not in now:
        yield "no worker is ready"
        return
    yield _named(now)
    stored = now.get("stored") or {}
    if not stored.get("is_encoder_current", True):
        yield "the log has switched stored collections to another encoder, and this is still searched by its own"
    if (backfill := stored.get("backfill") or {}).get("total"):
        yield f"{backfill['bundle']}: {backfill['done']:,} of {backfill['total']:,} stored documents are embedded by it"
    if shadow := now.get("shadow"):
        yield from _compared(shadow)


def _compared(shadow: dict[str, Any]) -> Iterator[str]:
    """What an operator decides by."""
    answers, searches, hits = shadow["answers"], shadow["searches"], shadow["hits"]
    yield f"beside it {shadow['bundle']} sees {shadow['share']:.1%} of the questions"
    total = sum(answers.values())
    parts = [f"{answers.get(one.value, 0):,} {one.value.replace('_', ' ')}" for one in Agreement]
    yield f"  answers   {total:,}: " + ", ".join(parts)
    for move, count in sorted(shadow["moves"].items(), key=lambda one: -one[1]):
        yield f"            {move}: {count:,}"
    if searches:
        first, shared = shadow["same_first"] / searches, shadow["shared"] / hits if hits else 1.0
        yield f"  searches  {searches:,}: the same first for {first:.1%}, and {shared:.1%} of the ten best are shared"
