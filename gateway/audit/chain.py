"""One worker's chain on disk: records are added to its newest segment, whole segments removed from its other end."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from typing import Any

from gateway import disk, failpoints
from gateway.audit import segments as files
from gateway.audit.records import Head, Kind, sealed, stamp
from gateway.audit.segments import Segment
from gateway.errors import ConfigInvalid

LOCK = "lock"
LOCK_POLL = 0.05
PATIENCE = 2.0
"""Seconds for another writer to end: one that was killed just now, or who looks whether what is old can go."""
MEGABYTE = 1 << 20
DAY = 86_400.0

Entry = tuple[Kind, Mapping[str, Any], bytes]
"""A record to be: its kind, what it says, and the line of text for the file beside it, if any."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bytes of a segment and of a whole chain, texts included, and seconds after which a segment is removed."""

    segment: int = 32 * MEGABYTE
    total: int = 1024 * MEGABYTE
    age: float = 90 * DAY


class Chain:
    """Opened for writing, by one process at a time; used by one thread.

    `head` is its last record. `torn`: bytes of half a record that a crash had left, and that are gone; `was_closed`:
    whether whoever wrote before had come to an end.
    """

    def __init__(
        self, folder: Path, bounds: Bounds, clock: Callable[[], float] = time.time, patience: float = PATIENCE
    ) -> None:
        """`folder` is of this chain alone, and is made. `patience`: seconds for another writer to end. Raises
        ConfigInvalid, OSError."""
        self._folder = folder
        self._bounds = bounds
        self._clock = clock
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _locked(folder, patience)
        try:
            start = files.anchored(folder) or Head()
            self._finish_removal(start)
            known = files.segments(folder)
            end = files.ending(known, start) if known else files.Ending(start, 0, is_closed=True)
            last = known[-1] if known else Segment(folder, start.seq + 1)
            self._file, self._texts = _Appended(last.path), _Appended(last.texts)
        except ValueError as error:
            self._lock.close()
            raise ConfigInvalid(f"{error}; move {folder} away, and a new chain is begun") from None
        except BaseException:
            self._lock.close()
            raise
        self.head, self.torn, self.was_closed = end.head, end.torn, end.is_closed

    def _finish_removal(self, removed: Head) -> None:
        """One that was cut short after it was said."""
        known = files.segments(self._folder)
        for one, following in pairwise(known):
            if following.first <= removed.seq + 1:
                one.remove()

    def size(self) -> int:
        """Bytes of all its segments."""
        return sum(one.size() for one in files.segments(self._folder))

    def write(self, entries: Iterable[Entry]) -> None:
        """Add records, all or none. When this returns the operating system has them, so that a process which is killed
        loses none. Raises OSError, as where the disk is full."""
        if self._file.size >= self._bounds.segment:
            self._rotate()
        self._add(entries)

    def _add(self, entries: Iterable[Entry]) -> None:
        parts, texts, head = [], [], self.head
        for kind, content, text in entries:
            line, head = sealed(kind, content, head)
            parts.append(line)
            if text:
                texts.append(text)
        before = self._texts.size
        if texts:
            self._texts.append(b"".join(texts))
        try:
            self._file.append(b"".join(parts))
        except OSError:
            self._texts.cut(before)
            raise
        self.head = head

    def sync(self) -> None:
        """What was written is on disk, when this returns. Raises OSError."""
        self._texts.sync()
        self._file.sync()

    def prune(self) -> None:
        """Remove the oldest segments while there are too many bytes, or they are too old, and say so in the chain."""
        known = files.segments(self._folder)
        oldest = self._clock() - self._bounds.age
        if self._file.size and _written(known[-1]) < oldest:
            self._begin_segment()
            known = files.segments(self._folder)
        sizes = [one.size() for one in known]
        total = sum(sizes)
        while len(known) > 1 and (total > self._bounds.total or _written(known[0]) < oldest):
            gone = known.pop(0)
            total -= sizes.pop(0)
            last = files.ending([gone], Head()).head
            files.anchor(self._folder, last)
            gone.remove()
            content = {"time": stamp(self._clock()), "until": last.seq, "sha256": last.sha256}
            self._add([(Kind.REMOVED, content, b"")])

    def close(self) -> None:
        """Raises OSError where what was written may not all be on disk."""
        try:
            self.sync()
        finally:
            self._file.close()
            self._texts.close()
            self._lock.close()

    def _rotate(self) -> None:
        self._begin_segment()
        self.prune()

    def _begin_segment(self) -> None:
        self.sync()
        following = Segment(self._folder, self.head.seq + 1)
        file, texts = _Appended(following.path), _Appended(following.texts)
        self._file.close()
        self._texts.close()
        self._file, self._texts = file, texts


class _Appended:
    """A file that grows at its end by whole lines. `size` in bytes."""

    def __init__(self, path: Path) -> None:
        """It is made if it is not there, and cut behind its last whole line. Raises OSError."""
        is_new = not path.exists()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._is_synced = True
        self.size = os.fstat(self._descriptor).st_size
        tail = os.pread(self._descriptor, files.TAIL, max(0, self.size - files.TAIL))
        self.cut(self.size - len(tail) + tail.rfind(b"\n") + 1)
        if is_new:
            disk.sync(path.parent)

    def append(self, data: bytes) -> None:
        """All of it, or nothing: half of a record must not be in the way of the next. Raises OSError."""
        rest = memoryview(data)
        try:
            failpoints.reached("audit-write")
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            self.cut(self.size)
            raise
        self.size += len(data)
        self._is_synced = False

    def cut(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        self.size = size

    def sync(self) -> None:
        if not self._is_synced:
            os.fdatasync(self._descriptor)
            self._is_synced = True

    def close(self) -> None:
        os.close(self._descriptor)


def prune_others(folder: Path, own: str, bounds: Bounds, clock: Callable[[], float]) -> None:
    """The chains of workers that there are no more: nobody else removes what is too old of them. Raises OSError."""
    for other in files.chains(folder):
        if other.name == own:
            continue
        try:
            chain = Chain(other, bounds, clock, patience=0.0)
        except ConfigInvalid:  # its worker has it
            continue
        try:
            chain.prune()
        finally:
            chain.close()


def _written(segment: Segment) -> float:
    """When it was last written, in seconds since 1970."""
    return segment.path.stat().st_mtime


def _locked(folder: Path, patience: float) -> TextIOWrapper:
    """Until it is closed, or the process ends. Raises ConfigInvalid where somebody else has it for so many seconds."""
    lock = (folder / LOCK).open("a")
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < end:
                time.sleep(LOCK_POLL)
                continue
            lock.close()
            raise ConfigInvalid(
                f"audit.folder: {folder} is written by another gateway: give each a folder of its own"
            ) from None
        return lock
