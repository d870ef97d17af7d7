"""Where a process may be told to die, for tests of what survives: GATEWAY_FAILPOINT names one."""

from __future__ import annotations

import os
import signal

NAMES = (
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
"""Each is proved by `gateway loadtest crashes`."""
_NAMED = os.environ.get("GATEWAY_FAILPOINT", "")


def reached(name: str) -> None:
    """Kill this process here, if that is asked for. As a power cut would: nothing is cleaned up."""
    assert name in NAMES
    if name == _NAMED:
        os.kill(os.getpid(), signal.SIGKILL)
