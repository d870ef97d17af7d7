"""What is left in a folder, looked into by a process of its own, as what is damaged may end a process.

`python -m loadtest.crash_checks` reads names of folders, and whether to read all of each, one in a line of JSON, and
says of each in another what it found.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

from gateway.errors import StoreFailed
from gateway.knowledge.changes import Stored
from gateway.knowledge.verifying import verify
from gateway.types import Document
from loadtest.crash_reading import Readable, readable
from loadtest.crash_writer import BEGUN, PLACE, QUESTIONS, expected
from loadtest.proof import Desk, small, wrong_answers

TOLD = 5
"""Of faults of one kind."""


@dataclass(slots=True)
class Left:
    """What is in a folder. `refused`: why it is not opened, or read; all else is empty then. `writes`: how many whole
    ones are there. `wrong`: what is there that was never so, `answers`: what a search finds that is not as a scan has
    it. `checked` and `verified` are what the product itself finds wrong. `readable`: see `crash_reading`. `crashed`: an
    error of another kind than it should be, or how the process ended."""

    refused: str = ""
    writes: int = 0
    torn: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)
    readable: Readable = field(default_factory=dict)
    crashed: str = ""

    @property
    def faults(self) -> list[str]:
        """Of what should be sound, or be refused."""
        crashed = [self.crashed] if self.crashed else []
        return [*crashed, *self.torn, *self.wrong, *self.answers, *self.checked]


class Inspector:
    """Looks into one folder after the other, in a process that is started again where it ends."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Inspector:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            self._ended()

    def left(self, folder: Path, reads_all: bool = False) -> Left:
        """`reads_all`: everything that can be read, too; that writes where writes are not known any more."""
        process = self._process = self._process or subprocess.Popen(
            (sys.executable, "-m", "loadtest.crash_checks"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{json.dumps([str(folder), reads_all])}\n")
            process.stdin.flush()
        line = process.stdout.readline()
        return Left(**json.loads(line)) if line else Left(crashed=f"the process ended with {self._ended()}")

    def _ended(self) -> int:
        assert self._process is not None
        process, self._process = self._process, None
        with contextlib.suppress(BrokenPipeError), process:
            process.wait()
        return process.returncode


async def inspected(folder: Path, reads_all: bool) -> Left:
    left = Left()
    try:
        desk = Desk(folder)
    except StoreFailed as error:
        return Left(refused=str(error))
    try:
        await _look(desk, left)
        if reads_all:
            left.readable = await readable(desk)
    except StoreFailed as error:
        left.refused = str(error)
    finally:
        await desk.close()
    return left


async def _look(desk: Desk, left: Left) -> None:
    left.checked = desk.store.check()[:TOLD]
    left.verified = list(verify(desk.store, lambda *_: None))
    log = [one.seq for one in desk.store.changes(0, 1 << 30)]
    if log != list(range(1, len(log) + 1)):
        left.torn.append("the log has gaps")
    left.writes, half = divmod(max(0, len(log) - BEGUN), 2)
    if half:
        left.torn.append("a write is there by half")
    stored = desk.store.documents(*PLACE)
    left.wrong = wrong_documents(stored, expected(left.writes))[:TOLD]
    if desk.library.find("/".join(PLACE)) is not None:
        documents = [one.document for one in stored]
        for _ in range(2):  # by scan, and by graph
            left.answers += wrong_answers(desk.library, PLACE, documents, QUESTIONS)[:TOLD]
            desk.base.start()
            await desk.settle()


def wrong_documents(stored: Sequence[Stored], documents: dict[str, Document]) -> list[str]:
    there = {one.document.id: one.document for one in stored}
    wrong = [f"{name} is not there" for name in sorted(documents.keys() - there.keys())]
    wrong += [f"{name} was deleted and is there" for name in sorted(there.keys() - documents.keys())]
    return wrong + [f"{name} is another" for name, one in documents.items() if there.get(name, one) != one]


def main() -> None:
    logging.getLogger("gateway").setLevel(logging.CRITICAL)  # of what was damaged on purpose
    with small():
        for line in sys.stdin:
            try:
                folder, reads_all = json.loads(line)
                left = asyncio.run(inspected(Path(folder), reads_all))
            except Exception as error:  # noqa: BLE001 - which one it is, is what is asked
                left = Left(crashed=repr(error))
            print(json.dumps(asdict(left)), flush=True)


if __name__ == "__main__":
    main()
