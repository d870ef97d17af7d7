"""Writes that say in advance what must be there after each of them, and processes that make them until they die.

`python -m loadtest.crash_writer on FOLDER AT MOST` makes those from AT on and tells of each that is acknowledged;
`... starved FOLDER AT MOST BYTES` may write no file beyond so many bytes; `... unsynced FOLDER AT MOST` runs where
syncs fail (see `crash_starved`).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path

from gateway.cascade.confidence import FEATURES_VERSION
from gateway.errors import StoreFailed
from gateway.knowledge.base import key
from gateway.knowledge.changes import EVERYWHERE, Calibrate, Change, Create, Drop, Put, Remove, Switch
from gateway.knowledge.lexical import LANGUAGE, WORDS_VERSION
from gateway.types import Document, Principal, SearchConfidence
from loadtest.proof import ENCODER, Desk, asked, small

PLACE = ("acme", "help")
OLD, OTHERS = ("acme", "old"), ("other", "help")
KEPT = 40
"""Pairs that are there at a time; older ones are deleted."""
SUBJECTS = ("card", "fee", "pin", "loan", "post", "limit", "app", "tax")
BESIDES = Document("besides", "Card", "https://help.example/card", "2026-01-01", "A card.", "A card.\n\nMore.\n")
CONFIDENCE = SearchConfidence(
    weights=(1.0, 2.0, 0.5, -0.5),
    bias=0.25,
    centre=(0.5, 0.25, 0.125, 0.5),
    scale=(0.25, 0.5, 1.0, 2.0),
    threshold=0.5,
    precision=0.8,
    questions=150,
    features_version=FEATURES_VERSION,
    scored_by=f"{ENCODER} {WORDS_VERSION} {LANGUAGE}",
)
PROLOGUE: tuple[tuple[tuple[str, str], Change], ...] = (
    (PLACE, Create()),
    (OTHERS, Create()),
    (OTHERS, Put(BESIDES)),
    (OTHERS, Put(replace(BESIDES, groups=frozenset({"staff"}), effective=60.5, expires=7e9))),
    (OLD, Create()),
    (OLD, Put(BESIDES)),
    (OLD, Drop()),
    (EVERYWHERE, Switch(ENCODER, "made")),
    (PLACE, Calibrate(CONFIDENCE)),
)
"""What comes before all writes, so that there is some of everything; each is one line of the log."""
BEGUN = len(PROLOGUE)
QUESTIONS = ("card fee", "n12 loan post", "tax tax app", "pin")
TRIES = 3
"""Of a write that fails."""


def changes(number: int) -> list[Change]:
    """Of one write: a pair of documents is new, or written anew, or deleted. Each write is two lines of the log."""
    old = number - 2 - 3 * KEPT
    if number % 3 == 2 and old >= 0:
        return [Remove(f"d{old}-{half}") for half in "ab"]
    first = number - number % 3
    return [Put(_document(first, half, number % 3)) for half in "ab"]


def _document(first: int, half: str, version: int) -> Document:
    said = " ".join(SUBJECTS[(first // 3 * step + version) % len(SUBJECTS)] for step in range(1, 20))
    answer = f"v{version} n{first % 17} {said} {half}."
    body = " ".join(f"w{(first * at) % 101}" for at in range(80))
    return Document(f"d{first}-{half}", f"{SUBJECTS[first % 8]} d{first}", "", "", answer, f"{answer}\n\n{body}.\n")


def expected(writes: int) -> dict[str, Document]:
    """What is there after so many."""
    there = {}
    for first in range(0, writes, 3):
        if first + 2 + 3 * KEPT >= writes:  # else it is deleted
            version = min(writes - first, 3 if first < 3 * KEPT else 2) - 1
            there.update({one.id: one for one in (_document(first, half, version) for half in "ab")})
    return there


def named(number: int) -> str:
    """The key under which a write is made."""
    return f"k{number}"


async def begin(desk: Desk) -> None:
    """What is not there yet of all that comes before."""
    for place, change in PROLOGUE[desk.store.last() :]:
        if place == EVERYWHERE:
            await desk.base.record()
        else:
            await desk.base.write(place, [change])


def told(line: str) -> None:
    os.write(1, f"{line}\n".encode())


async def _begun(folder: Path) -> Desk:
    desk = Desk(folder)
    await begin(desk)
    desk.base.start()
    return desk


async def _on(folder: Path, at: int, most: int) -> None:
    desk = await _begun(folder)
    for number in range(at, at + most):
        await desk.base.write(PLACE, changes(number), named(number))
        told(f"done {number}")
    await desk.settle()


async def _starved(folder: Path, at: int, most: int, limit: int) -> None:
    """Until the disk is full; then it is read."""
    desk = await _begun(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    for number in range(at, at + most):
        try:
            await desk.base.write(PLACE, changes(number), named(number))
        except Exception as error:  # noqa: BLE001 - which one it is, is what is asked
            told(f"failed {type(error).__name__} {error}")
            told(f"read {_is_read(desk, number)}")
            return
        told(f"done {number}")


async def _unsynced(folder: Path, at: int, most: int) -> None:
    """Tells too of what was acknowledged without a sync that succeeded meanwhile."""
    shim = ctypes.CDLL(None)
    try:
        desk = await _begun(folder)
    except StoreFailed as error:
        told(f"failed {type(error).__name__} {error}")
        return
    for number in range(at, at + most):
        for _ in range(TRIES):
            synced = shim.syncs_done()
            try:
                await desk.base.write(PLACE, changes(number), named(number))
            except Exception as error:  # noqa: BLE001
                told(f"failed {type(error).__name__} {error}")
                continue
            told(f"done {number}" if shim.syncs_done() > synced else f"unsynced {number}")
            break
        else:
            told(f"read {_is_read(desk, number)}")
            return


def _is_read(desk: Desk, writes: int) -> bool:
    """Whether all that was acknowledged is still there for those who read."""
    there = {one.document.id: one.document for one in desk.store.documents(*PLACE)}
    found = desk.library.search(key(*PLACE), "card", asked("card"), Principal(), len(there), 1)
    return there == expected(writes) and len(found.hits) == len(there)


if __name__ == "__main__":
    work = {"on": _on, "starved": _starved, "unsynced": _unsynced}[sys.argv[1]]
    with small():
        asyncio.run(work(Path(sys.argv[2]), *map(int, sys.argv[3:])))  # type: ignore[operator]
