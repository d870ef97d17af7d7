"""The committed stubs are what the generator makes of the proto."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROTO = "protos/gateway/v1/gateway.proto"


def test_the_stubs_are_fresh(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    outputs = [f"--{kind}={tmp_path}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I", "protos", *outputs, PROTO], cwd=ROOT, check=True, timeout=60
    )
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.py*")}
    assert len(made) == 3
    for path, text in made.items():
        assert (ROOT / path).read_text() == text, f"{path} is not what {PROTO} makes: run `make protos`"
