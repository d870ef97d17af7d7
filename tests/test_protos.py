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
