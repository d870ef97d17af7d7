"""Texts of an audit log that have to go: they are no part of the chain, which verifies without them."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from gateway.audit import segments as files
from gateway.audit.cases import FILE, Cases
from gateway.audit.marks import time_of
from gateway.audit.reading import parsed_text


def forget(folder: Path, tenant: str, before: float | None = None) -> int:
    """Take out what that tenant has asked, and its comments; `before` a time, in seconds since 1970, if one is given.
    How many texts there were, with those that were damaged, whose nobody knows. A gateway may go on writing meanwhile:
    each is overwritten where it is, by blanks.

    Copies of the files, and what a disk keeps of them, are not reached. Raises OSError, StoreFailed.
    """
    count = 0
    for chain in files.chains(folder):
        for segment in files.segments(chain):
            if segment.texts.exists():
                count += _forget(segment.texts, tenant, before)
    if (folder / FILE).exists():
        with closing(Cases(folder)) as cases:
            cases.forget_comments(tenant, before)
    return count


def _forget(path: Path, tenant: str, before: float | None) -> int:
    count, at = 0, 0
    with path.open("r+b", buffering=0) as file:
        for line, is_whole in files.lines(path):
            if is_whole and line.strip() and _is_meant(line, tenant, before):
                os.pwrite(file.fileno(), b" " * len(line), at)
                count += 1
            at += len(line) + 1
        os.fsync(file.fileno())
    return count


def _is_meant(line: bytes, tenant: str, before: float | None) -> bool:
    """Also where it is damaged: it may be that tenant's, and nobody can read it as a text any more."""
    found = parsed_text(line)
    return not found or bool(found["tenant"] == tenant and (before is None or time_of(found["id"]) < before))
