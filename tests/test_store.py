"""The knowledge base on disk: whole batches, in order, once, and what is left after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gateway import failpoints
from gateway.errors import HiddenDocuments, KeyReused, StoreFailed, Unavailable, UnknownCollection, VersionConflict
from gateway.knowledge.changes import Batch, Change, Create, Drop, Put, Receipt, Remove
from gateway.knowledge.committing import CHECKPOINT_BATCHES
from gateway.knowledge.file import FILE, File
from gateway.knowledge.store import Store
from gateway.types import Document

LOG_HEADER, LOG_FRAME = 32, 24 + 4096
"""Bytes of SQLite's write-ahead log, as its file format says."""
KILLS = 20
"""Each costs half a second; `gateway loadtest crashes` makes hundreds."""


def document(name: str, text: str = "By post.", groups: frozenset[str] = frozenset()) -> Document:
    return Document(
        name, name.title(), f"https://help.example/{name}", "2026-01-01", text, f"{text}\n\nMore.\n", groups
    )


CARD = document("card")


BEGUN = 2
"""Changes that the fixture has made: a collection of each of two tenants."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(tmp_path)
    for tenant in ("acme", "other"):
        await write(store, Create(), tenant=tenant)
    yield store
    store.close()


async def write(store: Store, *changes: Change, key: str = "", tenant: str = "acme") -> Receipt:
    return await store.write(Batch(tenant, "help", changes, key))


async def test_what_is_written_is_there_and_numbered(store: Store) -> None:
    assert (await write(store, Put(CARD), Put(document("fee")))).versions == (3, 4)
    assert [(one.document.id, one.version) for one in store.documents("acme", "help")] == [("card", 3), ("fee", 4)]
    assert store.documents("acme", "help")[0].document == CARD
    changes = [(one.seq, one.op, one.document_id) for one in store.changes(BEGUN)]
    assert changes == [(3, "put", "card"), (4, "put", "fee")]
    assert store.last() == 4


async def test_another_tenant_has_nothing_of_it(store: Store) -> None:
    await write(store, Put(CARD))
    assert store.documents("other", "help") == []
    assert store.document("other", "help", "card") is None


async def test_earlier_versions_are_kept_and_told_apart(store: Store) -> None:
    (first,) = (await write(store, Put(CARD))).versions
    (second,) = (await write(store, Put(document("card", "By courier.")))).versions
    old, now = (store.document("acme", "help", "card", version) for version in (first, 0))
    assert old is not None
    assert now is not None
    assert (old.document.answer, old.gone, now.document.answer, now.gone) == ("By post.", second, "By courier.", 0)
    (third,) = (await write(store, Remove("card"))).versions
    ended = store.document("acme", "help", "card")
    assert ended is not None
    assert (ended.version, ended.gone) == (second, third)
    assert store.documents("acme", "help") == []


async def test_to_delete_what_is_not_there_changes_nothing(store: Store) -> None:
    assert (await write(store, Remove("card"))).versions == (0,)
    assert store.last() == BEGUN


@pytest.mark.parametrize(("expected", "is_written"), [(None, True), (3, True), (0, False), (2, False)])
async def test_a_change_may_expect_a_version(store: Store, expected: int | None, is_written: bool) -> None:
    await write(store, Put(CARD))
    for change in (Put(document("card", "New."), expected), Remove("card", expected)):
        if is_written:
            await write(store, change)
            await write(store, Put(CARD))
            return
        with pytest.raises(VersionConflict, match=f"card is at version 3, and the change expects {expected}"):
            await write(store, Put(document("fee")), change)
    assert [one.document for one in store.documents("acme", "help")] == [CARD]  # nothing of the batch was done


async def test_one_that_must_be_new_is_written_once(store: Store) -> None:
    await write(store, Put(CARD, expected=0))
    with pytest.raises(VersionConflict):
        await write(store, Put(CARD, expected=0))


async def test_what_comes_again_under_its_key_is_not_done_again(store: Store) -> None:
    first = await write(store, Put(CARD), key="a")
    again = await write(store, Put(CARD), key="a")
    assert (again.versions, again.is_repeat, first.is_repeat) == (first.versions, True, False)
    assert (await write(store, Put(CARD), key="a", tenant="other")).is_repeat is False
    with pytest.raises(KeyReused, match="idempotency key 'a' was used for something else"):
        await write(store, Put(document("card", "Other.")), key="a")


@pytest.mark.parametrize(("effective", "expires"), [(0.0, math.inf), (60.25, math.inf), (0.0, 7e9), (60.0, 61.0)])
async def test_dates_are_kept(store: Store, tmp_path: Path, effective: float, expires: float) -> None:
    dated = replace(CARD, effective=effective, expires=expires)
    await write(store, Put(document("card", "Before.")), Put(dated))
    alone = store.document("acme", "help", "card")
    around = store.around(store.changes(BEGUN + 1)[0])
    assert around.written == around.now
    for one in (alone, around.now, *store.documents("acme", "help")):
        assert one is not None
        assert (one.document.effective, one.document.expires) == (effective, expires)
    assert alone is not None
    assert alone.document == dated
    with sqlite3.connect(tmp_path / FILE) as connection:  # what others read there, too
        kept = connection.execute("SELECT effective, expires FROM document WHERE gone IS NULL").fetchall()
    assert kept == [(effective, None if expires == math.inf else expires)]


@pytest.mark.parametrize("other", [replace(CARD, effective=60.0), replace(CARD, expires=60.0)])
async def test_other_dates_are_another_request(store: Store, other: Document) -> None:
    await write(store, Put(CARD), key="a")
    assert (await write(store, Put(CARD), key="a")).is_repeat
    with pytest.raises(KeyReused):
        await write(store, Put(other), key="a")
    assert other.content_hash == CARD.content_hash  # what a reader sees is the same


@pytest.mark.parametrize(
    ("rights", "writer", "may"),
    [
        ([], set(), True),
        ([set(), set()], set(), True),
        ([set(), {"staff"}], set(), False),
        ([{"staff"}, {"risk"}], {"staff"}, False),
        ([{"staff"}, {"risk", "legal"}], {"staff", "legal"}, True),
        ([{"staff"}], None, True),
    ],
)
async def test_whoever_may_not_read_all_of_a_collection_does_not_end_it(
    store: Store, rights: list[set[str]], writer: set[str] | None, may: bool
) -> None:
    for at, groups in enumerate(rights):
        await write(store, Put(document(f"d{at}", groups=frozenset(groups))))
    await write(store, Put(document("was", groups=frozenset({"other"}))))
    await write(store, Remove("was"))  # which hinders nobody any more
    batch = Batch("acme", "help", (Drop(),), writer=None if writer is None else frozenset(writer))
    if may:
        await store.write(batch)
    else:
        with pytest.raises(HiddenDocuments, match="has documents that this caller may not read"):
            await store.write(batch)
    assert (("acme", "help") in store.collections()) is not may
    assert len(store.documents("acme", "help")) == (0 if may else len(rights))


async def test_vectors_are_kept_once_and_take_little_more_than_they_are(store: Store) -> None:
    versions = (await write(store, *(Put(document(f"d{at}")) for at in range(500)))).versions
    store.compact()
    before = store.path.stat().st_size
    rows = np.ones((2, 384), np.float32)
    for value in (1, 2):  # the second time in the place of the first
        store.keep("mini", dict.fromkeys(versions, rows * value))
    assert {float(one.max()) for one in store.vectors("mini", 384, versions).values()} == {2}
    store.compact()
    assert (store.path.stat().st_size - before) / (len(versions) * rows.nbytes) < 1.45


async def test_a_batch_that_fails_does_not_take_others_with_it(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(write(store, Put(document(f"d{at}"), expected=0 if at % 2 else 7)) for at in range(20)),
        return_exceptions=True,
    )
    assert [isinstance(one, Receipt) for one in outcomes] == [bool(at % 2) for at in range(20)]
    assert len(store.documents("acme", "help")) == 10


async def test_receipts_come_in_order(store: Store) -> None:
    seen: list[int] = []

    async def one(at: int) -> None:
        seen.extend((await write(store, Put(document(f"d{at}")))).versions)

    await asyncio.gather(*(one(at) for at in range(200)))
    assert seen == list(range(BEGUN + 1, BEGUN + 201))


async def test_collections_begin_and_end(store: Store) -> None:
    (version,) = (await write(store, Put(CARD), key="k")).versions
    await write(store, Drop())
    assert (store.collections(), store.documents("acme", "help")) == ([("other", "help")], [])
    assert (await write(store, Drop())).versions == (0,)
    with pytest.raises(UnknownCollection):
        await write(store, Put(CARD))
    await write(store, Create())
    assert (await write(store, Create())).versions == (0,)
    assert (store.collections(), store.documents("acme", "help")) == ([("acme", "help"), ("other", "help")], [])
    assert store.document("acme", "help", "card", version) is None  # of the one that was there before
    assert (await write(store, Put(CARD), key="k")).is_repeat is False


async def test_vectors_are_kept_by_encoder(store: Store) -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    (version,) = (await write(store, Put(CARD, None, "mini", vectors))).versions
    assert store.vectors("mini", 3, [version, 99])[version].tolist() == vectors.tolist()
    assert store.vectors("maxi", 3, [version]) == {}
    assert store.vectors("mini", 4, [version]) == {}  # of another width: not that encoder's


async def test_another_process_sees_that_something_was_written(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path)
    before = other.stamp()
    assert other.stamp() == before
    await write(store, Put(CARD))
    assert other.stamp() != before
    assert [one.document for one in other.documents("acme", "help")] == [CARD]
    other.close()


async def test_two_processes_write_one_after_the_other(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path)
    receipts = await asyncio.gather(*(write((store, other)[at % 2], Put(document(f"d{at}"))) for at in range(60)))
    other.close()
    assert sorted(version for one in receipts for version in one.versions) == list(range(BEGUN + 1, BEGUN + 61))


async def test_a_snapshot_is_the_whole_at_one_moment(store: Store, tmp_path: Path) -> None:
    await write(store, Put(CARD))
    folder = tmp_path / "copy"
    folder.mkdir()
    assert store.snapshot(folder / FILE) == BEGUN + 1
    await write(store, Put(document("fee")))
    with pytest.raises(StoreFailed, match="is there already"):
        store.snapshot(folder / FILE)
    copy = Store(folder)
    assert [one.document for one in copy.documents("acme", "help")] == [CARD]
    copy.close()


async def test_a_closed_store_takes_nothing(store: Store) -> None:
    await write(store, Put(CARD))
    store.close()
    with pytest.raises(Unavailable, match="closed"):
        await write(store, Put(CARD))


def test_what_is_no_store_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(StoreFailed, match=r"knowledge\.db: file is not a database"):
        Store(tmp_path)


def test_a_store_of_another_version_is_not_opened(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("UPDATE meta SET value = '1'")
    with pytest.raises(StoreFailed, match="written by another version: schema 1, and this reads 4; serve it with"):
        Store(tmp_path)


@pytest.fixture
async def small_files() -> AsyncIterator[None]:
    """No file of this process may grow beyond 1 MiB: the same to SQLite as a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


