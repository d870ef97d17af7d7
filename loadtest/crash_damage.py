"""A disk that is not honest: files that are cut, emptied, exchanged, and of which single bits are others than they were
written."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from gateway.knowledge.file import BESIDE, FILE
from gateway.knowledge.segment_files import FOLDER as SEGMENTS
from loadtest.crash_checks import Inspector, Left
from loadtest.crash_kills import Kind, copy
from loadtest.crash_reading import SERVED, differing
from loadtest.crash_writer import PLACE, begin, changes, named
from loadtest.proof import Desk, copied, small

WRITES = 70
LOG = f"{FILE}-wal"
REFUSED = "refused to open, or to read"
FILES_AT_MOST = 40
"""Of others than the store itself."""


async def made(folder: Path, writes: int, checkpoints: int, is_moved: bool = False) -> tuple[Path, Path]:
    """Two folders of the same writes: `live`, as a kill would leave it, and `closed`. The log is moved into the main
    file after so many; `is_moved`: also when all are done, so that both have them."""
    with small(checkpoints):
        desk = Desk(folder / "closed")
        await begin(desk)
        for number in range(writes):
            if number == writes // 2:
                middle = time.time()
            await desk.base.write(PLACE, changes(number), named(number))
        await desk.settle()
        if is_moved:
            with desk.store.moment() as rows:
                rows("SELECT count(*) FROM document")  # somebody reads: the log is moved, and cannot be emptied
                desk.store.clear(0.0)  # nothing, but it moves the log
        copied(folder / "closed", folder / "live")
        await desk.close()
        # And what a start makes of them: only that is found to be there already when it is made once more.
        shutil.rmtree(folder / "closed" / SEGMENTS, ignore_errors=True)
        again = Desk(folder / "closed")
        again.base.start()
        await again.settle()
        again.store.clear(middle)
        await again.close()
    return folder / "live", folder / "closed"


def torn_log(live: Path, inspector: Inspector, tries: int, chance: random.Random, is_cut: bool, name: str) -> Kind:
    """What is left is all that there was, or somebody notices. What it cost is no fault: the disk's."""
    kind = Kind(f"log {'cut' if is_cut else 'with a flipped bit'}, {name}", tries)
    sound = inspector.left(copy(live, live.with_name("torn")), reads_all=True)
    size = (live / LOG).stat().st_size
    for _ in range(tries):
        folder = copy(live, live.with_name("torn"))
        at = chance.randrange(size)
        if is_cut:
            _cut(folder / LOG, at)
        else:
            _flip(folder / LOG, at, chance.randrange(8))
        judge(kind, inspector.left(folder, reads_all=True), sound, f"byte {at} of {size}")
    return kind


def spoiled_file(closed: Path, inspector: Inspector, tries: int, chance: random.Random) -> Kind:
    """The main file, likewise."""
    kind = Kind("main file with a flipped bit", tries)
    sound = inspector.left(copy(closed, closed.with_name("spoiled")), reads_all=True)
    size = (closed / FILE).stat().st_size
    for _ in range(tries):
        folder = copy(closed, closed.with_name("spoiled"))
        at = chance.randrange(size)
        _flip(folder / FILE, at, chance.randrange(8))
        judge(kind, inspector.left(folder, reads_all=True), sound, f"byte {at} of {size}")
    return kind


def judge(kind: Kind, left: Left, sound: Left, where: str) -> None:
    """What was damaged is noticed before any of it is served, or all that can be read is as it was."""
    kind.acknowledged += WRITES
    how, faults = _noticed(left, sound)
    if faults:
        kind.fault(*(f"{where}: {one}" for one in faults))
        return
    kind.came[how] += 1
    if how == REFUSED:
        kind.lost += WRITES


def _noticed(left: Left, sound: Left) -> tuple[str, list[str]]:
    """By whom, and else what nobody noticed."""
    if left.crashed:
        return "", [left.crashed]
    other = differing(left.readable, sound.readable) if left.readable else []
    # Whatever a verification would find: nobody waits for one.
    if served := [*left.wrong, *left.answers, *(one for one in other if one.endswith(SERVED))]:
        return "", [f"is served: {one}" for one in served]
    if left.refused:
        return REFUSED, []
    if left.checked or set(left.verified) - set(sound.verified):
        return "found by verify, and served right", []
    missing = [] if left.writes == sound.writes else [f"{left.writes} writes of {sound.writes} are there"]
    if faults := [*left.torn, *missing, *other]:
        return "", [f"noticed by nobody: {one}" for one in faults]
    refused = left.readable != sound.readable
    return "refused where it is read" if refused else "harmless: everything reads the same", []


Harm = Callable[[Path, Path, random.Random], object]
"""To a file; another one of the same folder is at hand."""


def _cut(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.truncate(at)


def _flip(path: Path, at: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([(byte[0] if byte else 0) ^ 1 << bit]))


def _exchange(path: Path, other: Path) -> None:
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    shutil.move(other, path)
    shutil.move(aside, other)


HARMS: dict[str, Harm] = {
    "cut": lambda path, _, chance: _cut(path, chance.randrange(max(1, path.stat().st_size))),
    "emptied": lambda path, *_: _cut(path, 0),
    "with a flipped bit": lambda path, _, chance: _flip(
        path, chance.randrange(max(1, path.stat().st_size)), chance.randrange(8)
    ),
    "exchanged with another": lambda path, other, _: _exchange(path, other),
    "longer": lambda path, _, chance: path.write_bytes(path.read_bytes() + chance.randbytes(100)),
    "taken away": lambda path, *_: path.unlink(),
}


def others(folder: Path) -> list[Path]:
    """Files that are not the store itself, by their names in the folder."""
    return sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and not (path.parent == folder and path.name in (FILE, *BESIDE))
    )


def harmed(folder: Path, inspector: Inspector, chance: random.Random, how: str, most: int = FILES_AT_MOST) -> Kind:
    """Each of the other files, of which nothing that is acknowledged depends on any."""
    kind = Kind(f"other file {how}")
    names = others(folder)
    for name in names if len(names) <= most else chance.sample(names, most):
        to = copy(folder, folder.with_name("harmed"))
        other = chance.choice([one for one in names if one != name] or [name])
        if how == "exchanged with another" and other == name:
            continue
        HARMS[how](to / name, to / other, chance)
        left = inspector.left(to)
        again = inspector.left(to)  # what was made in its place
        kind.tries += 1
        kind.acknowledged += WRITES
        missing = [f"{left.writes} writes of {WRITES} are there"] if left.writes != WRITES else []
        refused = [f"is not opened: {left.refused}"] if left.refused else []
        if faults := [*left.faults, *missing, *refused, *(f"started again: {one}" for one in again.faults)]:
            kind.fault(*(f"{name}: {one}" for one in faults))
        else:
            kind.came["all is right"] += 1
    return kind
