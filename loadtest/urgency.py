"""The generator goes first: where it may, it raises its own priority for as long as it asks.

Beside a server that takes all cores, a thread that wakes up waits for its turn, 1 to 3 ms with the kernel's usual time
slices. A question that starts so late says something about the generator and nothing about the server.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

NICE = -10
"""Ahead of everything that has not been given a priority on purpose, and behind what keeps a machine alive."""
THREADS = Path("/proc/self/task")


@contextlib.contextmanager
def first_in_line(nice: int = NICE) -> Iterator[bool]:
    """All threads of this process, those that begin meanwhile too, at `nice`; and back. Gives whether that is allowed:
    it takes root or CAP_SYS_NICE, or a limit on RLIMIT_NICE that allows it. Servers have to be started before."""
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    may = _set(min(nice, usual))
    try:
        yield may
    finally:
        if may:
            _set(usual)


def last_in_line(nice: int = -NICE) -> None:
    """For what only looks on: this process, from now on, whoever started it."""
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))


def _set(nice: int) -> bool:
    """A priority belongs to a thread: gRPC's, which read the sockets, need it as much as the event loop's."""
    try:
        for thread in THREADS.iterdir():
            with contextlib.suppress(ProcessLookupError):  # ended just now
                os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)
    except OSError:
        return False
    return True
