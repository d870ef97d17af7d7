"""A file of callers, as the command line makes it."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from gateway.cli.main import cli


def run(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["keys", *arguments, "--file", str(file)])


def created(file: Path, *arguments: str) -> str:
    """A key."""
    found: dict[str, str] = json.loads(run(file, "create", "one", "--json", *arguments).stdout)
    return found["key"]
