"""The facts beside a measurement: the commit of the code that ran, or none at all."""

from __future__ import annotations

import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gateway.cli import machine
from loadtest import honesty
from loadtest.__main__ import main


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").touch()
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "x")
    return tmp_path


def test_the_commit_is_that_of_the_code(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    found = machine.commit(repository / "code")
    assert len(found) >= 7
    (repository / "code" / "a.py").write_text("changed")
    assert machine.commit(repository / "code") == f"{found}-dirty"


def test_code_that_lies_in_somebody_elses_repository_has_none(repository: Path) -> None:
    installed = repository / ".venv"
    installed.mkdir()
    (installed / "b.py").touch()
    assert machine.commit(installed) == "unknown"


def test_no_git_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.commit(tmp_path) == "unknown"
    machine.facts.cache_clear()
    assert set(machine.facts()) == {"processor", "system", "commit"}
    machine.facts.cache_clear()


def test_a_commit_that_is_made_while_a_command_runs_is_not_the_one_that_ran(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "SOURCE", repository / "code")
    machine.facts.cache_clear()

    @main.command("commits")
    def commits() -> None:
        (repository / "code" / "a.py").write_text("changed")
        git(repository, "commit", "-q", "-a", "-m", "y")
        click.echo(honesty.facts()["commit"])

    try:
        began_on = machine.commit(repository / "code")
        assert CliRunner().invoke(main, ["commits"]).output.strip() == began_on
        assert machine.commit(repository / "code") != began_on
    finally:
        del main.commands["commits"]
        machine.facts.cache_clear()
