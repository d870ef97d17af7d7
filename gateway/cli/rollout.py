"""What a promotion asks of a running gateway: a shadow first, then the swap."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from gateway.cli.admin_port import asked
from gateway.model.versions import Gate
from gateway.types import Agreement

SHADOW = "First let it see that share of the questions of --server, and answer nobody; it must not fail there."
LATE = "it may be loading still, and nothing is recorded: `gateway swap --status` says. Wait longer with --timeout"


def swapped(server: str, folder: Path, timeout: float) -> dict[str, Any]:
    """Let the gateway at `server` serve the bundle in `folder`, which it reads itself. Raises Refused, NotReached."""
    return asked(f"http://{server}/bundle", {"folder": str(folder)}, timeout, LATE)


def shadowed(server: str, folder: Path, share: float, seconds: float, timeout: float) -> Gate:
    """What came of its answers beside those that were given. Raises Refused, NotReached."""
    asked(f"http://{server}/shadow", {"folder": str(folder), "share": share}, timeout, LATE)
    try:
        time.sleep(seconds)
        figures = asked(f"http://{server}/status", None, timeout).get("shadow") or {}
    finally:
        asked(f"http://{server}/shadow", {"end": True}, timeout)
    answers: dict[str, int] = figures.get("answers", {})
    total, failures = sum(answers.values()), answers.get(Agreement.FAILED.value, 0)
    if not total:
        said = f"saw no question in {seconds:g} s; give it more with --shadow-seconds"
        return Gate(name="shadow", outcome="failed", detail=said)
    parts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in answers.items())
    return Gate(name="shadow", outcome="failed" if failures else "passed", detail=f"{total} questions: {parts}")
