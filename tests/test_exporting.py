"""An export: in order, with what is deleted meanwhile left out, and no further ahead than it must be."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import pytest

from gateway.cli.exporting import AT_ONCE, exported
from gateway.client import CallFailed
from gateway.client.editor import Kept
from gateway.types import Document


@dataclass
class Store:
    """Documents by number; `fail`: what asking for some of them raises."""

    count: int
    fail: dict[str, CallFailed] = field(default_factory=dict)
    listed: int = 0
    first: threading.Event = field(default_factory=threading.Event)

    def list(self, collection: str) -> Iterator[Kept]:
        for at in range(self.count):
            self.listed += 1
            yield Kept(Document(f"d{at:02}", "T", "", "", "A.", "A.\n\n\n"), at + 1)

    def get(self, collection: str, document_id: str, version: int = 0) -> Kept:
        if document_id == "d00" and self.count > 1:
            assert self.first.wait(5)  # until another one was asked for: it is slow, and comes first all the same
        else:
            self.first.set()
        if document_id in self.fail:
            raise self.fail[document_id]
        return Kept(Document(document_id, "T", "", "", "A.", "A.\n\nBody.\n", frozenset("ba"), expires=60.5), 3)


@pytest.mark.parametrize("count", [0, 1, AT_ONCE - 1, AT_ONCE, 3 * AT_ONCE + 1])
def test_documents_come_in_order(count: int) -> None:
    found = list(exported(Store(count), "help"))
    assert [one["id"] for one in found] == [f"d{at:02}" for at in range(count)]
    if found:
        assert found[-1] == {
            "id": f"d{count - 1:02}",
            "title": "T",
            "uri": "",
            "updated": "",
            "answer": "A.",
            "body": "Body.",
            "groups": ["a", "b"],
            "expires": "1970-01-01T00:01:00.500000+00:00",
            "version": 3,
        }


def test_few_are_asked_for_before_they_are_wanted() -> None:
    store = Store(100)
    going = exported(store, "help")
    next(going)
    assert store.listed == AT_ONCE
    assert isinstance(going, Generator)
    going.close()  # and nobody waits for the others
    assert store.listed == AT_ONCE


def test_what_was_deleted_meanwhile_is_left_out_and_other_failures_end_it() -> None:
    store = Store(9, {"d04": CallFailed("NOT_FOUND", "no document", "UNKNOWN_DOCUMENT")})
    assert [one["id"] for one in exported(store, "help")] == [f"d{at:02}" for at in range(9) if at != 4]
    store.fail["d06"] = CallFailed("NOT_FOUND", "no collection", "UNKNOWN_COLLECTION")
    with pytest.raises(CallFailed, match="no collection"):
        list(exported(store, "help"))
