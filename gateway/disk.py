"""What makes a change of files last a power cut."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

OWNERS = 0o600


def sync(path: Path) -> None:
    """On disk from now on: a file's content; of a folder, the names in it, so that a rename in it lasts."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put(path: Path, content: str, mode: int = OWNERS) -> None:
    """Let the file in `path` hold that, in UTF-8: after a crash what it held before or all of this, and all of this
    once it returns. Raises OSError: then nothing has changed."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    made = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        made.chmod(mode)
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    sync(path.parent)
