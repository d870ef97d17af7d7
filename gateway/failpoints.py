"""Where a process may be told to fail, for tests of what survives: each point has a name, and does nothing unless it is
armed. Off, that costs one look at a flag.

    GATEWAY_FAILPOINTS="after-commit=kill; model-run=error*3; model-run=sleep:30; segment-before-rename=errno:ENOSPC%10"

A fault is an action, with its argument after a colon; then, if not always, how often (`*3`: the next three times) or
of how many in a hundred (`%10`). A name may come several times: the first fault that still has something to do is done.
Where GATEWAY_FAILPOINTS_FILE names a file, what stands in it takes the place of that, and is read again when it
changes, so that a test can break a running process and mend it again.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import re
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

VARIABLE, FILE_VARIABLE = "GATEWAY_FAILPOINTS", "GATEWAY_FAILPOINTS_FILE"
STORE = (
    "before-commit",
    "after-commit",
    "before-checkpoint",
    "after-checkpoint",
    "after-restart",
    "while-merging",
    "before-merge-shown",
    "after-merge-shown",
    "segment-before-graph",
    "segment-before-manifest",
    "segment-before-rename",
    "segment-after-rename",
)
"""At each of these `gateway loadtest crashes` proves that nothing acknowledged is lost."""
NAMES = (*STORE, "model-load", "model-run", "bundle-swap", "knowledge-search", "audit-write", "metrics-render")
ACTIONS = ("kill", "error", "errno", "sleep", "nan")
LOOK_SECONDS = 0.02
"""Between two looks at the file."""
_FAULT = re.compile(r"([a-z]+)(?::([A-Z0-9.]+))?(?:\*(\d+)|%(\d+))?")


class Injected(RuntimeError):
    """What `error` raises."""


@dataclass(slots=True)
class _Fault:
    action: str
    argument: str
    left: int | None
    percent: int

    def is_due(self) -> bool:
        if self.left is not None:
            self.left -= 1
            return self.left >= 0
        return self.percent == 100 or random.random() * 100 < self.percent  # noqa: S311 - a test, no secret


def armed(text: str) -> dict[str, list[_Fault]]:
    """What `text` says, by name. Raises ValueError."""
    found: dict[str, list[_Fault]] = {}
    for one in filter(None, map(str.strip, text.split(";"))):
        name, _, said = one.partition("=")
        match = _FAULT.fullmatch(said)
        if name not in NAMES or match is None or match[1] not in ACTIONS:
            raise ValueError(
                f"{VARIABLE}: {one!r} is no fault: name=action[:argument][*times or %percent], of the names "
                f"{', '.join(NAMES)} and the actions {', '.join(ACTIONS)}"
            )
        action, argument, times, percent = match.groups()
        if action == "sleep":
            float(argument or "")
        if action == "errno" and not hasattr(errno, argument or "-"):
            raise ValueError(f"{VARIABLE}: {one!r}: there is no errno {argument}")
        fault = _Fault(action, argument or "", int(times) if times else None, int(percent) if percent else 100)
        found.setdefault(name, []).append(fault)
    return found


class _Switch:
    """What is armed now; `is_on` is False where nothing can be."""

    def __init__(self, text: str = "", file: Path | None = None) -> None:
        self._file, self._stamp, self._looked = file, (0, 0), float("-inf")
        self._faults = armed(text)
        self.is_on = bool(self._faults) or file is not None

    def due(self, name: str) -> _Fault | None:
        if self._file is not None:
            self._look(self._file)
        return next((one for one in self._faults.get(name, ()) if one.is_due()), None)

    def _look(self, file: Path) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        try:
            found = file.stat()
            stamp = found.st_mtime_ns, found.st_ino
            if stamp != self._stamp:
                self._stamp = stamp
                self._faults = armed(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._faults, self._stamp = {}, (0, 0)
        except ValueError as error:  # half written, or wrong: no question is to fail by that
            log.warning("%s: %s", file, error)


_named = os.environ.get(FILE_VARIABLE)
_switch = _Switch(os.environ.get(VARIABLE, ""), Path(_named) if _named else None)


def arm(text: str) -> None:
    """In this process, from now on, in the place of what was; "" disarms all. Raises ValueError."""
    global _switch
    _switch = _Switch(text)


def reached(name: str) -> bool:
    """Fail here, if that is asked for: die as by a power cut (nothing is cleaned up), sleep, or raise Injected or
    OSError. True where what is made here is to be no number."""
    if not _switch.is_on:
        return False
    assert name in NAMES
    if (fault := _switch.due(name)) is None:
        return False
    if fault.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault.action == "sleep":
        # Where the wall clock is faked, as a test of clocks does, time.sleep raises EINVAL (libfaketime 0.9.10).
        threading.Event().wait(float(fault.argument))
    elif fault.action == "errno":
        code = getattr(errno, fault.argument)
        raise OSError(code, os.strerror(code))
    elif fault.action == "error":
        raise Injected(f"{name} was told to fail")
    return fault.action == "nan"
