"""A store's file as a whole: copied beside a gateway that runs, and put where one was lost.

A copy is called by its name once it is whole, on disk and checked; what is not called so is no copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway import disk
from gateway.errors import StoreFailed
from gateway.knowledge.acknowledged import NAME as ACKNOWLEDGED
from gateway.knowledge.file import BESIDE, FILE, File
from gateway.knowledge.rows import Rows, damages
from gateway.knowledge.schema import SCHEMA, WITHOUT_SUMS
from gateway.knowledge.segment_files import FOLDER as SEGMENTS
from gateway.knowledge.store import Store

Progress = Callable[[int, int], None]
"""Hears how much is done, and of how much."""
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot is, beside it: `last` is the number of its last change, `taken` when, in ISO 8601."""

    schema: int
    last: int
    sha256: str
    taken: str

    @staticmethod
    def path(snapshot: Path) -> Path:
        return snapshot.with_name(f"{snapshot.name}.json")

    @classmethod
    def read(cls, snapshot: Path) -> Manifest:
        """Raises StoreFailed."""
        path = cls.path(snapshot)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(int(found["schema"]), int(found["last"]), str(found["sha256"]), str(found["taken"]))
        except FileNotFoundError:
            raise StoreFailed(f"{path}: is not there, so nobody knows whether {snapshot} is whole") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreFailed(f"{path}: is no manifest of a snapshot: {error!r}") from None


def snapshot(store: Store, to: Path, progress: Progress) -> Manifest:
    """The whole of it as it is now, in a new file, beside writes: copied, on disk, checked, and only then named so.

    Raises StoreFailed, OSError; nothing is left of what was begun then.
    """
    for path in (to, Manifest.path(to)):
        if path.exists():
            raise StoreFailed(f"{path}: is there already: name another one, or take it away first")
    unfinished = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        last = store.snapshot(unfinished, progress)
        disk.sync(unfinished)
        _check(unfinished, unfinished, SCHEMA)
        found = Manifest(SCHEMA, last, _sha256(unfinished), datetime.now(UTC).isoformat(timespec="seconds"))
        unfinished.rename(to)
        _write(Manifest.path(to), json.dumps(asdict(found), indent=2) + "\n")
        disk.sync(to.parent)
    finally:
        unfinished.unlink(missing_ok=True)
    return found


def restore(snapshot: Path, folder: Path, progress: Progress) -> Manifest:
    """Put what was copied into a folder that holds no store. Nobody may open one there meanwhile. What was made from
    another store that had been there goes.

    Raises StoreFailed, OSError; the folder holds no store then.
    """
    manifest = Manifest.read(snapshot)
    if manifest.schema not in (SCHEMA, WITHOUT_SUMS):
        raise StoreFailed(
            f"{snapshot}: has schema {manifest.schema}, and this version reads {WITHOUT_SUMS} and {SCHEMA}"
        )
    with contextlib.closing(File(folder, is_alone=True)):
        for name in (FILE, *BESIDE):
            if (folder / name).exists():
                raise StoreFailed(
                    f"{folder / name}: is there already, and a store is not replaced: name an empty folder, or move "
                    "that one away"
                )
        unfinished = folder / f".{FILE}.restored"
        try:
            if _copied(snapshot, unfinished, progress) != manifest.sha256:
                raise StoreFailed(f"{snapshot}: is not what {Manifest.path(snapshot)} tells of: its sha256 is another")
            _check(unfinished, snapshot, manifest.schema)
            (folder / ACKNOWLEDGED).unlink(missing_ok=True)
            if (folder / SEGMENTS).exists():
                shutil.rmtree(folder / SEGMENTS)
            unfinished.rename(folder / FILE)
            disk.sync(folder)
        finally:
            unfinished.unlink(missing_ok=True)
    return manifest


def _check(path: Path, named: Path, schema: int) -> None:
    """Raise StoreFailed for what is no sound database, or not as it was written; nothing is written beside it."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as connection:
            wrong = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
            if not wrong and schema != WITHOUT_SUMS:
                wrong = list(itertools.islice(damages(Rows(path, connection)), 1))
    except sqlite3.Error as error:
        wrong = [str(error)]
    if wrong:
        raise StoreFailed(f"{named}: is damaged: {wrong[0]}")


def _copied(source: Path, to: Path, progress: Progress) -> str:
    """The sha256 of what was copied, which is then on disk."""
    digest, done, size = hashlib.sha256(), 0, source.stat().st_size
    with source.open("rb") as reading, to.open("wb") as writing:
        while chunk := reading.read(CHUNK):
            digest.update(chunk)
            writing.write(chunk)
            done += len(chunk)
            progress(done, size)
        writing.flush()
        os.fsync(writing.fileno())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as reading:
        return hashlib.file_digest(reading, "sha256").hexdigest()


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    disk.sync(unfinished)
    unfinished.rename(path)
