"""SIGHUP, which ends a process by default and which many tools send when they mean: read your files again."""

from __future__ import annotations

import asyncio
import logging
import signal

log = logging.getLogger(__name__)

ANSWER = "SIGHUP changes nothing: settings need a restart; keys and certificates are read again when their files change"


def outlive() -> None:
    """From now on, to the end of the running loop, SIGHUP is a line in the log."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, log.info, ANSWER)


def ignore() -> None:
    """As long as there is no loop that could say so."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
