"""A worker ends with its supervisor: its standard input is a pipe that nobody else holds open.

The kernel closes the pipe however the supervisor ends, which a signal handler or a promise to clean up cannot do.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 5.0
"""Seconds to end in good order, once the pipe is closed."""


def watch(on_cut: Callable[[], object], socket: Path, descriptor: int = 0) -> None:
    """Call `on_cut`, on a thread, when the pipe is closed, and end the process if it has not ended soon after.

    Also removes `socket` and its folder then: who made them may not be there any more to do it.
    """
    threading.Thread(target=_wait, args=(on_cut, socket, descriptor), name="lifeline", daemon=True).start()


def _wait(on_cut: Callable[[], object], socket: Path, descriptor: int) -> None:
    # Not through sys.stdin: its lock, held by a thread that waits, would abort the interpreter's own end.
    while os.read(descriptor, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the event loop is closed: it is ending already
        on_cut()
    with contextlib.suppress(OSError):
        socket.unlink(missing_ok=True)
        socket.parent.rmdir()  # by the last one
    time.sleep(PATIENCE)
    os._exit(1)
