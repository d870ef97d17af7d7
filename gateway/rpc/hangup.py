"""SIGHUP, which ends a process by default, and by which many tools mean: read your settings again."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable

log = logging.getLogger(__name__)

ANSWER = "SIGHUP changes nothing here: a worker is told its settings by its supervisor"


def answer(reload: Callable[[], object] | None = None) -> None:
    """From now on, to the end of the running loop, SIGHUP calls `reload`; without one it is a line in the log."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload or (lambda: log.info(ANSWER)))


def ignore() -> None:
    """As long as there is no loop that could say so."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
