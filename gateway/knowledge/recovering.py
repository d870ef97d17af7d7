"""A store's write-ahead log, looked at before SQLite may move it into the file: what is left of a damaged one would
cover newer pages there.

SQLite reads the log up to the first frame that is not as it was written, and says nothing. Where everything that was
acknowledged had been moved into the file before, that is too much, and the file alone is whole; where it had not been,
something is missing.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import StoreDamaged, StoreFailed
from gateway.knowledge import schema
from gateway.knowledge.acknowledged import Acknowledged
from gateway.knowledge.file import BESIDE, File
from gateway.knowledge.rows import STATE, Rows, damages, failures

log = logging.getLogger(__name__)

ASIDE = ".damaged"
"""What a log is called, after its own name, that was set aside."""


def recover(file: File, noted: Acknowledged) -> None:
    """Of a folder that nobody else has open. A log that does harm, and of which nothing is needed, is set aside.

    Raises StoreDamaged where something that was acknowledged is missing; no file is changed then.
    """
    if not file.log_bytes():
        return
    last, wrong = _looked_at(file.path, "mode=ro", noted)
    if not wrong:
        return
    if _looked_at(file.path, "immutable=1", noted)[1] or _damage(file.path):
        noted.check(file.path, last)
        raise StoreDamaged(f"{wrong}. Restore the last snapshot into another folder")
    written, index, _ = (file.path.with_name(name) for name in BESIDE)
    written.replace(written.with_name(f"{written.name}{ASIDE}"))
    index.unlink(missing_ok=True)
    log.error("%s; the file alone has all of it, and every row is right: the log is now %s%s", wrong, written, ASIDE)


def _looked_at(path: Path, how: str, noted: Acknowledged) -> tuple[int, str]:
    """The last change, and what is wrong; empty if nothing is. Opened for reading, as who closes what is open for
    writing moves the log. `how`: with the log (mode=ro), or without (immutable=1)."""
    last = 0
    try:
        with _opened(path, how) as rows:
            last = schema.last(rows)
            wrong = noted.missing(path, last)
            if not wrong and schema.version(rows) == schema.SCHEMA and rows(STATE) != rows(schema.LAST_STATE):
                wrong = (
                    f"{path}: its write-ahead log ({BESIDE[0]}) is damaged: with it, what is current is not what its "
                    f"last change, {last}, says"
                )
    except StoreFailed as error:
        wrong = str(error)
    return last, wrong


def _damage(path: Path) -> list[str]:
    """Of the file without its log."""
    with _opened(path, "immutable=1") as rows:
        shape = [str(one) for (one,) in rows("PRAGMA integrity_check") if one != "ok"]
        return shape or list(itertools.islice(damages(rows), 1))


@contextlib.contextmanager
def _opened(path: Path, how: str) -> Iterator[Rows]:
    with (
        failures(path),
        contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as connection,
    ):
        yield Rows(path, connection)
