"""The doctor's findings."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gateway.cli import doctor
from gateway.cli.doctor import Level
from gateway.errors import BundleInvalid


def grpc_set(version: str) -> dict[str, str]:
    return dict.fromkeys(doctor.GRPC_SET, version)


@pytest.mark.parametrize(
    ("version", "level"),
    [("1.80.1", Level.OK), ("1.85.1", Level.WARN), ("1.82.0", Level.WARN), ("1.78.0", Level.WARN), ("", Level.FAIL)],
)
def test_the_grpc_set_is_judged_by_its_minor(version: str, level: Level) -> None:
    assert doctor.grpc_set(grpc_set(version)).level is level


def test_a_mixed_grpc_set_fails() -> None:
    check = doctor.grpc_set({**grpc_set("1.80.1"), "grpcio-status": "1.85.1"})
    assert check.level is Level.FAIL
    assert "grpcio-status~=1.80.1" in check.fix


@pytest.mark.parametrize(
    ("cpu", "gpu", "level"),
    [("1.23", "", Level.OK), ("", "1.23", Level.OK), ("1.23", "1.23", Level.FAIL), ("", "", Level.FAIL)],
)
def test_exactly_one_runtime_is_right(cpu: str, gpu: str, level: Level) -> None:
    assert doctor.runtimes(cpu, gpu).level is level


def test_a_taken_port_fails() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        check = doctor.port("127.0.0.1", taken.getsockname()[1], "admin_port")
    assert check.level is Level.FAIL
    assert "--admin-port 0" in check.fix
    assert doctor.port("127.0.0.1", 0, "port").level is Level.OK


def test_collections_need_documents(tmp_path: Path) -> None:
    assert doctor.collection("c", tmp_path / "absent").level is Level.FAIL
    assert doctor.collection("c", tmp_path).level is Level.FAIL
    (tmp_path / "a.md").touch()
    assert doctor.collection("c", tmp_path).level is Level.OK


@pytest.mark.parametrize("error", [BundleInvalid("model.onnx: changed"), OSError("gone")])
def test_an_engine_that_fails_is_a_finding(error: Exception) -> None:
    def look() -> doctor.Check:
        raise error

    check = doctor.guarded("bundle", look)
    assert check.level is Level.FAIL
    assert str(error) in check.found


def test_few_files_are_a_warning() -> None:
    assert doctor.files(1024).level is Level.WARN
    assert doctor.files(65_536).level is Level.OK
    assert doctor.files(-1).level is Level.OK


def test_an_old_python_fails() -> None:
    assert doctor.python((3, 10)).level is Level.FAIL
