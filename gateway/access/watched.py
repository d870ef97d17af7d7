"""Files of secrets that are read again when they change, while all goes on; a broken one changes nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from gateway.errors import GatewayError

log = logging.getLogger(__name__)

PERIOD = 1.0
"""Seconds between two looks. Looked at rather than told by the kernel: a mounted secret changes by a link that points
elsewhere, somewhere above the file."""

T = TypeVar("T")
Stamp = tuple[tuple[int, int, int] | None, ...]


class Watched(Generic[T]):
    """What `paths` say together, by `read`, which raises GatewayError where that is nothing sensible.

    `look` is called from one thread at a time; `current` may be read from any. `told` hears of each reading but the
    first: whether what was read is in use now.
    """

    def __init__(
        self, name: str, paths: Iterable[Path], read: Callable[[], T], told: Callable[[bool], None] = lambda _: None
    ) -> None:
        self._name = name
        self._paths = tuple(paths)
        self._read = read
        self._told = told
        self._seen = self._judged = self._stamp()
        self.current = read()

    def look(self) -> None:
        """Read them again if they have changed, and have not changed since the last look: a certificate is put there
        before its key or after it, and in between the two do not belong together."""
        now = self._stamp()
        is_settled, self._seen = now == self._seen, now
        if now == self._judged or not is_settled:
            return
        self._judged = now  # from before it is read: what changes meanwhile is read again
        try:
            self.current = self._read()
        except Exception as error:  # noqa: BLE001  # a file may be broken in ways that no library has thought of
            # The text of others' errors may quote the file.
            why = str(error) if isinstance(error, GatewayError) else type(error).__name__
            log.error("the %s that was in use stays in use: %s", self._name, why)
            self._told(False)
        else:
            log.info("the %s was read again and is in use", self._name)
            self._told(True)

    def _stamp(self) -> Stamp:
        return tuple(map(_stamp, self._paths))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class Looking(Protocol):
    """What has to be looked at now and then."""

    def look(self) -> None: ...


async def keep_looking(some: Iterable[Looking], period: float | None = None) -> None:
    """For ever, each in a thread of its own: a disk may be far away, and a server that gives keys is."""

    async def keep(one: Looking) -> None:
        while True:
            await asyncio.sleep(PERIOD if period is None else period)
            await asyncio.to_thread(one.look)

    await asyncio.gather(*map(keep, some))
