"""A damaged store goes on without what is damaged, and says what that is."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from gateway.errors import StoreDamaged, StoreFailed
from gateway.knowledge.changes import Put
from gateway.knowledge.file import FILE
from tests.test_damage import KEY, folder, opened, spoil, wrong
from tests.test_generation import document
from tests.test_knowledge_base import PLACE, Desk
from tests.test_knowledge_files import run

__all__ = ["folder"]
ALL = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("statement", "said", "left"),
    [
        (
            "UPDATE document SET text = 'x' WHERE id = 'c'",
            "acme/help/c is not there any more: it is deleted from now on",
            ["a", "b"],
        ),
        ("UPDATE document SET text = 'x' WHERE version = 2", "document acme/help/a/2 is not as it was written", ALL),
        ("DELETE FROM document WHERE id = 'c'", "acme/help/c is not there any more: it is deleted", ["a", "b"]),
        ("UPDATE embedding SET vectors = x'00' WHERE version = 5", "embedding mini/5 is not", ALL),
        ("UPDATE request SET content = x'00'", f"request acme/help/{KEY} is not", ALL),
        ("UPDATE confidence SET content = '{}'", "confidence acme/help is not as it was written", ALL),
        ("UPDATE collection SET since = 7", "collection acme/help is not as it was written", ALL),
        ("UPDATE meta SET value = '{}' WHERE name = 'encoder'", "meta encoder is not as it was written", ALL),
        ("UPDATE document SET gone = NULL, sum = sum - (4 << 32) WHERE version = 2", "by the log; it is deleted", ALL),
        ("INSERT INTO collection VALUES ('x', 'y', 1, 0)", "collection x/y is not as it was written", ALL),
    ],
)
async def test_what_is_damaged_goes_and_is_named(folder: Path, statement: str, said: str, left: list[str]) -> None:
    spoil(folder, "DROP INDEX current", statement)  # which is made again too
    tried = run("mend", "--data", folder, "--dry-run")
    assert (tried.exit_code, said in tried.output, "nothing was changed yet" in tried.output) == (0, True, True)
    done = run("mend", "--data", folder)
    assert (done.exit_code, said in done.output, "mended: the rest can be served" in done.output) == (0, True, True), (
        done.output
    )
    assert "nothing is damaged" in run("mend", "--data", folder).output
    desk = Desk(folder)
    assert sorted(desk.found()) == left
    switched = desk.store.switched()
    assert switched is not None
    assert (switched.encoder, switched.version) == ("mini", 7)
    assert wrong(desk.store) == []
    await desk.write(Put(document("new", "card")))
    assert wrong(desk.store) == []
    desk.store.close()


async def test_who_follows_the_log_hears_of_it(folder: Path) -> None:
    spoil(folder, "UPDATE document SET text = 'x' WHERE id = 'c'", "UPDATE confidence SET content = '{}'")
    with opened(folder) as store:
        last = store.last()
        store.mend()
        assert [(one.op, one.document_id) for one in store.changes(last)] == [("remove", "c"), ("confidence", "")]
        assert store.confidence(*PLACE) is None


async def test_of_what_is_not_kept_any_more_nobody_is_told_the_past(folder: Path) -> None:
    spoil(folder, "DELETE FROM document WHERE version = 2")
    with opened(folder) as store:
        store.mend()
        assert (store.cleared(), wrong(store)) == (4, [])


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE change SET document = 'x' WHERE seq = 3", "change 3 is not as it was written"),
        ("DELETE FROM change WHERE seq = 3", "cannot be mended: the log has no change 3"),
    ],
)
async def test_without_its_log_nothing_is_mended(folder: Path, statement: str, said: str) -> None:
    spoil(folder, statement, "UPDATE document SET text = 'x' WHERE id = 'c'")
    before = (folder / FILE).read_bytes()
    with opened(folder) as store, pytest.raises(StoreDamaged, match=said):
        store.mend()
    assert run("mend", "--data", folder).exit_code == 1
    assert (folder / FILE).read_bytes() == before


async def test_a_sound_store_stays_as_it_is(folder: Path) -> None:
    with opened(folder) as store:
        before = (store.last(), store.documents(*PLACE), store.confidence(*PLACE), store.switched())
        assert store.mend() == []
        assert (store.last(), store.documents(*PLACE), store.confidence(*PLACE), store.switched()) == before
        store.clear(math.inf)
        assert (store.mend(), wrong(store)) == ([], [])


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_bit_is_flipped_only_what_is_right_is_served(folder: Path, seed: int) -> None:
    with opened(folder) as store:
        there = {one.document.id: one.document for one in store.documents(*PLACE)}
    content = bytearray((folder / FILE).read_bytes())
    bit = random.Random(seed).randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    (folder / FILE).write_bytes(content)
    try:
        with opened(folder) as store:
            store.mend()
    except StoreFailed:  # it is for a snapshot then
        return
    desk = Desk(folder)
    assert wrong(desk.store) == []
    assert {one.document.id: one.document for one in desk.store.documents(*PLACE)}.items() <= there.items()
    desk.store.close()
