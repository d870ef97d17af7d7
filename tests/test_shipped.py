"""What is served by default is found from any folder."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gateway.config import load
from gateway.config.shipped import shipped as found

ROOT = Path(__file__).parent.parent


def test_what_is_here_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "models" / "banking" / "1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert load().model.bundle == Path("models/banking/1")


def test_elsewhere_it_is_the_packages_or_the_checkouts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    config = load()
    assert config.model.bundle == ROOT / "models/banking/1"
    assert config.knowledge.collections == {"banking": ROOT / "index/banking"}
    assert config.knowledge.is_default
    (tmp_path / "gateway" / "shipped" / "models" / "banking" / "1").mkdir(parents=True)
    monkeypatch.setattr("gateway.config.shipped.PACKAGE", tmp_path / "gateway")
    assert load().model.bundle == tmp_path / "gateway/shipped/models/banking/1"


def test_what_is_nowhere_is_named_as_it_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert found("models/nobody/1") == Path("models/nobody/1")


def test_the_wheel_has_what_is_looked_for() -> None:
    target = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for name, place in target["force-include"].items():
        assert (ROOT / name).is_dir()
        assert place == f"gateway/shipped/{name}"
