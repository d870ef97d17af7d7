"""What the disk has damaged is noticed before it is shown: rows by their checksums, what is missing by the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.errors import StoreDamaged, StoreFailed
from gateway.knowledge.acknowledged import NAME, Acknowledged
from gateway.knowledge.changes import EVERYWHERE, Batch, Calibrate, Change, Create, Drop, Put, Remove, Switch
from gateway.knowledge.file import FILE
from gateway.knowledge.recovering import ASIDE
from gateway.knowledge.rows import COLUMNS, STATE, checksum, is_right
from gateway.knowledge.schema import LAST_STATE
from gateway.knowledge.store import Store
from gateway.knowledge.verifying import verify
from tests.test_collection_confidence import CONFIDENCE
from tests.test_generation import document
from tests.test_knowledge_base import PLACE, Desk

LOG = f"{FILE}-wal"
KEY = "a-key"


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """Some of everything, as it is after a stop."""
    folder = tmp_path / "data"
    desk = Desk(folder)
    await desk.write(Create(), Put(document("a", "card")), Put(document("b", "fee")))
    await desk.write(Put(document("a", "loan")))
    await desk.base.write(PLACE, [Put(document("c", "tax"))], KEY)
    await desk.store.write(Batch(*PLACE, (Calibrate(CONFIDENCE),)))
    await desk.base.record()
    desk.store.close()
    return folder


def spoil(folder: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(folder / FILE, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Store]:
    store = Store(folder)
    try:
        yield store
    finally:
        store.close()


def wrong(store: Store) -> list[str]:
    return list(verify(store, lambda done, of: None))


def refusal(folder: Path) -> str:
    """Why a start refuses what is there."""
    with pytest.raises(StoreDamaged) as caught:
        Desk(folder)
    return str(caught.value)


# -- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "column"), [(table, one) for table, columns in COLUMNS.items() for one in (*columns.split(", "), "sum")]
)
async def test_a_change_of_any_value_is_named(folder: Path, table: str, column: str) -> None:
    more = f"coalesce({column}, 0) + 100"
    other = f"CASE typeof({column}) WHEN 'text' THEN {column} || 'x' WHEN 'blob' THEN x'00' ELSE {more} END"
    where = {"meta": "name = 'encoder'", "change": "seq = 2", "document": "version = 2", "embedding": "version = 5"}
    spoil(folder, f"UPDATE {table} SET {column} = {other} WHERE {where.get(table, '1')}")
    with opened(folder) as store:
        assert any(f"{table} " in one and "is not as it was written" in one for one in wrong(store))


@pytest.mark.parametrize(
    ("table", "column"),
    [("document", "id"), ("document", "tenant"), ("collection", "name"), ("confidence", "collection")],
)
async def test_a_text_that_has_become_bytes_is_named(folder: Path, table: str, column: str) -> None:
    """As by a flipped bit in the type that SQLite writes before a value."""
    spoil(folder, f"UPDATE {table} SET {column} = CAST({column} AS BLOB)")
    with opened(folder) as store:
        assert any(f"{table} " in one and "is not as it was written" in one for one in wrong(store))


def test_every_flipped_bit_of_a_row_is_told() -> None:
    row = ("acme", "help", "a", 2, "A title", "", "", "An answer.", "An answer.", "[]", 0.0, None)
    found = checksum("document", row)
    assert is_right("document", (*row, None, found))
    for at, value in enumerate(row):
        for bit in range(8 * len(value) if isinstance(value, str) else 0):
            content = bytearray(str(value).encode())
            content[bit // 8] ^= 1 << bit % 8
            other = (*row[:at], content.decode("utf-8", "replace"), *row[at + 1 :])
            assert not is_right("document", (*other, None, found))
    assert is_right("document", (*row, 5, found + (5 << 32)))
    for gone in (None, 0, 4, "5", b"\x05"):
        assert not is_right("document", (*row, gone, found + (5 << 32)))
    for total in (None, "x", 0.5):
        assert not is_right("document", (*row, None, total))


async def test_a_damaged_document_is_not_served(folder: Path) -> None:
    spoil(folder, "UPDATE document SET text = replace(text, 'tax', 'tex') WHERE id = 'c'")
    said = refusal(folder)
    assert f"{folder / FILE}: document acme/help/c/5 is not as it was written" in said
    assert f"`gateway knowledge verify --data {folder}` names all that is wrong. Restore the last snapshot" in said


async def test_a_damaged_earlier_version_is_not_shown_and_holds_up_nothing_else(folder: Path) -> None:
    spoil(folder, "UPDATE document SET text = 'Other.' WHERE version = 2")
    desk = Desk(folder)
    assert desk.found("loan")[0] == "a"
    with pytest.raises(StoreDamaged, match="document acme/help/a/2 is not as it was written"):
        desk.store.document(*PLACE, "a", 2)
    desk.store.close()


async def test_a_text_that_is_none_is_not_told(folder: Path) -> None:
    spoil(folder, "UPDATE document SET text = CAST(x'ff736563726574' AS TEXT) WHERE id = 'c'")
    assert "a text in it is no UTF-8" in refusal(folder)
    assert "secret" not in refusal(folder)
    with opened(folder) as store:
        assert any("document acme/help/c/5" in one for one in wrong(store))


async def test_damaged_vectors_are_made_anew(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    spoil(folder, "UPDATE embedding SET vectors = zeroblob(length(vectors)) WHERE version = 5")
    desk = Desk(folder)
    assert (desk.found("tax")[0], [one for one in desk.embedded if "tax" in one]) == ("c", ["c. tax."])
    assert "embedding mini/5 is not as it was written" in caplog.text
    assert wrong(desk.store) == []
    desk.store.close()


async def test_who_may_replace_a_damaged_document_is_not_guessed(folder: Path) -> None:
    with opened(folder) as store:
        spoil(folder, "UPDATE document SET groups = '[\"staff\"]' WHERE id = 'c'")
        written = await asyncio.gather(
            *(store.write(Batch(*PLACE, (Put(document(name, "card")),))) for name in "xcy"), return_exceptions=True
        )
    assert [type(one).__name__ for one in written] == ["Receipt", "StoreDamaged", "Receipt"]


# -- what is missing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM document WHERE id = 'b'",
        "DELETE FROM collection",
        "DELETE FROM confidence",
        "DELETE FROM meta WHERE name = 'encoder'",
        "DELETE FROM change WHERE seq = (SELECT max(seq) FROM change)",
    ],
)
async def test_what_is_not_there_any_more_is_missed(folder: Path, statement: str) -> None:
    spoil(folder, statement)
    assert "what is current is not what change" in refusal(folder) or "was acknowledged" in refusal(folder)


async def test_an_older_row_in_the_place_of_a_newer_one_is_noticed(folder: Path) -> None:
    """As where a page of an earlier moment covers a newer one: each row is as it was written."""
    spoil(folder, "UPDATE document SET gone = 4, sum = sum + (4 << 32) WHERE version = 4")
    spoil(folder, "UPDATE document SET gone = NULL, sum = sum - (4 << 32) WHERE version = 2")
    with opened(folder) as store:
        assert not any("as it was written" in one for one in wrong(store))
    assert "a row is missing, or an older one in its place" in refusal(folder)


async def test_an_earlier_version_that_is_missing_is_named(folder: Path) -> None:
    spoil(folder, "DELETE FROM document WHERE version = 2")
    with opened(folder) as store:
        assert wrong(store) == ["acme/help/a: version 2 is not kept as change 4 ended it"]


async def test_the_log_says_what_is_current_after_every_kind_of_change(tmp_path: Path) -> None:
    changes: list[tuple[tuple[str, str], Change]] = [
        (PLACE, Create()),
        (PLACE, Create()),
        (PLACE, Put(document("a", "card"))),
        (PLACE, Put(document("a", "again"))),
        (PLACE, Put(document("b", "card"))),
        (PLACE, Remove("a")),
        (PLACE, Remove("a")),
        (PLACE, Calibrate(CONFIDENCE)),
        (PLACE, Calibrate(None)),
        (EVERYWHERE, Switch("mini", "tiny/1")),
        (EVERYWHERE, Switch("maxi", "tiny/2")),
        (PLACE, Calibrate(CONFIDENCE)),
        (PLACE, Drop()),
        (PLACE, Create()),
    ]
    with opened(tmp_path) as store, store.apart() as rows:
        for place, change in changes:
            await store.write(Batch(*place, (change,)))
            assert rows(STATE) == rows(LAST_STATE)
        store.clear(4e9)
        assert (rows(STATE), wrong(store)) == (rows(LAST_STATE), [])


# -- the log of writes ------------------------------------------------------------------------------------------------


@pytest.fixture
async def killed(tmp_path: Path) -> Path:
    """A folder as a kill leaves it: ten writes are in the log alone."""
    desk = Desk(tmp_path / "live")
    desk.store.clear(0.0)  # moves what there is
    await desk.write(Create())
    for at in range(10):
        await desk.write(Put(document(f"d{at}", "card")))
    shutil.copytree(tmp_path / "live", tmp_path / "killed")
    desk.store.close()
    return tmp_path / "killed"


def cut(folder: Path) -> None:
    with (folder / LOG).open("r+b") as log:
        log.truncate(log.seek(0, os.SEEK_END) // 2)


def flip(folder: Path) -> None:
    content = bytearray((folder / LOG).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / LOG).write_bytes(content)


@pytest.mark.parametrize("harm", [cut, flip, lambda folder: (folder / LOG).unlink()])
async def test_what_was_acknowledged_and_is_not_there_is_missed(killed: Path, harm: Callable[[Path], None]) -> None:
    harm(killed)
    before = {name: (killed / name).read_bytes() for name in (FILE, LOG) if (killed / name).exists()}
    said = refusal(killed)
    assert "and change 11 was acknowledged" in said
    assert f"to go on without those changes, delete {killed / NAME}" in said
    assert {name: (killed / name).read_bytes() for name in before} == before  # somebody may yet save more of it
    (killed / NAME).unlink()
    desk = Desk(killed)
    assert desk.store.last() < 11
    assert wrong(desk.store) == []
    desk.store.close()


async def test_a_file_that_is_not_there_is_missed(killed: Path) -> None:
    (killed / FILE).unlink()
    (killed / LOG).unlink()
    assert "ends with change 0, and change 11 was acknowledged" in refusal(killed)


@pytest.mark.parametrize("harm", [cut, flip])
async def test_a_log_of_which_nothing_is_needed_is_set_aside(
    tmp_path: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    live, left = tmp_path / "live", tmp_path / "left"
    desk = Desk(live)
    await desk.write(Create())
    for at in range(10):
        await desk.write(Put(document(f"d{at}", "card")))
    with desk.store.moment() as rows:
        rows("SELECT 1 FROM change")  # who reads hinders nobody who moves it, but it is not emptied
        desk.store.clear(0.0)
        shutil.copytree(live, left)
    desk.store.close()
    harm(left)
    with opened(left) as store:  # which looks first
        assert (store.last(), len(store.documents(*PLACE)), wrong(store)) == (11, 10, [])
    assert (left / f"{LOG}{ASIDE}").exists()
    assert "the file alone has all of it, and every row is right" in caplog.text


async def test_who_has_it_open_is_not_disturbed(killed: Path) -> None:
    with opened(killed) as first, opened(killed) as second:
        assert (first.last(), second.last()) == (11, 11)
        await second.write(Batch(*PLACE, (Put(document("new", "card")),)))
        with opened(killed) as third:
            assert third.last() == 12


# -- the note ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x", b"\x0b" + bytes(20), bytes(12)])
async def test_a_note_that_says_nothing_is_written_anew(
    killed: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (killed / NAME).write_bytes(content)
    with opened(killed) as store:
        assert store.last() == 11
    assert ("is damaged, so nobody knows" in caplog.text) is bool(content)
    cut(killed) if (killed / LOG).exists() else (killed / FILE).unlink()
    assert "change 11 was acknowledged" in refusal(killed)


async def test_the_note_never_goes_back(tmp_path: Path) -> None:
    def noted() -> int:
        with contextlib.closing(Acknowledged(tmp_path)) as note:
            return note._noted()

    with opened(tmp_path) as one, opened(tmp_path) as other:
        await one.write(Batch(*PLACE, (Create(), Put(document("a", "card"))), KEY))
        await other.write(Batch(*PLACE, (Put(document("b", "card")),)))
        assert noted() == 3
        assert (await one.write(Batch(*PLACE, (Create(), Put(document("a", "card"))), KEY))).is_repeat
        await one.write(Batch(*PLACE, (Remove("nobody"),)))
        assert noted() == 3


async def test_a_note_that_cannot_be_written_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> int:
        raise OSError("no space left")

    with opened(tmp_path) as store:
        with monkeypatch.context() as broken:
            broken.setattr(os, "pwrite", full)
            assert (await store.write(Batch(*PLACE, (Create(),)))).versions == (1,)
        assert "change 1 could not be noted as acknowledged" in caplog.text
    with opened(tmp_path) as store:
        assert store.last() == 1


# -- files from before there were checksums ---------------------------------------------------------------------------

BEFORE = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE collection(
    tenant TEXT NOT NULL, name TEXT NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (tenant, name)) WITHOUT ROWID;
CREATE TABLE change(
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL, collection TEXT NOT NULL, op TEXT NOT NULL, document TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE document(
    tenant TEXT NOT NULL, collection TEXT NOT NULL, id TEXT NOT NULL,
    version INTEGER NOT NULL, gone INTEGER,
    title TEXT NOT NULL, uri TEXT NOT NULL, updated TEXT NOT NULL, answer TEXT NOT NULL, text TEXT NOT NULL,
    groups TEXT NOT NULL, effective REAL NOT NULL, expires REAL,
    PRIMARY KEY (tenant, collection, id, version)) WITHOUT ROWID;
CREATE UNIQUE INDEX current ON document(tenant, collection, id) WHERE gone IS NULL;
CREATE TABLE embedding(
    encoder TEXT NOT NULL, version INTEGER NOT NULL, vectors BLOB NOT NULL);
CREATE UNIQUE INDEX embedded ON embedding(encoder, version);
CREATE TABLE confidence(
    tenant TEXT NOT NULL, collection TEXT NOT NULL, version INTEGER NOT NULL, content TEXT,
    PRIMARY KEY (tenant, collection)) WITHOUT ROWID;
CREATE TABLE request(
    tenant TEXT NOT NULL, collection TEXT NOT NULL, key TEXT NOT NULL,
    content BLOB NOT NULL, versions TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (tenant, collection, key)) WITHOUT ROWID;
"""


