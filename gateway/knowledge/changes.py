"""What can be changed in a stored collection, and what is told of it afterwards."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Literal

from gateway.types import Document, Matrix, SearchConfidence


@dataclass(frozen=True, slots=True)
class Put:
    """Write a document. `vectors` [passages, dim] are kept beside it for `encoder`. `expected`: the version that it
    must have now, 0 for one that must not be there; None: any."""

    document: Document
    expected: int | None = None
    encoder: str = ""
    vectors: Matrix | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete a document; one that is not there stays so. `expected` as in `Put`."""

    document_id: str
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Create:
    """Begin the collection; one that is there stays as it is."""


@dataclass(frozen=True, slots=True)
class Drop:
    """End the collection and all that is in it; nothing where there is none."""


@dataclass(frozen=True, slots=True)
class Calibrate:
    """Give the collection its own confidence, in the place of the one that it has; None: take that away."""

    confidence: SearchConfidence | None


@dataclass(frozen=True, slots=True)
class Switch:
    """Search every collection by this encoder from now on; nothing where that is the last word already. Written at
    EVERYWHERE. `bundle`: what it is of, for people."""

    encoder: str
    bundle: str


Change = Put | Remove | Create | Drop | Calibrate | Switch
EVERYWHERE = ("", "")
"""The place of what is of no tenant's collection: no tenant has such a name."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes of one collection that happen together. `key`: of the caller's; a batch that is sent again under the same
    key is not done again, and gets the same receipt. `writer`: the groups of who writes, who replaces and deletes
    nothing that it may not read, and ends no collection that has such; None: nothing is kept from it."""

    tenant: str
    collection: str
    changes: tuple[Change, ...]
    key: str = ""
    writer: frozenset[str] | None = None

    def fingerprint(self) -> bytes:
        """Of what is asked for; not of vectors, which follow from it."""
        asked = [
            [*row_of(one.document), one.expected] if isinstance(one, Put) else [type(one).__name__, repr(one)]
            for one in self.changes
        ]
        return hashlib.sha256(json.dumps([self.collection, asked]).encode()).digest()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is on disk now: the change number of each change of the batch, 0 for a deletion of what was not there.
    `is_repeat`: it had been done before."""

    versions: tuple[int, ...]
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """A document at a version; `gone`: of the change that ended it, 0 while it is current."""

    document: Document
    version: int
    gone: int = 0


@dataclass(frozen=True, slots=True)
class Changed:
    """One line of the log."""

    seq: int
    tenant: str
    collection: str
    op: Literal["put", "remove", "create", "drop", "confidence", "encoder"]
    document_id: str
    """Or the encoder's name."""
    at: float


@dataclass(frozen=True, slots=True)
class Switched:
    """Which encoder a store was last switched to, and the change that did it."""

    encoder: str
    bundle: str
    version: int


Row = tuple[str, str, str, str, str, str, str, float, float | None]


def row_of(document: Document) -> Row:
    """All that is written of it, in the order of the columns. One that never expires has none there: JSON knows no
    infinity, and SQLite's is not what others make of it."""
    return (
        document.id,
        document.title,
        document.uri,
        document.updated,
        document.answer,
        document.text,
        json.dumps(sorted(document.groups)),
        float(document.effective),  # as it is read again, for the checksum
        None if document.expires == math.inf else float(document.expires),
    )
