"""Certificates that were marked stale, in a file that all workers share: no restart and no swap takes a mark back.

A mark is of one bundle, by its manifest, so a new certificate begins without any. The file has few lines, as each
monitor marks once, and is written whole.
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway import disk
from gateway.cascade.standing import Doubt, Part
from gateway.config import Config, DriftMode
from gateway.errors import ConfigInvalid, StoreFailed
from gateway.types import Doubter

log = logging.getLogger(__name__)

FILE = "stale.json"
MOST = 4096
"""Marks, of all bundles that ever served; beyond these the oldest are given up."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest_sha256: str
    by: Doubter
    tenant: str = ""
    collection: str = ""
    reason: str
    at: str

    @classmethod
    def of(cls, manifest_sha256: str, doubt: Doubt, at: float) -> _Line:
        part = doubt.part or Part()
        return cls(
            manifest_sha256=manifest_sha256,
            by=doubt.by,
            tenant=part.tenant,
            collection=part.collection,
            reason=doubt.reason,
            at=datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"),
        )

    @property
    def doubt(self) -> Doubt:
        part = Part(self.tenant, self.collection) if self.tenant or self.collection else None
        return Doubt(self.by, part, f"{self.reason} (since {self.at})")

    @property
    def key(self) -> tuple[str, ...]:
        return self.manifest_sha256, self.by, self.tenant, self.collection


class _Lines(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    marks: tuple[_Line, ...] = ()


class Doubts:
    """Of the bundle with that manifest, in a file. See `cascade.standing.Keeper`; `heeded`: whose are kept and come
    back."""

    def __init__(
        self,
        path: Path,
        manifest_sha256: str,
        heeded: Collection[Doubter] = frozenset(Doubter),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._manifest = manifest_sha256
        self._heeded = heeded
        self._clock = clock
        # A sync takes as long as the disk likes, and marks come on the event loop too. One thread, so in their order.
        self._thread = ThreadPoolExecutor(1, "doubts")

    def kept(self) -> Sequence[Doubt]:
        """Raises ConfigInvalid where the file is damaged: nobody knows then what is to be trusted."""
        found = (line for line in _read(self._path) if line.manifest_sha256 == self._manifest)
        return [line.doubt for line in found if line.by in self._heeded]

    def keep(self, doubt: Doubt) -> None:
        """Soon. Where it cannot be, the mark ends with the process, and the log says so."""
        if doubt.by in self._heeded:
            self._thread.submit(self._keep, _Line.of(self._manifest, doubt, self._clock()))

    def drop(self, by: Doubter) -> None:
        """Those of that one. Gone from the disk when this returns. Raises StoreFailed."""
        self._thread.submit(self._drop, by).result()

    def settle(self) -> None:
        self._thread.submit(lambda: None).result()

    def _keep(self, new: _Line) -> None:
        try:
            with _locked(self._path):
                lines = _read(self._path)
                if new.key not in {line.key for line in lines}:  # another worker may have been faster
                    _write(self._path, [*lines, new][-MOST:])
        except (OSError, ConfigInvalid) as error:
            log.error("that the certificate is stale cannot be kept, and is forgotten at the next start: %s", error)

    def _drop(self, by: Doubter) -> None:
        try:
            with _locked(self._path):
                lines = _read(self._path)
                left = [line for line in lines if (line.manifest_sha256, line.by) != (self._manifest, by)]
                if len(left) < len(lines):
                    _write(self._path, left)
        except OSError as error:
            raise StoreFailed(f"{self._path}: {error.strerror}: the certificate stays stale") from None


def of(config: Config, manifest_sha256: str) -> Doubts | None:
    """Where the settings say that they are kept, of monitors that may mark now; None where they are not kept."""
    audit = config.audit
    path = config.drift.marks or (audit.folder / FILE if audit.folder else None)
    acting = {Doubter.DRIFT: config.drift.mode is DriftMode.ACT, Doubter.FEEDBACK: audit.tighten}
    return Doubts(path, manifest_sha256, {by for by, acts in acting.items() if acts}) if path else None


def _read(path: Path) -> Sequence[_Line]:
    try:
        return _Lines.model_validate_json(path.read_bytes()).marks
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError) as error:
        said = error.strerror if isinstance(error, OSError) else "holds no marks of stale certificates"
        raise ConfigInvalid(
            f"{path}: {said}: put back a copy, or take it away, and certificates are trusted again that were stale"
        ) from None


def _write(path: Path, lines: Sequence[_Line]) -> None:
    disk.put(path, _Lines(marks=tuple(lines)).model_dump_json(indent=1) + "\n")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """For this thread alone, of this process or another."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
