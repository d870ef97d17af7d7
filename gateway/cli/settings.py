"""`gateway config`: the settings as they are, where each comes from, and all that there are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from gateway.config import Config, traced

FILE = click.option("--config", "file", type=click.Path(path_type=Path), help="A TOML file of settings.")
DEFAULT = "default"


@click.group()
def config() -> None:
    """The settings of `gateway serve`: defaults < TOML file < environment (GATEWAY_<SECTION>__<KEY>) < its options."""


@config.command()
@FILE
@click.option("--origin", "has_origins", is_flag=True, help="Say where each comes from.")
@click.option("--changed", "only_changed", is_flag=True, help="Only those that are no default.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def show(file: Path | None, has_origins: bool, only_changed: bool, is_json: bool) -> None:
    """Every setting as a gateway that was started here and now would have it: a file of settings itself."""
    settings, origins = traced(file, os.environ)
    rows = [
        (section, key, value, _origin((section, key), origins))
        for section, keys in settings.model_dump(mode="json").items()
        for key, value in keys.items()
    ]
    rows = [row for row in rows if not only_changed or row[3] != DEFAULT]
    if is_json:
        shown = {f"{section}.{key}": {"value": value, "origin": origin} for section, key, value, origin in rows}
        plain = {name: one["value"] for name, one in shown.items()}
        click.echo(json.dumps(shown if has_origins else plain, indent=2))
        return
    last = ""
    for section, key, value, origin in rows:
        if section != last:
            click.echo(f"[{section}]" if not last else f"\n[{section}]")
            last = section
        line = f"# {key} is not set" if value is None else f"{key} = {_toml(value)}"
        click.echo(line + (f"  # {origin}" if has_origins else ""))


@config.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def check(file: Path) -> None:
    """Whether FILE holds settings that a gateway would take, with the environment as it is here. Exit code 2, and what
    is wrong, where it would not."""
    _, origins = traced(file, os.environ)
    settings = sum(origin == str(file) for origin in origins.values())
    click.echo(f"{file}: {settings} settings, all of them known and within their bounds")


@config.command()
def schema() -> None:
    """All settings with their kinds, bounds, defaults and what they mean, as JSON Schema: for editors and checkers."""
    click.echo(json.dumps(described(), indent=2))


def described() -> dict[str, Any]:
    """The JSON Schema of a file of settings, the same wherever it is made."""
    found = Config.model_json_schema()
    found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return found


def _origin(path: tuple[str, ...], origins: dict[tuple[str, ...], str]) -> str:
    """Of a table: of all that is in it."""
    found = sorted({origin for known, origin in origins.items() if known[: len(path)] == path})
    return ", ".join(found) or DEFAULT


def _toml(value: object) -> str:
    """A value as a file of settings has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