def as_before(folder: Path) -> None:
    """Make a store one of schema 3, of the same rows."""
    now, before = folder / FILE, folder / "before"
    with contextlib.closing(sqlite3.connect(before, isolation_level=None)) as connection:
        connection.executescript(BEFORE)
        connection.execute("ATTACH ? AS now", (str(now),))
        for table, columns in COLUMNS.items():
            kept = columns.replace(", state", "") + (", gone" if table == "document" else "")
            connection.execute(f"INSERT INTO {table} ({kept}) SELECT {kept} FROM now.{table}")
        connection.execute("UPDATE meta SET value = '3' WHERE name = 'schema'")
    before.replace(now)
    (folder / NAME).unlink()


async def test_a_file_from_before_is_given_checksums(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with opened(folder) as store:
        before = (store.changes(0), store.documents(*PLACE), store.document(*PLACE, "a", 2), store.switched())
    as_before(folder)
    desk = Desk(folder)
    store = desk.store
    assert "every row is given a checksum" in caplog.text
    assert (store.changes(0), store.documents(*PLACE), store.document(*PLACE, "a", 2), store.switched()) == before
    assert (wrong(store), desk.embedded) == ([], [])
    assert (await desk.base.write(PLACE, [Put(document("c", "tax"))], KEY)).is_repeat
    assert await desk.write(Put(document("new", "pin"))) == (8,)
    store.close()
    spoil(folder, "UPDATE document SET text = 'Other.' WHERE id = 'b'")
    assert "document acme/help/b/3 is not as it was written" in refusal(folder)


async def test_where_that_fails_the_file_is_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_before(folder)
    with monkeypatch.context() as broken:
        broken.setattr("gateway.knowledge.schema.checksum", lambda *_: 1 / 0)
        with pytest.raises(StoreFailed):
            Store(folder)
    with opened(folder) as store:
        assert wrong(store) == []
