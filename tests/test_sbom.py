"""The list of what is shipped: every bundle, by the sha256 that vouches for its files."""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy import sbom

ROOT = Path(__file__).parent.parent


def test_every_shipped_bundle_is_listed() -> None:
    manifests = sorted(sbom.MODELS.glob("*/*/manifest.json"))
    assert manifests
    found = list(sbom.components())
    assert [one["hashes"][0]["content"] for one in found] == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in manifests
    ]
    assert all(one["licenses"][0]["license"]["id"] for one in found)


def test_what_is_installed_stays_in_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "sbom.json"
    file.write_text(json.dumps({"bomFormat": "CycloneDX", "components": [{"type": "library", "name": "grpcio"}]}))
    monkeypatch.setattr(sys, "argv", ["sbom", str(file)])
    sbom.main()
    names = [one["name"] for one in json.loads(file.read_text())["components"]]
    assert names[0] == "grpcio"
    assert "banking" in names


def test_what_is_locked_is_what_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements" / "cpu.txt").read_text().splitlines()
    locked = dict(line.removesuffix(" \\").split("==") for line in lines if "==" in line)
    for one in map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["cpu"]]):
        version = locked[canonicalize_name(one.name)]
        assert version in one.specifier, f"{one} is locked at {version}: run `make lock`"
