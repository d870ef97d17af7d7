"""The folder of stored collections: verified, copied beside writes, restored where there is none, and made smaller."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.knowledge import snapshots, verifying
from gateway.knowledge.acknowledged import Acknowledged
from gateway.knowledge.changes import EVERYWHERE, Batch, Calibrate, Change, Create, Drop, Put, Remove, Switch
from gateway.knowledge.clearing import encoders
from gateway.knowledge.documents import PASSAGES_VERSION
from gateway.knowledge.file import FILE
from gateway.knowledge.segment_files import FOLDER as SEGMENTS
from gateway.knowledge.store import Store
from gateway.types import Matrix
from tests.test_collection_confidence import CONFIDENCE
from tests.test_store import CARD, document

ENCODER = f"mini {PASSAGES_VERSION}"
VECTORS: Matrix = np.eye(3, 4, dtype=np.float32)  # of the two passages of every document here, and of its title

HUGE: Matrix = np.full((3, 4), 3e38, np.float32)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def store(data: Path) -> AsyncIterator[Store]:
    store = Store(data)
    await write(store, Create())
    await write(store, Put(CARD, None, ENCODER, VECTORS), Put(document("fee"), None, ENCODER, VECTORS))
    await write(store, Put(document("fee", "By courier."), None, ENCODER, VECTORS))
    yield store
    store.close()


async def write(store: Store, *changes: Change) -> None:
    await store.write(Batch("acme", "help", changes))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["knowledge", *map(str, arguments)])


def wrong(store: Store) -> list[str]:
    return list(verifying.verify(store, lambda done, of: None))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def spoil(data: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(data / FILE, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


# -- verification -----------------------------------------------------------------------------------------------------


async def test_a_sound_store_is_found_sound(store: Store, data: Path) -> None:
    await write(store, Remove("card"))
    await write(store, Drop())
    await write(store, Create(), Put(CARD))  # not embedded yet
    await write(store, Calibrate(CONFIDENCE))
    await write(store, Calibrate(None))
    store.keep(f"old {PASSAGES_VERSION - 1}", {store.last(): VECTORS[:1]})  # divided otherwise, and not used
    assert wrong(store) == []
    found = run("verify", "--data", data)
    assert (found.exit_code, found.stdout) == (0, f"all is well up to version {store.last()}\n")


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["DELETE FROM change WHERE seq = 3"], "the log has no change 3"),
        (["DELETE FROM change WHERE seq IN (2, 3)"], "the log has no change 2 to 3"),
        (["DELETE FROM document WHERE id = 'card'"], "acme/help/card: has 0 current versions"),
        (
            ["DROP INDEX current", "UPDATE document SET gone = NULL WHERE version = 3"],
            "acme/help/fee: has 2 current versions",
        ),
        (
            ["UPDATE document SET gone = 4 WHERE version = 4", "UPDATE document SET gone = NULL WHERE version = 3"],
            "acme/help/fee: version 3 is current, by the log it is 4",
        ),
        (["DELETE FROM collection"], "acme/help: is not there"),
        (["INSERT INTO collection VALUES ('acme', 'other', 1, 0)"], "acme/other: is there, and not in the log"),
        (
            ["INSERT INTO confidence VALUES ('acme', 'help', 3, '{}', 0)"],
            "acme/help: its confidence is of version 3, by the log it is of None",
        ),
        (
            ["UPDATE embedding SET vectors = x'0000' WHERE version = 2"],
            f"acme/help/card at version 2, by {ENCODER}: 2 bytes are no vectors of its 2 passages and its title",
        ),
        (
            ["UPDATE embedding SET vectors = zeroblob(48) WHERE version = 2"],
            f"acme/help/card at version 2, by {ENCODER}: its vectors are not of unit length",
        ),
        (
            [f"UPDATE embedding SET vectors = x'{HUGE.tobytes().hex()}' WHERE version = 2"],
            f"acme/help/card at version 2, by {ENCODER}: its vectors are not of unit length",
        ),
        (
            [f"UPDATE embedding SET vectors = x'{np.eye(3, 5, dtype=np.float32).tobytes().hex()}' WHERE version = 3"],
            f"at version 3, by {ENCODER}: its vectors for 2 passages and its title are 5 wide, and others are 4",
        ),
    ],
)
async def test_what_is_wrong_is_named(store: Store, data: Path, statements: list[str], said: str) -> None:
    spoil(data, *statements)
    assert any(one.endswith(said) for one in wrong(store))
    found = run("verify", "--data", data)
    assert found.exit_code == 1
    assert f"{said}\n" in found.output


async def test_a_damaged_file_is_found(store: Store, data: Path) -> None:
    await write(store, *(Put(document(f"d{at}", "x" * 3000)) for at in range(100)))
    store.close()
    content = bytearray((data / FILE).read_bytes())
    content[len(content) // 2 : len(content) // 2 + 8192] = b"\xff" * 8192
    (data / FILE).write_bytes(content)
    assert run("verify", "--data", data).exit_code == 1


@pytest.mark.parametrize("command", ["verify", "compact", "snapshot"])
def test_where_nothing_is_stored_nothing_is_begun(tmp_path: Path, command: str) -> None:
    arguments = [tmp_path / "copy"] if command == "snapshot" else []
    found = run(command, *arguments, "--data", tmp_path / "nothing")
    assert found.exit_code == 1
    assert "holds no stored collections" in found.output
    assert not (tmp_path / "nothing").exists()


# -- snapshots --------------------------------------------------------------------------------------------------------


async def test_what_is_copied_beside_writes_can_be_restored(store: Store, data: Path, tmp_path: Path) -> None:
    await write(store, *(Put(document(f"d{at}", "x" * 3000)) for at in range(500)))
    copy = tmp_path / "copy"
    copying = asyncio.create_task(asyncio.to_thread(run, "snapshot", copy, "--data", data))
    pairs = 0
    while not copying.done():
        await write(store, *(Put(document(f"{half}{pairs}")) for half in "ab"))
        pairs += 1
    found = await copying
    assert found.exit_code == 0, found.output
    assert pairs > 1
    manifest = json.loads((tmp_path / "copy.json").read_text())
    assert f"up to version {manifest['last']}, sha256 {manifest['sha256']}" in found.output
    assert names(tmp_path) == ["copy", "copy.json", "data"]
    restored = tmp_path / "restored"
    found = run("restore", copy, "--data", restored)
    assert found.exit_code == 0, found.output
    again = Store(restored)
    assert (again.last(), again.check(), wrong(again)) == (manifest["last"], [], [])
    ids = {one.document.id for one in again.documents("acme", "help")}
    assert {one[1:] for one in ids if one[0] == "a"} == {one[1:] for one in ids if one[0] == "b"}  # no batch is torn
    await write(again, Put(document("new")))
    again.close()


async def test_a_copy_is_of_the_moment_at_which_it_began(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.knowledge.store.COPIED_AT_ONCE", 10)
    await write(store, *(Put(document(f"d{at}", "x" * 3000)) for at in range(100)))
    told: list[int] = []

    def meanwhile(done: int, of: int) -> None:
        told.append(done)
        store.keep("other", {len(told): VECTORS})

    snapshots.snapshot(store, tmp_path / "copy", meanwhile)
    assert len(told) > 5
    assert told == sorted(set(told))  # it is not begun again with each write
    with contextlib.closing(sqlite3.connect(tmp_path / "copy")) as copy:
        assert copy.execute("SELECT count(*) FROM embedding WHERE encoder = 'other'").fetchone() == (0,)


async def test_a_snapshot_takes_no_other_s_place(store: Store, data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for path in (copy, tmp_path / "copy.json"):
        path.write_text("somebody's")
        found = run("snapshot", copy, "--data", data)
        assert (found.exit_code, path.read_text()) == (1, "somebody's")
        assert f"{path}: is there already" in found.output
        path.unlink()
    assert run("snapshot", copy, "--data", data).exit_code == 0


async def test_only_what_its_manifest_tells_of_is_restored(store: Store, data: Path, tmp_path: Path) -> None:
    copy, restored = tmp_path / "copy", tmp_path / "restored"
    assert run("snapshot", copy, "--data", data).exit_code == 0
    manifest = json.loads((tmp_path / "copy.json").read_text())

    def refused(said: str) -> None:
        found = run("restore", copy, "--data", restored)
        assert found.exit_code == 1
        assert said in found.output
        assert not [path for path in restored.glob("*") if FILE in path.name]

    (tmp_path / "copy.json").unlink()
    refused("copy.json: is not there, so nobody knows whether")
    (tmp_path / "copy.json").write_text("{}")
    refused("copy.json: is no manifest of a snapshot")
    (tmp_path / "copy.json").write_text(json.dumps(manifest | {"schema": 99}))
    refused("has schema 99, and this version reads 3 and 4")
    (tmp_path / "copy.json").write_text(json.dumps(manifest | {"sha256": "0" * 64}))
    refused("its sha256 is another")
    content = copy.read_bytes()
    copy.write_bytes(content[:100] + b"\xff" * 4096 + content[4196:])
    (tmp_path / "copy.json").write_text(json.dumps(manifest | {"sha256": snapshots._sha256(copy)}))
    refused("is damaged")  # whoever wrote that manifest
    copy.write_bytes(content)
    (tmp_path / "copy.json").write_text(json.dumps(manifest))
    assert run("restore", copy, "--data", restored).exit_code == 0


@pytest.mark.parametrize("name", [FILE, f"{FILE}-wal"])
async def test_a_store_is_not_replaced(store: Store, data: Path, tmp_path: Path, name: str) -> None:
    copy, restored = tmp_path / "copy", tmp_path / "restored"
    assert run("snapshot", copy, "--data", data).exit_code == 0
    restored.mkdir()
    (restored / name).write_text("somebody's")
    found = run("restore", copy, "--data", restored)
    assert found.exit_code == 1
    assert f"{restored / name}: is there already, and a store is not replaced" in found.output
    assert (restored / name).read_text() == "somebody's"
    open_one = run("restore", copy, "--data", data)
    assert "a gateway, or another command, has it open: stop that first" in open_one.output


async def test_what_was_made_from_another_store_goes(store: Store, data: Path, tmp_path: Path) -> None:
    copy, restored = tmp_path / "copy", tmp_path / "restored"
    assert run("snapshot", copy, "--data", data).exit_code == 0
    (restored / SEGMENTS / "of-another").mkdir(parents=True)
    (restored / SEGMENTS / "of-another" / "vectors.npy").write_text("vectors")
    with contextlib.closing(Acknowledged(restored)) as note:
        note.note(1000)
    assert run("restore", copy, "--data", restored).exit_code == 0
    assert not (restored / SEGMENTS).exists()
    assert run("verify", "--data", restored).exit_code == 0


async def test_what_is_damaged_is_not_copied(store: Store, data: Path, tmp_path: Path) -> None:
    spoil(data, "UPDATE document SET text = 'Other.' WHERE id = 'card'")
    found = run("snapshot", tmp_path / "copy", "--data", data)
    assert found.exit_code == 1
    assert "is damaged: document acme/help/card/2 is not as it was written" in found.output
    assert names(tmp_path) == ["data"]


# -- compacting -------------------------------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from gateway.knowledge.store import Store
store = Store(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def held(data: Path) -> Iterator[None]:
    """By another process, which is killed in the end."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        yield
        other.kill()


