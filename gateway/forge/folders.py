"""Folders that a run writes: none that holds anything else is replaced, and none is worked in by two runs."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.model.bundle import MANIFEST

PREFIX = ".making-"
"""Of unfinished folders; .gitignore knows it."""
LOCK = ".lock"


def check_out(out: Path) -> None:
    """ValueError unless a bundle can be put at `out`: nothing is there, or nothing but an older bundle."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ValueError(f"{out} is not a folder; name another with --out")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise ValueError(
            f"{out} holds other things than a bundle (no {MANIFEST}) and is left alone; name another --out"
        )
    try:
        scratch(out).rmdir()
    except OSError as error:
        raise ValueError(f"{out.parent} cannot be written to: {error}") from error


def scratch(out: Path) -> Path:
    """A new, empty folder beside `out`, on the same file system."""
    out.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=out.parent, prefix=PREFIX))


def put(made: Path, out: Path) -> None:
    """Move `made` to `out`. What was there is deleted only when the new folder is in its place."""
    check_out(out)  # hours may have passed
    old = made.with_name(f"{made.name}.old")
    had = out.is_dir()
    if had:
        out.rename(old)
    try:
        made.rename(out)
    except OSError:
        if had:
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def locked(work: Path) -> Iterator[None]:
    """Hold `work` for this process alone, until it ends. ValueError if another has it."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another run works in {work}; wait for it, or name another folder with --work") from None
        yield
