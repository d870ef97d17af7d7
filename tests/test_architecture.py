"""The rings: who may import whom, and the one home of each native package. Read from the sources, nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "gateway"

LEAVES = {"types", "errors", "deadline", "dates", "disk", "failpoints"}
ENGINES = {"access", "audit", "model", "knowledge", "telemetry"}
OFFLINE = {"forge", "registry"}

MAY_IMPORT: dict[str, set[str]] = {
    "types": set(),
    "errors": set(),
    "deadline": {"errors", "types"},
    "dates": {"errors"},
    "disk": set(),
    "failpoints": set(),
    "memory": set(),
    "cascade": LEAVES,
    **{engine: LEAVES | {"cascade"} for engine in ENGINES},
    "forge": LEAVES | {"cascade"} | ENGINES,
    "registry": LEAVES | {"model", "forge"},
    "v1": set(),
    "convert": LEAVES | {"v1"},
    "config": LEAVES,
    "rpc": LEAVES | {"cascade", "config", "convert", "v1"} | ENGINES,
    "workers": LEAVES | {"access", "config", "rpc", "telemetry"},
    "client": LEAVES | {"convert", "v1"},
    "__main__": {"cli"},
    "following": LEAVES | {"rpc"},
    "shadow": LEAVES | {"rpc", "following"},
    "loading": LEAVES | {"rpc"},
    "swapping": LEAVES | {"knowledge", "memory", "rpc", "shadow", "loading", "following"},
    "doubts": LEAVES | {"cascade", "config"},
    "drifting": LEAVES | {"cascade", "config", "model", "telemetry"},
    "assembled": LEAVES | {"cascade", "doubts", "drifting", "rpc"} | ENGINES,
    "assembly": LEAVES
    | {"assembled", "cascade", "config", "doubts", "drifting", "rpc", "shadow", "swapping"}
    | ENGINES,
    "auditing": LEAVES | {"audit", "config", "rpc"},
    "cli": LEAVES
    | {"cascade", "config", "convert", "rpc", "client", "assembly", "auditing", "doubts", "workers"}
    | ENGINES
    | OFFLINE,
}

HOMES: dict[str, set[str]] = {
    "grpc": {"rpc", "client", "v1"},
    "grpc_health": {"rpc", "client"},
    "grpc_reflection": {"rpc"},
    "grpc_status": {"rpc", "client"},
    "aiohttp": {"rpc", "workers"},
    "onnxruntime": {"model", "forge"},  # the forge also measures graphs that are in no bundle yet
    "tokenizers": {"model", "forge"},
    "hnswlib": {"knowledge"},
    "faiss": {"knowledge"},
    "sqlite3": {"audit", "knowledge"},
    "cryptography": {"access", "model.signature"},
    "jwt": {"access"},
    "prometheus_client": {"telemetry"},
    "opentelemetry": {"telemetry.otlp"},  # an optional extra
    "uvloop": {"cli.replica"},
    "pypdf": {"knowledge.reading.pdf"},
    "selectolax": {"knowledge.reading.webpage"},
    "torch": {"forge"},
    "transformers": {"forge"},
    "onnx": {"forge"},
    "Stemmer": {"knowledge"},
    "safetensors": {"forge"},
    "scipy": {"forge"},
    "huggingface_hub": {"forge"},
    "matplotlib": {"forge.plots"},
}

DESIGN = {"grpc", "onnxruntime", "tokenizers", "hnswlib", "prometheus_client", "pydantic", "uvloop"}
"""Packages that the design of the gateway fixes: others may be added, none of these may go."""


def files() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def module_of(path: Path) -> str:
    """Its dotted name below `gateway`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Absolute dotted names, with their lines; imports inside functions count too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_imports_go_inward(path: Path) -> None:
    room = module_of(path).partition(".")[0]
    allowed = MAY_IMPORT[room] | {room}
    for name, line in imports_of(path):
        parts = name.split(".")
        if parts[0] == "gateway":
            assert len(parts) > 1, f"{path}:{line}: import a module of gateway, not gateway"
            assert parts[1] in allowed, f"{path}:{line}: {room} may not import {name}"


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_native_packages_stay_at_home(path: Path) -> None:
    module = module_of(path)
    for name, line in imports_of(path):
        homes = HOMES.get(name.partition(".")[0])
        if homes is not None:
            at_home = any(module == home or module.startswith(f"{home}.") for home in homes)
            assert at_home, f"{path}:{line}: {name} may be imported in {', '.join(sorted(homes))} only"


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_a_file_opens_with_what_it_owns(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    if source.strip() and "v1" not in path.parts:
        assert ast.get_docstring(ast.parse(source)), f"{path}: no docstring"


@pytest.mark.parametrize("name", ["main", "completion"])
def test_help_imports_nothing_heavy(name: str) -> None:
    heavy = {"numpy", "pydantic", "grpc", "rich", "uvloop"}
    for imported, line in imports_of(ROOT / "cli" / f"{name}.py"):
        assert imported.partition(".")[0] not in heavy, f"{name}.py:{line}: {imported}"
        assert not imported.startswith("gateway.") or imported.startswith(("gateway.errors", "gateway.cli"))


def test_what_the_design_fixes_is_used() -> None:
    used = {name.partition(".")[0] for path in files() for name, _ in imports_of(path)}
    assert used >= DESIGN, f"{', '.join(sorted(DESIGN - used))}: fixed by the design, and imported nowhere"
