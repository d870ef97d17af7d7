"""An import: what is read compared with what is there, what differs written, batch by batch."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from gateway.client import CallFailed
from gateway.client.editor import Kept, Written
from gateway.convert import document_to_proto
from gateway.errors import InvalidQuestion
from gateway.knowledge.changes import row_of
from gateway.knowledge.reading.drafts import Bad, Found
from gateway.rpc.editing import document_of
from gateway.types import Document

T = TypeVar("T")

TOGETHER = 16
CHARACTERS = 60_000
"""Of a call: so few documents, and so much text, that it is embedded within its deadline on a small machine."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before a call that was refused for lack of room, or of quota, is made again."""
SLOW = 3
"""Documents in a row that alone take too long: then it is the server."""


class Editing(Protocol):
    """What an import needs of the client's Editor."""

    def upsert(
        self,
        collection: str,
        documents: Sequence[Document],
        *,
        expected: Sequence[int | None] = (),
        idempotency_key: str = "",
    ) -> Written: ...

    def get(self, collection: str, document_id: str, version: int = 0) -> Kept: ...

    def list(self, collection: str) -> Iterator[Kept]: ...


@dataclass(frozen=True, slots=True)
class There:
    """What is kept in memory of a document of the collection. `digest`: empty where the server's lists do not tell."""

    version: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """A document to be written in the place of that version; 0: of none."""

    found: Found
    expected: int


@dataclass(slots=True)
class Counts:
    """Documents so far."""

    written: int = 0
    unchanged: int = 0
    bad: int = 0

    @property
    def done(self) -> int:
        return self.written + self.unchanged + self.bad

    def summary(self, deleted: int) -> str:
        return f"{self.written} written, {self.unchanged} unchanged, {deleted} deleted, {self.bad} not read"