async def test_where_nothing_more_can_be_written_reading_goes_on(store: Store, small_files: None) -> None:
    await write(store, Put(CARD))
    with pytest.raises(StoreFailed):
        await write(store, *(Put(document(f"d{at}", "x" * 9000)) for at in range(200)))
    assert [one.document for one in store.documents("acme", "help")] == [CARD]
    assert (await write(store, Put(document("fee")))).versions == (BEGUN + 2,)
    assert store.check() == []


# -- crashes ----------------------------------------------------------------------------------------------------------

WRITER = """
import asyncio, sys
from pathlib import Path
from gateway.knowledge.changes import Batch, Create, Put
from gateway.knowledge.store import Store
from gateway.types import Document

async def main():
    store = Store(Path(sys.argv[1]))
    if not store.collections():
        await store.write(Batch("t", "c", (Create(),)))
    at = int(sys.argv[2])
    while True:
        two = [Document(f"d{at}-{half}", "T", "", "", "A.", "A." * 300) for half in "ab"]
        await store.write(Batch("t", "c", tuple(map(Put, two))))
        print(at, flush=True)
        at += 1

asyncio.run(main())
"""


def killed(folder: Path, at: int, failpoint: str = "") -> int:
    """A process that writes pairs from `at` on and says each once it is acknowledged, until it dies. The next pair."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(at)],
        stdout=subprocess.PIPE,
        env={failpoints.VARIABLE: f"{failpoint}=kill" if failpoint else "", "PATH": ""},
        text=True,
    ) as process:
        assert process.stdout is not None
        said, most = [], random.randint(1, 60)
        for line in process.stdout:
            said.append(int(line))
            if len(said) == most:
                process.kill()
        process.wait(30)
    return said[-1] + 1 if said else at


def check_pairs(folder: Path, acknowledged: int) -> int:
    """All that was acknowledged is there, and whatever else is there is whole. How many pairs there are."""
    store = Store(folder)
    try:
        assert store.check() == []
        ids = [one.document.id for one in store.documents("t", "c")]
        pairs = {int(one[1:-2]) for one in ids}
        assert len(ids) == 2 * len(pairs)
        assert pairs >= set(range(acknowledged))
        assert [one.seq for one in store.changes(0)] == list(range(1, store.last() + 1))
        return len(pairs)
    finally:
        store.close()


def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    acknowledged = 0
    for _ in range(KILLS):
        following = killed(tmp_path, acknowledged)
        there = check_pairs(tmp_path, following)
        acknowledged = max(there, following)


@pytest.mark.parametrize(("name", "pairs"), [("before-commit", 0), ("after-commit", 1)])
async def test_a_process_that_dies_at_the_worst_moment_leaves_all_or_nothing(
    tmp_path: Path, name: str, pairs: int
) -> None:
    assert name in failpoints.STORE
    store = Store(tmp_path)
    await store.write(Batch("t", "c", (Create(),)))
    store.close()
    assert killed(tmp_path, 0, name) == 0  # it acknowledged nothing
    assert check_pairs(tmp_path, 0) == pairs


@pytest.mark.parametrize("seed", range(8))
async def test_a_torn_log_leaves_a_state_that_there_was(tmp_path: Path, seed: int) -> None:
    store = Store(tmp_path)
    await write(store, Create())
    for at in range(10):
        await write(store, Put(document(f"d{at}", "x" * 3000)), Put(document(f"e{at}")))
    wal = tmp_path / f"{FILE}-wal"
    content = bytearray(wal.read_bytes())
    database = (tmp_path / FILE).read_bytes()
    store.close()
    chance = random.Random(seed)
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / FILE).write_bytes(database)
    cut = chance.randrange(32, len(content))
    if seed % 2:
        content[cut] ^= 1 << chance.randrange(8)
    else:
        content = content[:cut]
    (torn / wal.name).write_bytes(content)
    try:
        left = Store(torn)
    except StoreFailed:  # the first transaction, which makes the tables, is torn: nothing was acknowledged before it
        return
    ids = {one.document.id for one in left.documents("acme", "help")}
    assert ids in [{f"{kind}{at}" for at in range(count) for kind in "de"} for count in range(11)]
    left.close()


async def test_who_writes_hears_what_will_be_while_the_disk_is_at_work(store: Store) -> None:
    told: list[Receipt] = []
    batch = Batch("acme", "help", (Put(CARD),))
    receipt = await store.write(batch, told.append)
    assert told == [receipt]
    with pytest.raises(VersionConflict):
        await store.write(replace(batch, changes=(Put(CARD, expected=0),)), told.append)
    assert told == [receipt]


async def test_who_is_written_with_others_hears_nothing_before(store: Store) -> None:
    told: list[Receipt] = []
    with store._file.alone():
        first = asyncio.create_task(store.write(Batch("acme", "help", (Put(CARD),)), told.append))
        for _ in range(500):  # until the writing thread has it, and waits
            await asyncio.sleep(0.01)
            if store._committer._jobs.empty():
                break
        more = [
            asyncio.create_task(store.write(Batch("acme", "help", (Put(document(name)),)), told.append))
            for name in "ab"
        ]
        await asyncio.sleep(0)
    receipt = await first
    await asyncio.gather(*more)
    assert told == [receipt]


async def test_what_was_told_is_not_kept(store: Store) -> None:
    class Told:
        def __call__(self, receipt: Receipt) -> None:
            pass

    told = Told()
    there = weakref.ref(told)
    await store.write(Batch("acme", "help", (Put(CARD),)), told)
    del told
    for _ in range(100):
        gc.collect()
        if there() is None:
            break
        await asyncio.sleep(0.02)
    assert there() is None


async def test_a_reader_with_a_snapshot_holds_up_no_write(store: Store, tmp_path: Path) -> None:
    reader = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM document").fetchone() == (0,)
    async with asyncio.timeout(5):
        for at in range(2 * CHECKPOINT_BATCHES):
            await write(store, Put(document(f"d{at}")))
    assert reader.execute("SELECT count(*) FROM document").fetchone() == (0,)
    reader.close()


async def test_a_log_that_was_moved_begins_anew_beside_no_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.knowledge.committing.CHECKPOINT_BATCHES", 1)
    restart, tried = File.restart_log, []

    def noted(file: File, connection: sqlite3.Connection) -> None:
        restart(file, connection)
        tried.append(1)

    async def moved(times: int) -> bytes:
        """The log's header, once it was moved so often: what is written is acknowledged before that."""
        for _ in range(500):
            if len(tried) >= times:
                break
            await asyncio.sleep(0.01)
        assert len(tried) == times
        return log.read_bytes()[:LOG_HEADER]

    monkeypatch.setattr(File, "restart_log", noted)
    log = tmp_path / f"{FILE}-wal"
    store = Store(tmp_path)
    await write(store, Create())
    first = await moved(1)
    with store.moment() as rows:
        rows("SELECT count(*) FROM document")
        for at in range(3):
            await write(store, Put(document(f"a{at}")))
        assert await moved(4) == first
        size = log.stat().st_size
    await write(store, Put(document("b")))
    assert await moved(5) != first
    content = log.read_bytes()
    assert len(content) >= size  # and its blocks are there to be written over
    for kept, length in ((LOG_HEADER + LOG_FRAME, len(content)), (0, 0)):
        # Whatever becomes of pages that were moved: one that is no more covers none that is newer, nor is one missing.
        damaged = tmp_path / f"damaged{kept}"
        damaged.mkdir()
        (damaged / FILE).write_bytes((tmp_path / FILE).read_bytes())
        (damaged / log.name).write_bytes(content[:kept] + bytes(length - kept))
        with contextlib.closing(Store(damaged)) as left:
            assert {one.document.id for one in left.documents("acme", "help")} == {"a0", "a1", "a2", "b"}
    store.close()
