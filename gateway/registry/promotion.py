"""Writing `registry.json`: one at a time, and whole or not at all."""

from __future__ import annotations

import datetime
import fcntl
import getpass
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway import disk
from gateway.errors import Unavailable
from gateway.model import versions
from gateway.model.versions import Action, Event, Gate, Registry

LOCK = ".registry.lock"
READABLE = 0o644


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the registry in `folder` for this process alone. Raises Unavailable if another one has it, OSError."""
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"another promotion or rollback goes on in {folder}: wait until it is done") from None
        yield


def event(
    action: Action,
    version: str,
    manifest_sha256: str,
    *,
    why: str = "",
    server: str = "",
    forced: bool = False,
    gates: Sequence[Gate] = (),
) -> Event:
    """One of now, by whoever runs this."""
    return Event(
        at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        action=action,
        version=version,
        manifest_sha256=manifest_sha256,
        by=_somebody(),
        why=why,
        forced=forced,
        server=server,
        gates=tuple(gates),
    )


def record(folder: Path, new: Event) -> Registry:
    """Append `new` to the registry in `folder`, which is `locked`. After a crash the file is the old one or the new
    one, and what this returns from is on disk. Raises BundleInvalid for a file that is damaged, OSError."""
    before = versions.read(folder)
    after = before.followed_by(new) if before else Registry(current=new.version, history=(new,))
    disk.put(folder / versions.NAME, after.model_dump_json(indent=1) + "\n", READABLE)
    return after


def _somebody() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user id without an entry in passwd, as containers have them
        name = f"uid {os.getuid()}"
    return f"{name}@{socket.gethostname()}"
