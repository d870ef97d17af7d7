"""What is seen while a run goes on: a table that changes, or plain lines where there is no terminal.

The table is drawn by a process of its own (`python -m loadtest.live`, which reads one JSON object a line): drawing
takes some milliseconds, and the generator would be late by as much.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loadtest import urgency
from loadtest.measure import Progress

EVERY = 5
"""Seconds between plain lines."""
ROWS = 12
"""Of the last seconds, in the table."""


class View:
    """Shows progress on standard error until it is closed."""

    def __init__(self, title: str, *, is_terminal: bool) -> None:
        self._title = title
        self._drawing: subprocess.Popen[str] | None = None
        if is_terminal:
            self._drawing = subprocess.Popen(
                [sys.executable, "-m", "loadtest.live"], stdin=subprocess.PIPE, text=True, bufsize=1
            )

    def show(self, progress: Progress) -> None:
        """One second of the run."""
        if self._drawing is None:
            if progress.second % EVERY == 0:
                print(plain(self._title, progress), file=sys.stderr, flush=True)
            return
        assert self._drawing.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # whoever looked on has gone; the run goes on
            self._drawing.stdin.write(json.dumps({"title": self._title, **asdict(progress)}) + "\n")

    def close(self) -> None:
        if self._drawing is not None:
            assert self._drawing.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._drawing.stdin.close()
            self._drawing.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def plain(title: str, progress: Progress) -> str:
    """One line for one second."""
    statuses = " ".join(f"{name} {count}" for name, count in progress.statuses.items())
    warm = " (warm-up)" if progress.is_warmup else ""
    return (
        f"{title}: second {progress.second} of {progress.seconds:.0f}{warm}: {progress.offered}/s, good "
        f"{progress.good}/s, p50 {_ms(progress.p50_ms)}, p99 {_ms(progress.p99_ms)} ms, {statuses}"
    )


def drawn(rows: Iterable[dict[str, Any]]) -> RenderableType:
    """The last seconds, newest last."""
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("second", "offered/s", "good/s", "p50 ms", "p99 ms", "outstanding"):
        table.add_column(name, justify="right")
    table.add_column("statuses")
    last: dict[str, Any] = {}
    for last in rows:
        statuses = Text("  ").join(
            Text(f"{name} {count}", "green" if name == "OK" else "red") for name, count in last["statuses"].items()
        )
        table.add_row(
            str(last["second"]),
            str(last["offered"]),
            str(last["good"]),
            _ms(last["p50_ms"]),
            _ms(last["p99_ms"]),
            str(last["outstanding"]),
            statuses,
            style="dim" if last["is_warmup"] else "",
        )
    bar = Table.grid()  # which ends its line; a bar alone does not
    bar.add_row(ProgressBar(total=last["seconds"], completed=last["second"] + 1, width=60))
    return Group(Text(last["title"], "bold"), bar, table)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def main() -> None:
    """Draw what standard input says until it ends; the last picture stays."""
    urgency.back_in_line()
    rows: deque[dict[str, Any]] = deque(maxlen=ROWS)
    try:
        with Live(console=Console(stderr=True), auto_refresh=False) as live:
            for line in sys.stdin:
                rows.append(json.loads(line))
                live.update(drawn(rows), refresh=True)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
