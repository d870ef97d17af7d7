"""What is kept of the past, for how long, and who is held up when it is cleared."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from gateway.errors import StoreFailed, VersionConflict
from gateway.knowledge import clearing
from gateway.knowledge.changes import Batch, Change, Create, Drop, Put, Receipt, Remove
from gateway.knowledge.clearing import KEY_SECONDS, keep_clear
from gateway.knowledge.file import FILE, File
from gateway.knowledge.rows import Rows
from gateway.knowledge.store import Store
from tests.test_store import CARD, document

VECTORS = np.eye(2, 3, dtype=np.float32)


class Small:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Small:
    return Small()


@pytest.fixture
async def store(tmp_path: Path, clock: Small) -> AsyncIterator[Store]:
    store = Store(tmp_path, clock)
    await write(store, Create())
    yield store
    store.close()


async def write(
    store: Store, *changes: Change, key: str = "", writer: frozenset[str] | None = None, name: str = "help"
) -> Receipt:
    return await store.write(Batch("acme", name, changes, key, writer))


def embedded(store: Store) -> set[int]:
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        return {version for (version,) in connection.execute("SELECT version FROM embedding")}


async def test_superseded_versions_go_with_their_embeddings_once_they_are_old(store: Store, clock: Small) -> None:
    for encoder in ("mini", "maxi"):
        await write(store, Put(CARD, None, encoder, VECTORS))
        clock.now += 10
    await write(store, Remove("card"), Put(document("fee"), None, "mini", VECTORS))
    assert embedded(store) == {2, 3, 5}
    assert store.clear(before=1010) == 0  # the first was ended just then
    assert store.clear(before=1011) == 1
    assert (store.document("acme", "help", "card", 2), store.cleared()) == (None, 3)
    assert embedded(store) == {3, 5}
    assert store.clear(before=1021) == 1
    assert embedded(store) == {5}
    assert [one.version for one in store.documents("acme", "help")] == [5]
    assert store.clear(before=1e12) == 0  # what is current is for ever
    assert [one.seq for one in store.changes(0)] == [1, 2, 3, 4, 5]


async def test_what_a_dropped_collection_had_goes_too(store: Store, clock: Small) -> None:
    await write(store, Put(CARD, None, "mini", VECTORS), Put(document("fee"), None, "mini", VECTORS))
    await write(store, Drop())
    assert store.clear(clock.now + 1) == 2
    assert embedded(store) == set()


async def test_keys_are_remembered_for_a_week(store: Store, clock: Small) -> None:
    await write(store, Put(CARD), key="k")
    clock.now += KEY_SECONDS
    store.clear(0)
    assert (await write(store, Put(CARD), key="k")).is_repeat
    clock.now += 1
    store.clear(0)
    assert not (await write(store, Put(CARD), key="k")).is_repeat


async def test_a_piece_is_small_and_writes_come_between(
    store: Store, clock: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clearing, "AT_ONCE", 10)
    for _ in range(2):
        await write(store, *(Put(document(f"d{at}")) for at in range(100)))
    done = threading.Event()
    clearing_all = asyncio.create_task(asyncio.to_thread(store.clear, clock.now + 1))
    clearing_all.add_done_callback(lambda _: done.set())
    clock.now += 2  # what comes meanwhile is not of before that
    written = 0
    while not done.is_set():
        await write(store, Put(document("other")))
        written += 1
    assert await clearing_all == 100
    assert written > 3
    assert store.check() == []


async def test_a_store_that_is_closed_stops_clearing(
    store: Store, clock: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clearing, "AT_ONCE", 1)
    for _ in range(2):
        await write(store, *(Put(document(f"d{at}")) for at in range(200)))
    clearing_all = asyncio.create_task(asyncio.to_thread(store.clear, clock.now + 1))
    await asyncio.sleep(0.05)
    store.close()
    assert await clearing_all < 200
    assert store.clear(clock.now + 1) == 0


async def test_it_is_done_now_and_then_whatever_fails() -> None:
    asked: list[float] = []

    class Failing:
        def clear(self, before: float) -> int:
            asked.append(before)
            if len(asked) == 1:
                raise StoreFailed("the disk is full")
            return 1

    task = asyncio.create_task(keep_clear(Failing(), 30.0, lambda: 100.0, period=0.01))
    async with asyncio.timeout(5):
        while len(asked) < 3:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.005)
    task.cancel()
    assert asked[0] == 70.0


# -- rights and locks -------------------------------------------------------------------------------------------------

SECRET = document("card", groups=frozenset({"staff"}))


@pytest.mark.parametrize("expected", [None, 0, 2, 7])
async def test_what_a_writer_may_not_read_it_cannot_replace_and_is_told_nothing_of(
    store: Store, expected: int | None
) -> None:
    await write(store, Put(SECRET))
    with pytest.raises(VersionConflict, match=r"^card cannot be written by this caller: the id is taken$"):
        await write(store, Put(document("fee")), Put(CARD, expected), writer=frozenset({"sales"}))
    assert [one.document for one in store.documents("acme", "help")] == [SECRET]
    assert (await write(store, Put(CARD), writer=frozenset({"staff"}))).versions == (3,)


async def test_what_a_writer_may_not_read_is_not_there_to_be_deleted(store: Store) -> None:
    await write(store, Put(SECRET))
    assert (await write(store, Remove("card"), writer=frozenset())).versions == (0,)
    assert len(store.documents("acme", "help")) == 1
    assert (await write(store, Remove("card"), writer=frozenset({"staff"}))).versions == (3,)


async def test_two_threads_of_one_process_do_not_write_at_once(store: Store) -> None:
    held = threading.Event()

    def hold() -> None:
        with store._file.alone():
            held.set()
            time.sleep(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    with pytest.raises(StoreFailed, match="this process has been writing"), store._file.alone(patience=0.0):
        pass
    thread.join()
    with store._file.alone(patience=0.0):
        pass


async def test_who_must_be_alone_waits_for_nobody(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.knowledge.file.OPENING_SECONDS", 0.1)
    with pytest.raises(StoreFailed, match=rf"{FILE}: a gateway, or another command, has it open"):
        Store(tmp_path, is_alone=True)
    Store(tmp_path).close()  # with others it may be open
    store.close()
    alone = Store(tmp_path, is_alone=True)
    with pytest.raises(StoreFailed, match="a command that must be alone with it is at work"):
        Store(tmp_path)
    alone.close()
    Store(tmp_path).close()


async def test_who_only_looks_at_the_log_is_waited_for(tmp_path: Path) -> None:
    first = File(tmp_path)
    assert first.is_first
    opening = asyncio.create_task(asyncio.to_thread(Store, tmp_path))
    await asyncio.sleep(0.1)
    assert not opening.done()
    first.share()
    (await opening).close()
    first.close()


async def test_compacting_gives_the_room_back(store: Store, clock: Small, tmp_path: Path) -> None:
    for _ in range(3):
        await write(store, *(Put(document(f"d{at}", "x" * 5000)) for at in range(100)))
    store.keep("mini", {10_000: VECTORS})  # of a version that was cleared meanwhile
    store.close()
    alone = Store(tmp_path, clock, is_alone=True)
    before = (tmp_path / FILE).stat().st_size
    alone.clear(clock.now + 1)
    alone.compact()
    assert (tmp_path / FILE).stat().st_size < before / 2
    assert (alone.check(), embedded(alone), len(alone.documents("acme", "help"))) == ([], set(), 100)
    alone.close()


async def test_the_bound_is_found_among_many(store: Store, clock: Small) -> None:
    for at in range(40):
        clock.now = 2000.0 + at // 4
        await write(store, Put(document(f"d{at}")))
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        for moment in (0, 1000, 1000.5, 2000, 2003, 2003.5, 2009, 2010):
            expected = next((one.seq for one in store.changes(0) if one.at >= moment), store.last() + 1)
            assert clearing.first_change_at(Rows(store.path, connection), moment) == expected