async def test_a_folder_is_compacted_where_nobody_has_it_open(store: Store, data: Path) -> None:
    for _ in range(3):
        await write(store, *(Put(document(f"d{at}", "x" * 5000)) for at in range(100)))
    store.close()
    before = (data / FILE).stat().st_size
    with held(data):
        found = run("compact", "--data", data, "--keep-days", "0")
        assert found.exit_code == 1
        assert "a gateway, or another command, has it open: stop that first" in found.output
    # And a process that dies holds it no longer.
    assert (data / FILE).stat().st_size == before
    assert "0 superseded versions cleared" in run("compact", "--data", data).output  # they are of today
    found = run("compact", "--data", data, "--keep-days", "0")
    assert found.exit_code == 0
    assert "201 superseded versions cleared" in found.output
    assert (data / FILE).stat().st_size < before / 2
    assert run("verify", "--data", data).exit_code == 0


@pytest.mark.parametrize(
    ("switches", "writes_after", "left"),
    [
        ([], ["d"], []),  # nobody knows which one is served
        (["b"], [], ["c", "d"]),  # switched from `a`, which embedded the newest document
        (["b"], ["b"], ["c", "d"]),
        (["b", "c"], [], ["d"]),  # `a` has still embedded the newest
        (["b", "c"], ["c"], ["a", "d"]),
        (["b", "c", "b"], ["b"], ["a", "d"]),
        (["b", "c"], ["d"], ["a"]),  # a gateway that follows its settings
    ],
)
async def test_vectors_of_encoders_that_nobody_goes_back_to_are_deleted(
    store: Store, data: Path, switches: list[str], writes_after: list[str], left: list[str]
) -> None:
    await write(store, Put(CARD, None, "a", VECTORS))
    for encoder in "bcd":  # each has embedded what there was before
        store.keep(encoder, {2: VECTORS})
    for encoder in switches:
        await store.write(Batch(*EVERYWHERE, (Switch(encoder, ""),)))
    for encoder in writes_after:
        await write(store, Put(document("new"), None, encoder, VECTORS))
    store.close()
    assert "deleted" not in run("compact", "--data", data, "--keep-vectors").output
    found = run("compact", "--data", data)
    assert re.findall(r"deleted, by (\w):", found.output) == left
    again = Store(data)
    with again.moment() as rows:
        assert set(encoders(rows.connection)) & set("abcd") == set("abcd") - set(left)
    assert wrong(again) == []
    again.close()