class Import:
    """Into `collection`. `tell` hears of each that is not read, as soon as it is known."""

    def __init__(
        self,
        editor: Editing,
        collection: str,
        *,
        groups: frozenset[str] = frozenset(),
        is_dry: bool = False,
        tell: Callable[[Bad], None] = lambda bad: None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`groups`: of documents that name none. `is_dry`: nothing is written, and what would be is counted."""
        self._editor = editor
        self._collection = collection
        self._groups = groups
        self._is_dry = is_dry
        self._tell = tell
        self._pause = pause
        self._slow = 0
        self.counts = Counts()
        self.there: dict[str, There] = {}

    def look(self, *, may_be_new: bool = False) -> None:
        """See what is there; nothing where the collection is not, if it may be new. Raises CallFailed."""
        try:
            for kept in self._editor.list(self._collection):
                digest = _digest(kept.document, kept.content_hash) if kept.content_hash else b""
                self.there[kept.document.id] = There(kept.version, digest)
        except CallFailed as error:
            if error.code != "NOT_FOUND" or not may_be_new:
                raise

    def run(self, read: Iterable[Found | Bad]) -> None:
        """As it is read, little of it in memory at a time. Raises CallFailed where it cannot go on."""
        for some in batches(self._changed(read)):
            if self._is_dry:
                self.counts.written += len(some)
            else:
                self._write(some)

    def _changed(self, read: Iterable[Found | Bad]) -> Iterator[Change]:
        for one in read:
            if isinstance(one, Bad):
                self._refuse(one)
                continue
            if self._groups and not one.document.groups:
                one = replace(one, document=replace(one.document, groups=self._groups))
            try:
                document_of(document_to_proto(one.document))
            except (InvalidQuestion, ValueError) as error:  # protobuf's, for what is no Unicode text
                self._refuse(Bad(one.where, f"the gateway would refuse it: {error}"))
                continue
            there = self.there.get(one.document.id)
            if there is not None and self._is_same(one.document, there):
                self.counts.unchanged += 1
            else:
                yield Change(one, there.version if there else 0)

    def _is_same(self, document: Document, there: There) -> bool:
        if there.digest:
            return there.digest == _digest(document, document.content_hash)
        return self._editor.get(self._collection, document.id).document == document

    def _write(self, some: Sequence[Change]) -> None:
        """By halves where it takes too long, or where one of them is refused and the others must not suffer for it."""
        try:
            self._upsert(some)
        except CallFailed as error:
            if error.code not in ("DEADLINE_EXCEEDED", "INVALID_ARGUMENT", "ABORTED"):
                raise
            if len(some) > 1:
                half = len(some) // 2
                self._write(some[:half])
                self._write(some[half:])
            else:
                self._failed(some[0].found, error)
        else:
            self.counts.written += len(some)
            self._slow = 0

    def _upsert(self, some: Sequence[Change]) -> None:
        documents = [one.found.document for one in some]
        # As they are now: nobody's change of the last seconds is written over.
        expected = [one.expected for one in some]
        key = _key(self._collection, documents, expected)
        for pause in (*PAUSES, None):
            try:
                self._editor.upsert(self._collection, documents, expected=expected, idempotency_key=key)
                return
            except CallFailed as error:
                if pause is None or not (error.code in ("RESOURCE_EXHAUSTED", "UNAVAILABLE") and error.reason):
                    raise
                self._pause(pause)

    def _failed(self, one: Found, error: CallFailed) -> None:
        if error.code == "ABORTED":
            # A call that took too long may have been done all the same.
            if self._is_there(one.document):
                self.counts.written += 1
                return
            why = f"{error.message}: somebody changed it meanwhile, or only groups that you are not in may read it"
            self._refuse(Bad(one.where, f"{why}; import again, with --group for each of its groups"))
        elif error.code == "DEADLINE_EXCEEDED":
            self._slow += 1
            if self._slow >= SLOW:
                raise error
            self._refuse(Bad(one.where, "it takes too long to embed: allow more time with --timeout-ms, or divide it"))
        else:
            self._refuse(Bad(one.where, f"the gateway refuses it: {error.message}"))

    def _is_there(self, document: Document) -> bool:
        try:
            return self._editor.get(self._collection, document.id).document == document
        except CallFailed as error:
            if error.code != "NOT_FOUND":
                raise
            return False

    def _refuse(self, bad: Bad) -> None:
        self.counts.bad += bad.count
        self._tell(bad)


def batches(changes: Iterable[Change]) -> Iterator[list[Change]]:
    """Of at most TOGETHER documents and about CHARACTERS of text; a longer one goes alone."""
    some: list[Change] = []
    size = 0
    for one in changes:
        more = len(one.found.document.text)
        if some and (len(some) == TOGETHER or size + more > CHARACTERS):
            yield some
            some, size = [], 0
        some.append(one)
        size += more
    if some:
        yield some


class Shown:
    """A bar on stderr, and above it what is not read."""

    def __init__(self, name: str = "import", is_hidden: bool = False) -> None:
        self._console = Console(stderr=True)
        columns = (SpinnerColumn(), TextColumn(name), BarColumn(), _Rate(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=self._console, transient=True, disable=is_hidden)
        self._task = self._progress.add_task(name, total=None)  # how many there are is known when all is read

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def counted(self, read: Iterable[T]) -> Iterator[T]:
        for one in read:
            yield one
            self._progress.advance(self._task)

    def tell(self, bad: Bad) -> None:
        text = str(bad).encode(errors="replace").decode()  # names of files may be no Unicode text
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Rate(ProgressColumn):
    """Documents, and how many a second."""

    def render(self, task: Task) -> Text:
        speed = task.completed / task.elapsed if task.elapsed else 0.0
        return Text(f"{task.completed:.0f} documents, {speed:.0f}/s")


def _digest(document: Document, content_hash: str) -> bytes:
    """Of all that can be changed. Lists have no body, and so its text is told by the hash alone."""
    seen = [*row_of(replace(document, text="")), content_hash]
    return hashlib.sha256(json.dumps(seen).encode()).digest()


def _key(collection: str, some: Iterable[Document], expected: Sequence[int]) -> str:
    """The same for the same documents in the place of the same ones."""
    seen = [row_of(one) for one in some]
    return "import-" + hashlib.sha256(json.dumps([collection, seen, list(expected)]).encode()).hexdigest()[:32]
