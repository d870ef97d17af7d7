"""A note beside the store of the last change that was acknowledged: so that a start which finds less says so.

SQLite reads its write-ahead log up to the first frame that is not as it was written, and nothing beyond; a log that is
cut, or not there, is as good as one that ends there. What is left is sound, and older. The note is written after each
commit, and not synced with each: the process may be killed at any moment, and after a power cut the note may be older
than what is there, and never newer.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from pathlib import Path

from gateway.errors import StoreDamaged

log = logging.getLogger(__name__)

NAME = "knowledge.acknowledged"
_NUMBER, _CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")
_SIZE = _NUMBER.size + _CHECKSUM.size


class Acknowledged:
    """The note of one folder. Written and looked at by who holds the store's lock."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        self._path = folder / NAME
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def missing(self, store: Path, last: int) -> str:
        """What is wrong where the store ends before what was acknowledged; empty if it does not."""
        found = self._noted()
        if found <= last:
            return ""
        return (
            f"{store}: ends with change {last}, and change {found} was acknowledged: its write-ahead log "
            f"({store.name}-wal) was damaged, cut or taken away, or an older file was put here"
        )

    def check(self, store: Path, last: int) -> None:
        """Raise StoreDamaged for what is `missing`; else note where the store ends. A note that is damaged is written
        anew: it says nothing."""
        if wrong := self.missing(store, last):
            raise StoreDamaged(
                f"{wrong}. Restore the last snapshot into another folder; or, to go on without those changes, delete "
                f"{self._path}"
            )
        if self._noted() < last:
            self.note(last)

    def note(self, last: int) -> None:
        """Of no harm where it fails, and then of no use until the next time."""
        number = _NUMBER.pack(last)
        try:
            os.pwrite(self._file, number + _CHECKSUM.pack(zlib.crc32(number)), 0)
        except OSError as error:
            log.warning("%s: change %d could not be noted as acknowledged: %s", self._path, last, error)

    def sync(self) -> None:
        """Now and then, so that a power cut leaves a note that is not old."""
        try:
            os.fdatasync(self._file)
        except OSError as error:
            log.warning("%s: is perhaps not on disk: %s", self._path, error)

    def close(self) -> None:
        self.sync()
        os.close(self._file)

    def _noted(self) -> int:
        """0 where there is nothing."""
        content = os.pread(self._file, _SIZE, 0)
        number, found = content[: _NUMBER.size], content[_NUMBER.size :]
        if not content:
            return 0
        if len(content) < _SIZE or _CHECKSUM.unpack(found)[0] != zlib.crc32(number):
            log.warning("%s: is damaged, so nobody knows whether all is there that was acknowledged", self._path)
            return 0
        return int(_NUMBER.unpack(number)[0])
