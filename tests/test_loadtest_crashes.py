"""The proof that nothing is lost, on little of everything; and that it sees what is."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway import failpoints
from gateway.knowledge.acknowledged import NAME as ACKNOWLEDGED
from gateway.knowledge.changes import Put
from gateway.knowledge.file import FILE
from gateway.knowledge.schema import sum_up
from gateway.types import Document
from loadtest import crash_damage, crash_starved, crashes
from loadtest.__main__ import main
from loadtest.crash_checks import Inspector, Left
from loadtest.crash_kills import FAULT, Kind, Said, after_a_kill, died, heard, killed, process
from loadtest.crash_reading import REFUSED, SERVED
from loadtest.crash_starved import compiled
from loadtest.crash_writer import KEPT, changes, expected


@pytest.fixture(scope="module")
def inspector() -> Iterator[Inspector]:
    with Inspector() as inspector:
        yield inspector


@pytest.fixture
def chance() -> random.Random:
    return random.Random(3)


@pytest.mark.parametrize("writes", [0, 1, 2, 3, 7, 3 * KEPT, 3 * KEPT + 2, 3 * KEPT + 3, 5 * KEPT])
def test_what_is_expected_is_what_the_writes_come_to(writes: int) -> None:
    there: dict[str, Document] = {}
    for number in range(writes):
        for one in changes(number):
            if isinstance(one, Put):
                there[one.document.id] = one.document
            else:
                del there[getattr(one, "document_id", "")]
    assert expected(writes) == there


def test_a_process_that_is_killed_loses_nothing(tmp_path: Path, inspector: Inspector, chance: random.Random) -> None:
    kind = killed(tmp_path, inspector, 3, chance)
    assert (kind.lost, kind.faults, kind.came.total()) == (0, [], 3)
    assert kind.acknowledged > 0


@pytest.mark.parametrize("point", failpoints.STORE)
def test_nothing_is_lost_at_any_point(tmp_path: Path, inspector: Inspector, chance: random.Random, point: str) -> None:
    kind = died(tmp_path, inspector, point, 1, chance)
    assert (kind.lost, kind.faults, kind.came.total()) == (0, [], 1)


def spoil(folder: Path, how: Callable[[sqlite3.Connection], object]) -> None:
    with contextlib.closing(sqlite3.connect(folder / FILE, isolation_level=None)) as connection:
        how(connection)


@pytest.fixture
async def bases(tmp_path: Path) -> tuple[Path, Path]:
    return await crash_damage.made(tmp_path, crash_damage.WRITES, 16)


async def test_a_damaged_log_leaves_what_there_was(
    bases: tuple[Path, Path], inspector: Inspector, chance: random.Random
) -> None:
    for is_cut in (True, False):
        kind = crash_damage.torn_log(bases[0], inspector, 4, chance, is_cut, "x")
        assert (kind.faults, kind.came.total()) == ([], 4)


async def test_what_is_only_made_from_the_rest_may_be_damaged(
    bases: tuple[Path, Path], inspector: Inspector, chance: random.Random
) -> None:
    for how in ("longer", "taken away"):
        kind = crash_damage.harmed(bases[1], inspector, chance, how, most=4)
        assert (kind.faults, kind.came.total()) == ([], kind.tries)
        assert kind.tries >= 2


@pytest.mark.parametrize("how", ["emptied", "with a flipped bit", "exchanged with another"])
async def test_a_damaged_segment_that_is_made_again_is_not_used(
    bases: tuple[Path, Path], inspector: Inspector, chance: random.Random, how: str
) -> None:
    assert crash_damage.harmed(bases[1], inspector, chance, how).faults == []


async def test_every_bit_of_the_main_file_is_accounted_for(
    bases: tuple[Path, Path], inspector: Inspector, chance: random.Random
) -> None:
    kind = crash_damage.spoiled_file(bases[1], inspector, 6, chance)
    assert kind.came.total() == 6


def test_a_full_disk_loses_nothing(tmp_path: Path, inspector: Inspector, chance: random.Random) -> None:
    kind = crash_starved.full(tmp_path, inspector, 1, chance)
    assert (kind.faults, kind.lost, dict(kind.came)) == ([], 0, {"StoreFailed, all there": 1})


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_what_is_not_synced_is_not_acknowledged(tmp_path: Path, inspector: Inspector, chance: random.Random) -> None:
    shim = compiled(tmp_path)
    assert isinstance(shim, Path)
    for once in (True, False):
        kind = crash_starved.unsynced(tmp_path, inspector, 1, chance, shim, once=once)
        assert (kind.faults, kind.lost, kind.came.total()) == ([], 0, 1)


def test_without_a_compiler_it_says_why_syncs_do_not_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert compiled(tmp_path) == "there is no C compiler (cc)"


# -- it sees what is wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("DELETE FROM document WHERE id = 'd3-a' AND gone IS NULL", "d3-a is not there"),
        ("UPDATE document SET text = text || 'x' WHERE id = 'd3-a' AND gone IS NULL", "d3-a is another"),
        (
            "UPDATE document SET gone = NULL WHERE version = (SELECT max(version) FROM document WHERE id = 'd0-a')",
            "d0-a was deleted and is there",
        ),
        ("DELETE FROM change WHERE seq = 5", "the log has gaps"),
        ("DELETE FROM change WHERE seq = (SELECT max(seq) FROM change)", "a write is there by half"),
    ],
)
def test_what_the_store_itself_cannot_notice_is_seen(
    tmp_path: Path, inspector: Inspector, statement: str, fault: str
) -> None:
    heard(process("on", tmp_path, 0, 3 * KEPT + 3), 0)
    assert inspector.left(tmp_path).faults == []
    spoil(tmp_path, lambda connection: connection.execute(statement))
    left = inspector.left(tmp_path)
    assert left.refused or left.verified
    spoil(tmp_path, sum_up)
    (tmp_path / ACKNOWLEDGED).unlink()
    assert fault in inspector.left(tmp_path).faults


def test_a_process_that_ends_while_it_looks_is_seen(tmp_path: Path) -> None:
    with Inspector() as inspector:
        assert inspector.left(tmp_path / "new").faults == []
        assert inspector._process is not None
        inspector._process.kill()
        inspector._process.wait()
        assert "the process ended" in inspector.left(tmp_path / "new").crashed
        assert inspector.left(tmp_path / "new").faults == []


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (Left(writes=8), "1 writes that were acknowledged are gone"),
        (Left(writes=11), "11 writes are there, 9 were acknowledged"),
        (Left(writes=9, torn=["a write is there by half"]), "by half"),
        (Left(refused="no"), "is not opened: no"),
        (Left(writes=9, answers=["'fee' by dense: d1 is not found"]), "d1 is not found"),
    ],
)
def test_what_a_kill_must_not_do_is_a_fault(left: Left, said: str) -> None:
    kind = Kind("kill")
    after_a_kill(kind, left, 9)
    assert kind.came[FAULT] == 1
    assert said in "\n".join(kind.faults)


@pytest.mark.parametrize(
    ("left", "came"),
    [
        (Left(refused="is damaged"), crash_damage.REFUSED),
        (Left(writes=9, readable={"log": "x"}), "harmless: everything reads the same"),
        (Left(writes=9, readable={"log": REFUSED}), "refused where it is read"),
        (Left(writes=9, readable={"log": "y"}), FAULT),
        (Left(writes=9, readable={}, checked=["a page is wrong"]), "found by verify, and served right"),
        (Left(writes=9, readable={"log": "y"}, verified=["change 3 is wrong"]), "found by verify, and served right"),
        (Left(writes=8, readable={"log": "x"}), FAULT),
        (Left(writes=9, readable={"log": "x"}, wrong=["d3-a is another"], verified=["d3-a is wrong"]), FAULT),
        (Left(writes=9, readable={"log": "x"}, answers=["d3-a is not found"], refused="is damaged"), FAULT),
        (Left(writes=9, readable={SERVED: "y"}, verified=["d3-a is wrong"]), FAULT),
        (Left(crashed="the process ended with -11"), FAULT),
    ],
)
def test_damage_must_be_noticed_before_it_is_served(left: Left, came: str) -> None:
    kind = Kind("bits")
    crash_damage.judge(kind, left, Left(writes=9, readable={"log": "x"}), "byte 3")
    assert dict(kind.came) == {came: 1}
    assert bool(kind.faults) is (came == FAULT)


@pytest.mark.parametrize(
    ("said", "left", "fault"),
    [
        (Said(3, ["unsynced 2", "failed StoreFailed x"], 0), Left(writes=3), "acknowledged without a sync"),
        (Said(3, ["failed OSError x"], 0), Left(writes=3), "raised OSError"),
        (Said(3, ["failed StoreFull x", "read False"], 0), Left(writes=3), "could not be read"),
        (Said(3, ["failed StoreFull x", "read True"], -9), Left(writes=3), "the process ended with -9"),
        (Said(3, [], 0), Left(writes=3), "nothing failed"),
        (Said(3, ["failed StoreFull x"], 0), Left(writes=2), "1 writes that were acknowledged are gone"),
    ],
)
def test_what_a_bad_disk_must_not_do_is_a_fault(said: Said, left: Left, fault: str) -> None:
    kind = Kind("disk")
    crash_starved._judge(kind, said, left, must_fail=True)
    assert fault in "\n".join(kind.faults)


@pytest.mark.parametrize("faults", [[], ["kill: 1 writes that were acknowledged are gone"]])
def test_the_command_tells_all_and_fails_where_there_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: list[str]
) -> None:
    async def tried(plan: crashes.Plan, folder: Path, tell: object) -> crashes.Tried:
        kind = Kind("kill at a random moment", plan.kills, 40, len(faults), faults=faults)
        kind.came["to the last that was acknowledged"] = plan.kills
        return crashes.Tried([kind], ["syncs that fail: there is no C compiler (cc)"], [])

    monkeypatch.setattr(crashes, "tried", tried)
    out = tmp_path / "crashes.json"
    result = CliRunner().invoke(main, ["crashes", "--kills", "4", "--out", str(out)])
    assert result.exit_code == bool(faults)
    found = json.loads(out.read_text())
    assert (found["kind"], found["valid"], found["lost_by_kills"]) == ("crashes", not faults, len(faults))
    assert found["kinds"][0]["tries"] == 4
    assert "no C compiler" in result.output
