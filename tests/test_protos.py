"""The committed stubs are what the generator makes of the proto."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROTOS = {
    "protos/gateway/v1/gateway.proto": ("python_out", "pyi_out", "grpc_python_out"),
    "protos/gateway/v1/open_inference.proto": ("python_out", "pyi_out"),
}


@pytest.mark.parametrize("proto", PROTOS)
def test_the_stubs_are_fresh(tmp_path: Path, proto: str) -> None:
    pytest.importorskip("grpc_tools")
    outputs = [f"--{kind}={tmp_path}" for kind in PROTOS[proto]]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I", "protos", *outputs, proto], cwd=ROOT, check=True, timeout=60
    )
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.py*")}
    assert len(made) == len(outputs)
    for path, text in made.items():
        assert (ROOT / path).read_text() == text, f"{path} is not what {proto} makes: run `make protos`"


def buf(*arguments: str) -> str:
    """What it has to say."""
    program = Path(sys.executable).parent / "buf"
    if not program.exists():
        pytest.skip("there is no buf (pip install buf-bin)")
    done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def test_the_protos_are_as_others_expect_them() -> None:
    assert buf("lint", "protos") == ""


def test_nothing_breaks_who_knows_an_earlier_version(tmp_path: Path) -> None:
    """Of all commits that are here: as it was in the first, and in the one before the last change."""
    history = git("log", "--format=%H", "--", "protos/gateway/v1/gateway.proto").split()
    if len(history) < 2:
        pytest.skip("no earlier version is here: this is no clone with history")
    for commit in {history[1], history[-1]}:
        earlier = tmp_path / commit / "gateway" / "v1"
        earlier.mkdir(parents=True)
        (earlier / "gateway.proto").write_text(git("show", f"{commit}:protos/gateway/v1/gateway.proto"))
        assert buf("breaking", "protos", "--against", str(tmp_path / commit)) == ""


def git(*arguments: str) -> str:
    """Empty where there is no repository."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60).stdout
