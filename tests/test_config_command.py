"""`gateway config`: what is shown is what is in force, with where it comes from; and what is wrong is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.cli.settings import described
from gateway.config import Config, load

SCHEMA = Path(__file__).parent.parent / "docs" / "settings.schema.json"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text('[admission]\ntenant_rate = 5\n[admission.tenant_rates]\n"acme" = 7\n[server]\nport = 6000\n')
    return path


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(cli, ["config", *arguments], env=environment)


def test_each_setting_says_where_it_comes_from(file: Path) -> None:
    found = run("show", "--config", str(file), "--origin", "--json", GATEWAY_SERVER__PORT="6001")
    shown = json.loads(found.output)
    assert shown["server.port"] == {"value": 6001, "origin": "environment variable GATEWAY_SERVER__PORT"}
    assert shown["admission.tenant_rate"] == {"value": 5.0, "origin": str(file)}
    assert shown["admission.tenant_rates"] == {"value": {"acme": 7.0}, "origin": str(file)}
    assert shown["server.admin_port"] == {"value": 9464, "origin": "default"}
    assert len(shown) == sum(len(type(getattr(Config(), name)).model_fields) for name in Config.model_fields)


def test_only_what_is_no_default(file: Path) -> None:
    found = run("show", "--config", str(file), "--changed")
    assert found.output == '[server]\nport = 6000\n\n[admission]\ntenant_rate = 5.0\ntenant_rates = {"acme" = 7.0}\n'


def test_what_is_shown_is_a_file_of_settings(file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.toml"
    again.write_text(run("show", "--config", str(file)).output)
    assert load(again) == load(file)


def test_a_file_is_checked(file: Path) -> None:
    found = run("check", str(file))
    assert (found.exit_code, found.output) == (0, f"{file}: 3 settings, all of them known and within their bounds\n")
    file.write_text("[server]\nprot = 1\n")
    found = run("check", str(file))
    assert found.exit_code == 2
    assert "server.prot: no such key" in found.output
    assert "did you mean port?" in found.output


def test_the_schema_in_the_docs_is_that_of_the_settings() -> None:
    printed = json.loads(run("schema").output)
    assert printed == described()
    assert json.loads(SCHEMA.read_text()) == printed, "gateway config schema > docs/settings.schema.json writes it anew"
