"""The machine and the commit that a measurement was made on: without them its numbers mean nothing."""

from __future__ import annotations

import functools
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).parent


@functools.cache
def facts() -> Mapping[str, str]:
    """As they are when this is first asked: what runs was read then, and files may be others when it ends."""
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "commit": commit(SOURCE),
    }


def commit(folder: Path) -> str:
    """Of the repository that holds the code in `folder`, with "-dirty" if files were changed; else "unknown".

    An installed copy may lie inside of somebody else's repository: the files must be that repository's own.
    """
    if not _git(folder, "ls-files", "--error-unmatch", "."):
        return "unknown"
    return _git(folder, "describe", "--always", "--dirty", "--exclude", "*") or "unknown"


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            ["git", *arguments],  # noqa: S607 - whichever git
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} x {len(names)}" if names else platform.processor()
