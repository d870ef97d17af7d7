"""How a process of stored collections ends and what the next one finds: what a kill leaves, how long a start takes and
how much memory it needs.

`python -m loadtest.knowledge_ends start FOLDER` starts once and prints what that took; `... replace FOLDER AT` writes
documents anew and `... write FOLDER AT` new ones, until they are killed: all are processes of their own.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gateway.knowledge.changes import Batch, Create, Put
from gateway.knowledge.merges import wants_graph
from gateway.knowledge.segment_files import FOLDER
from gateway.knowledge.store import Store
from gateway.types import Document
from loadtest.knowledge_made import PLACE, Desk, Texts, document

REPLACED = 1_000
"""Documents that are written anew, one after the other, until a process is killed."""

# -- a start ----------------------------------------------------------------------------------------------------------


def started(folder: Path) -> dict[str, float]:
    """In a process of its own."""
    done = subprocess.run(_command("start", folder), check=True, capture_output=True, text=True)  # noqa: S603 - our own
    return dict(json.loads(done.stdout))


async def _start(folder: Path) -> dict[str, float]:
    """Seconds to exact answers, to full speed, which is when nothing large is scanned any more, and until there is
    nothing to merge beside questions; and the bytes of memory that are there then: the process's own beyond the texts,
    those of mapped files, and how large those files are."""
    texts = Texts()
    before = _memory()
    desk = Desk(folder, texts)
    started = time.perf_counter()
    desk.base.start()
    while any(map(wants_graph, desk.generation.parts)) and (running := desk.merging()):
        await asyncio.wait(running, timeout=0.01, return_when=asyncio.FIRST_COMPLETED)
    full = desk.seconds + time.perf_counter() - started
    await desk.settle()
    merged = desk.seconds + time.perf_counter() - started
    after = _memory()
    written = sum(
        len("".join((one.title, one.uri, one.answer, one.text)).encode()) for one in desk.generation.documents
    )
    passages = desk.generation.counts()[1]
    names = [part.segment.name for part in desk.generation.parts if part.segment.name]
    await desk.close()
    return {
        "exact_seconds": round(desk.seconds, 3),
        "full_speed_seconds": round(full, 3),
        "merged_seconds": round(merged, 3),
        "passages": passages,
        "text_bytes": written,
        "private_bytes": after["RssAnon"] - before["RssAnon"] - written,
        "mapped_bytes": after["RssFile"] - before["RssFile"],
        "file_bytes": sum(file.stat().st_size for name in names for file in (folder / FOLDER / name).iterdir()),
    }


def _memory() -> dict[str, int]:
    """Resident bytes of this process: its own (RssAnon), and those of files, which the kernel can take back."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {
        line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssFile"))
    }


# -- kills ------------------------------------------------------------------------------------------------------------


def kills(count: int) -> dict[str, int]:
    """A process that writes pairs of documents is killed, again and again; `lost` pairs were acknowledged and are gone,
    `torn` ones are there by half."""
    lost = torn = acknowledged = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kill in range(count):
            said = killed("write", folder, acknowledged, random.Random(kill).randint(1, 60))  # noqa: S311
            store = Store(folder)
            ids = {one.document.id for one in store.documents(*PLACE)}
            store.close()
            pairs = {one.split("-")[0] for one in ids}
            torn += sum((f"{one}-a" in ids) != (f"{one}-b" in ids) for one in pairs)
            lost += sum(str(one) not in pairs for one in range(acknowledged, said))
            acknowledged = max([said, *(int(one) + 1 for one in pairs)])
    return {"kills": count, "acknowledged": acknowledged, "lost": lost, "torn": torn}


def killed(work: str, folder: Path, at: int, after: int) -> int:
    """Let it acknowledge so many writes from number `at` on, and kill it. The next number."""
    with subprocess.Popen(_command(work, folder, at), stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        for line in process.stdout:
            at = int(line) + 1
            after -= 1
            if after == 0:
                os.kill(process.pid, signal.SIGKILL)
    return at


async def _write(folder: Path, at: int) -> None:
    """Pairs, by the store alone, until somebody ends this process."""
    store = Store(folder)
    await store.write(Batch(*PLACE, (Create(),)))
    for number in itertools.count(at):
        pair = [Document(f"{number}-{half}", "T", "", "", "A.", "A." * 300) for half in "ab"]
        await store.write(Batch(*PLACE, tuple(map(Put, pair))))
        os.write(1, f"{number}\n".encode())


async def _replace(folder: Path, at: int) -> None:
    """Documents that are there, with merges beside, until somebody ends this process. `at`: a version that none has."""
    desk = Desk(folder)
    desk.base.start()
    count, chance = desk.generation.counts()[0], random.Random(at)  # noqa: S311
    for number in itertools.count(at):
        await desk.base.write(PLACE, [Put(document(chance.randrange(count), number))])
        os.write(1, f"{number}\n".encode())


def _command(work: str, folder: Path, *more: int) -> list[str]:
    return [sys.executable, "-m", "loadtest.knowledge_ends", work, str(folder), *map(str, more)]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["start", folder]:
            print(json.dumps(asyncio.run(_start(Path(folder)))))
        case ["write", folder, at]:
            asyncio.run(_write(Path(folder), int(at)))
        case ["replace", folder, at]:
            asyncio.run(_replace(Path(folder), int(at)))
