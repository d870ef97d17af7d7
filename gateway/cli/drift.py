"""`gateway drift`: whether questions are still like those that the certificate was made with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from gateway.cli.admin_port import ADMIN, asked

TIMEOUT = 30.0
UNWATCHED = (
    "questions are not watched: drift.mode is off, or the bundle has no reference, "
    "which `gateway forge reference` makes"
)


@click.group()
def drift() -> None:
    """See whether questions have changed since the certificate was made, and begin anew."""


@drift.command()
@ADMIN
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def status(admin: str, is_json: bool) -> None:
    """Say how far questions are from the reference, and which alarms hold."""
    now = asked(f"http://{admin}/status", None, TIMEOUT)
    found = {name: now.get(name) for name in ("bundle", "certificate", "certificate_reason", "stale_parts", "drift")}
    click.echo(json.dumps(found, indent=2) if is_json else "\n".join(_told(found)))


@drift.command()
@ADMIN
def reset(admin: str) -> None:
    """Trust the certificate again, and compare anew from the next question on.

    For an alarm that you have looked into. What has really changed will raise it again.
    """
    now = asked(f"http://{admin}/drift", {"reset": True}, TIMEOUT)
    click.echo(f"{now['bundle']}: the certificate is {now['certificate']}; questions are compared anew")


def _told(now: dict[str, Any]) -> Iterator[str]:
    found = now["drift"]
    if not now["bundle"]:
        yield "no worker is ready"
        return
    yield f"{now['bundle']}: the certificate is {now['certificate']}"
    if now["certificate_reason"]:
        yield f"  because   {now['certificate_reason']}"
    for part, reason in (now["stale_parts"] or {}).items():
        yield f"  stale     for {part}: {reason}"
    if found is None:
        yield UNWATCHED
        return
    yield (
        f"{found['questions']:,} questions compared with {found['reference']:,}, {found['skipped']:,} left out; "
        f"{found['tenants']} tenants and {found['collections']} collections on their own"
    )
    for alarm in found["alarms"]:
        whose = "all questions" if alarm["scope"] == "all" else f"{alarm['scope']} {alarm['name']}"
        when = datetime.fromtimestamp(alarm["since"], UTC).isoformat(" ", "seconds")
        yield f"  ALARM     {alarm['monitor']} of {whose}, after {alarm['questions']:,} questions, {when}"
    for monitor, evidence in found["evidence"].items():
        yield f"  evidence  {monitor:<24} {evidence:+.1f} orders of magnitude (an alarm at 0)"
    for test, reading in found["readings"].items():
        yield f"  last few  {test:<24} {reading['statistic']:.4g}, p = {reading['p_value']:.2g}"
