"""Resumable steps: each has a folder, and a key made of everything that decides its result."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

KEY = "key"

Report = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, a word on how it goes)."""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished step: where its files are, and its key, which is part of the keys of the steps that use them."""

    folder: Path
    key: str


def key_of(name: str, decides: object) -> str:
    """The key of the step `name`, of everything that decides its result."""
    return hashlib.sha256(json.dumps([name, decides], sort_keys=True, default=str).encode()).hexdigest()


def is_made(folder: Path, name: str, key: str) -> bool:
    """Whether the step in `folder` is finished, and was made from what `key` stands for."""
    kept = folder / name / KEY
    return kept.is_file() and kept.read_text() == key


class Steps:
    """Runs steps in `folder`, skipping those whose key is there already."""

    def __init__(self, folder: Path, console: Console) -> None:
        self._folder = folder
        self._console = console

    def run(self, name: str, decides: object, make: Callable[[Path, Report], None]) -> Done:
        """`make(folder, report)` unless it was made from the same `decides` (anything JSON).

        It works in a folder of its own, which takes the step's place when it has ended: a killed step leaves nothing
        that looks finished.
        """
        key = key_of(name, decides)
        folder = self._folder / name
        if is_made(self._folder, name, key):
            self._console.print(f"[dim]{name}: already made[/]", highlight=False)
            return Done(folder, key)
        scratch = self._folder / f"{name}.part"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        with self._bar(name) as report:
            make(scratch, report)
        (scratch / KEY).write_text(key)
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
        return Done(folder, key)

    @contextmanager
    def _bar(self, name: str) -> Iterator[Report]:
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[word]}"),
        )
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(name, total=None, word="")

            def report(done: int, total: int, word: str) -> None:
                progress.update(task, completed=done, total=total, word=word)
                if not self._console.is_terminal and done % max(1, total // 10) == 0:
                    self._console.print(f"{name}: {done}/{total}  {word}", highlight=False)

            yield report
            progress.update(task, word="")
