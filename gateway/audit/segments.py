"""A chain's files: segments named by their first record, the texts beside them, and the anchor of what was removed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway import disk
from gateway.audit.records import Head, Kind, sha256_of

SUFFIX, TEXTS_SUFFIX = ".jsonl", ".texts.jsonl"
ANCHOR = "anchor.json"
DIGITS = 16
TAIL = 1 << 18
"""Bytes from the end that hold a segment's last record for sure: the largest have some kB."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Records of a chain in the order of their numbers, from `first` on, a line each."""

    folder: Path
    first: int

    @property
    def path(self) -> Path:
        return self.folder / f"{self.first:0{DIGITS}}{SUFFIX}"

    @property
    def texts(self) -> Path:
        """The texts of its questions, which are no part of the chain, so that they can be forgotten."""
        return self.folder / f"{self.first:0{DIGITS}}{TEXTS_SUFFIX}"

    def size(self) -> int:
        """Bytes, texts included; 0 where it was removed meanwhile."""
        total = 0
        for path in (self.path, self.texts):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def remove(self) -> None:
        self.texts.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Ending:
    """Where a segment ends: the `head` of the chain, and how many bytes of a `torn` record come after it."""

    head: Head
    torn: int
    is_closed: bool


def segments(folder: Path) -> list[Segment]:
    """Of one chain, the oldest first."""
    names = (path.name.removesuffix(SUFFIX) for path in folder.glob(f"*{SUFFIX}"))
    return [Segment(folder, int(name)) for name in sorted(names) if name.isdigit()]


def chains(folder: Path) -> list[Path]:
    """The folders of all chains of an audit log, each of one worker."""
    return sorted(
        (path for path in folder.iterdir() if path.is_dir() and path.name.isdigit()), key=lambda p: int(p.name)
    )


def ending(known: list[Segment], start: Head) -> Ending:
    """Of the last of those segments; `start` is what was before the first of them. Raises OSError."""
    last = known[-1]
    size = last.path.stat().st_size
    with last.path.open("rb") as file:
        file.seek(max(0, size - TAIL))
        tail = file.read()
    whole = tail[: tail.rfind(b"\n") + 1]
    torn = len(tail) - len(whole)
    if not whole:
        before = ending(known[:-1], start) if len(known) > 1 else Ending(start, 0, is_closed=True)
        return Ending(before.head, torn, before.is_closed)
    line = whole[:-1].rpartition(b"\n")[2]
    try:
        record = json.loads(line)
        seq, kind = int(record["seq"]), record["kind"]
    except (KeyError, TypeError, ValueError):  # somebody has changed it: verify names it, and the chain goes on from it
        seq, kind = last.first - 1 + sum(is_whole for _, is_whole in lines(last.path)), ""
    return Ending(Head(seq, sha256_of(line)), torn, kind == Kind.CLOSE)


def lines(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Each line without its end, and whether it is whole: only the last one may not be."""
    with path.open("rb") as file:
        for line in file:
            yield line.removesuffix(b"\n"), line.endswith(b"\n")


def anchored(folder: Path) -> Head | None:
    """The last record that was removed for want of room or for its age; None where all are there. Raises ValueError."""
    path = folder / ANCHOR
    try:
        found = json.loads(path.read_bytes())
        return Head(int(found["seq"]), str(found["sha256"]))
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: is no anchor: {error!r}") from None


def anchor(folder: Path, head: Head) -> None:
    """Say that all up to that record is removed, before it is: at once, and on disk."""
    disk.put(folder / ANCHOR, json.dumps(head._asdict()))
