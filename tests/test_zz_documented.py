"""What the documents tell people to type: it is there, as it is written, and some test of this run has run it.

By its name this is the last file of a run, and says nothing of one that was not of all tests.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gateway.cli.main import cli
from loadtest.__main__ import main as loadtest
from tests.conftest import COMMANDS_RUN

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("README.md", "SECURITY.md", "docs/runbook.md", "docs/metrics.md", "docs/errors.md")
TYPED = re.compile(
    r"(?:`|^    (?:[A-Z_]+=\S+ )*|; |&& |^\| `)((?:gateway|python -m loadtest|make) [^`\n]*)", re.MULTILINE
)
WHOLE = 4000
"""Tests at least of a run that is one of all."""
ELSEWHERE = {
    "gateway serve": "in processes of their own: tests/test_workers_end_to_end.py and many more",
    "gateway forge run": "takes what [train] installs: its steps are tested one by one, tests/test_run.py",
    "gateway forge encoder": "as above: tests/test_trunk.py",
    "gateway forge export": "as above: tests/test_exporting.py",
    # What follows is not run as it is typed by any test: only what it does is, piece by piece.
    "gateway compare policies": "wants the data of a download: tests/test_compare_command.py, tests/test_policies.py",
    "gateway knowledge calibrate": "tests/test_collection_confidence.py",
    "gateway knowledge mend": "tests/test_mending.py",
    "gateway loadtest latency": "measures a machine, and asserts nothing",
    "gateway loadtest startup": "tests/test_loadtest_startup.py",
}
"""Commands that no test calls in this process, and where they are run instead."""
MAKE = {
    "run": "`make clean-install` serves what it does",
    "test": "this is it",
    "train": "several GB: nobody but who trains",
    "fuzz": "tests/test_fuzz.py runs the same for fewer inputs",
    "lock": "tests/test_sbom.py holds its file to pyproject.toml",
    "sbom": "tests/test_sbom.py",
    "dist": "make clean-install",
    "prometheus": "CI",
    "browser": "CI",
    "chaos": "CI, in its short form",
    "clean-install": "CI",
    "deploy-lint": "CI",
    "typescript": "CI, where there is npm",
    "simulate": "tests/test_overload.py",
}
"""Targets that documents name, and what runs them."""


def typed() -> Iterator[tuple[str, str]]:
    """Each with the document that has it."""
    for name in DOCUMENTS:
        for match in TYPED.finditer((ROOT / name).read_text()):
            for line in match[1].partition(" #")[0].split(" ; "):
                yield name, line.strip()


def found(line: str) -> tuple[str, click.Command, list[str]]:
    """Its path, the command itself, and the rest of the line. Raises UsageError for one that is not there."""
    words = [word for word in shlex.split(re.sub(r"[\[\]|\\]", " ", line), posix=False) if word]
    command: click.Command = loadtest if line.startswith("python") else cli
    words, path = (words[3:], ["gateway loadtest"]) if line.startswith("python") else (words[1:], ["gateway"])
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        following = command.get_command(click.Context(command), words[0])
        if following is None:
            break
        command, path, words = following, [*path, words[0]], words[1:]
    return " ".join(path), command, words


GATEWAY = sorted({(name, line) for name, line in typed() if not line.startswith("make")})


@pytest.mark.parametrize(("document", "line"), GATEWAY)
def test_every_option_that_is_written_is_there(document: str, line: str) -> None:
    path, command, rest = found(line)
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help", "--version"}
    if isinstance(command, click.Group):  # such as `gateway audit` in a sentence
        known |= {option for one in command.list_commands(click.Context(command)) for option in _options(command, one)}
    written = [word.partition("=")[0].strip("'\"`,;:.)") for word in rest if word.startswith("--")]
    assert [option for option in written if option not in known] == [], f"{document}: {path}"


def _options(group: click.Group, name: str) -> list[str]:
    command = group.get_command(click.Context(group), name)
    return [option for one in command.params for option in one.opts] if command else []


def test_every_target_that_is_written_is_there_and_run_somewhere() -> None:
    targets = {line.split()[1] for _, line in typed() if line.startswith("make ")}
    made = (ROOT / "Makefile").read_text()
    assert targets <= MAKE.keys()
    assert [one for one in targets if not re.search(rf"^{one}:", made, re.MULTILINE)] == []


def test_every_command_that_is_written_was_run(request: pytest.FixtureRequest) -> None:
    if request.session.testscollected < WHOLE and not os.environ.get("GATEWAY_TEST_DOCUMENTED"):
        pytest.skip("not all tests are run: that a command was not says nothing")
    commands = {path: command for path, command, _ in (found(line) for _, line in GATEWAY)}
    leaves = {path: one for path, one in commands.items() if not isinstance(one, click.Group)}
    assert len(leaves) > 50
    missing = sorted(path for path, one in leaves.items() if one not in COMMANDS_RUN and path not in ELSEWHERE)
    assert missing == [], ", ".join(missing)
