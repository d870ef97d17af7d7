"""Container files and manifests speak of what is there: files, settings, metrics. `make deploy-lint` does the rest."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import load
from gateway.telemetry.metrics import Metrics

ROOT = Path(__file__).parent.parent
CONTAINER = ROOT / "deploy" / "container"


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    """By kind."""
    found = yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "gateway.yaml").read_text())
    return {one["kind"]: one for one in found}


def test_the_image_is_made_of_what_is_there() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    copied = [
        name
        for line in (CONTAINER / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    ]
    assert "gateway" in copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignored, f"{name} is left out by .dockerignore"
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(wheel["force-include"]) <= set(copied)


def test_compose_mounts_what_is_there() -> None:
    for service in yaml.safe_load((CONTAINER / "compose.yaml").read_text())["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (CONTAINER / source).exists(), volume


def test_the_settings_of_the_manifest_are_taken(manifests: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(manifests["ConfigMap"]["data"]["gateway.toml"])
    config = load(file)
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    drain = config.server.drain_delay_seconds + config.server.drain_seconds
    assert pod["terminationGracePeriodSeconds"] > drain
    mounts = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert {str(path.parent) for path in (config.tls.certificate, config.tls.key) if path} <= mounts
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    assert ports == {"grpc": config.server.port, "admin": config.server.admin_port}


def test_what_it_is_scaled_by_is_measured(manifests: dict[str, Any]) -> None:
    pods = [
        one["pods"]["metric"]["name"]
        for one in manifests["HorizontalPodAutoscaler"]["spec"]["metrics"]
        if "pods" in one
    ]
    known = {family.name for family in Metrics().registry.collect()}
    assert pods
    assert set(pods) <= known
