"""An export: each document of a collection, in the form that an import takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from gateway.client import CallFailed
from gateway.client.editor import Kept
from gateway.dates import iso

AT_ONCE = 4
"""Calls on their way: a server reads one document while the one before travels."""


class Editing(Protocol):
    """What an export needs of the client's Editor."""

    def get(self, collection: str, document_id: str, version: int = 0) -> Kept: ...

    def list(self, collection: str) -> Iterator[Kept]: ...


def exported(editor: Editing, collection: str) -> Iterator[dict[str, Any]]:
    """All that the caller may read, in the order of their ids, a few of them in memory at a time. Raises CallFailed."""
    asked: deque[Future[Kept | None]] = deque()
    with ThreadPoolExecutor(AT_ONCE, "export") as pool:
        try:
            for one in editor.list(collection):
                asked.append(pool.submit(_got, editor, collection, one.document.id))
                if len(asked) == AT_ONCE and (kept := asked.popleft().result()):
                    yield shown(kept)
            while asked:
                if kept := asked.popleft().result():
                    yield shown(kept)
        finally:
            pool.shutdown(cancel_futures=True)


def _got(editor: Editing, collection: str, document_id: str) -> Kept | None:
    """None where it was deleted since it was listed."""
    try:
        return editor.get(collection, document_id)
    except CallFailed as error:
        if error.reason != "UNKNOWN_DOCUMENT":
            raise
        return None


def shown(kept: Kept) -> dict[str, Any]:
    """Without dates that it does not have."""
    document = kept.document
    return {
        "id": document.id,
        "title": document.title,
        "uri": document.uri,
        "updated": document.updated,
        "answer": document.answer,
        "body": document.text.removeprefix(document.answer).strip(),
        "groups": sorted(document.groups),
        **{name: text for name in ("effective", "expires") if (text := iso(getattr(document, name)))},
        "version": kept.version,
    }
