"""Segments on disk: a start finds with them what it finds without, whatever has become of the files."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway import failpoints
from gateway.knowledge import generation, merges, packed, segment_files
from gateway.knowledge.acknowledged import NAME as ACKNOWLEDGED
from gateway.knowledge.base import key
from gateway.knowledge.changes import Create, Drop, Put, Remove
from gateway.knowledge.file import BESIDE, FILE
from gateway.knowledge.generation import Part
from gateway.knowledge.packed import Write
from gateway.knowledge.segment_files import (
    ARRAYS,
    FOLDER,
    GRAPH,
    MANIFEST,
    OLD_SECONDS,
    UNFINISHED,
    UNKNOWN_SECONDS,
    SegmentFiles,
)
from gateway.types import Principal, Ranker
from tests.test_generation import NOBODY, STAFF, WORDS, document, query
from tests.test_knowledge_base import PLACE, Desk

COUNT = 60


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merges, "GRAPH_FROM", 16)
    monkeypatch.setattr(generation, "OPEN_ROWS", 8)


async def filled(folder: Path) -> Desk:
    """With some of everything, merged, and closed."""
    desk = Desk(folder)
    await desk.write(Create())
    for at in range(COUNT):
        await desk.write(Put(document(f"d{at}", WORDS[at % len(WORDS)], is_secret=at % 7 == 0)))
        await settled(desk)
    return desk


async def closed(desk: Desk) -> None:
    await desk.base.close()
    desk.store.close()


async def settled(desk: Desk) -> None:
    while running := [task for task in desk.base.merging if not task.done()]:
        await asyncio.gather(*running)


def is_mapped(name: str) -> bool:
    return name in Path("/proc/self/maps").read_text()


def parts(desk: Desk) -> tuple[Part, ...]:
    return desk.library.generation(key(*PLACE)).parts


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    await closed(await filled(tmp_path))
    return tmp_path


def answers(desk: Desk) -> list[object]:
    """What questions in all words find, in each way and for each reader: all of it, as many are as near as others."""
    return [
        (
            {
                hit.document.id: (
                    round(hit.similarity, 4),
                    [one.quote for one in hit.citations],
                    hit.citations[0].version,
                )
                for hit in desk.library.search(key(*PLACE), word, query(word), who, 99, 2, ranker).hits
            },
            {one: round(near, 4) for one, near in desk.library.rank(key(*PLACE), query(word), who, 99).documents},
        )
        for word in WORDS[:3]
        for who in (STAFF, NOBODY, Principal("acme", frozenset({"\0"})))
        for ranker in Ranker
    ]


def named(desk: Desk) -> list[str]:
    return [part.segment.name for part in parts(desk) if part.segment.name]


def without_files(folder: Path, tmp_path: Path) -> list[object]:
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare, ignore=shutil.ignore_patterns(FOLDER, "bare"))
    desk = Desk(bare)
    found = answers(desk)
    desk.store.close()
    return found


async def test_a_start_uses_what_is_kept_and_finds_the_same(folder: Path, tmp_path: Path) -> None:
    desk = Desk(folder)
    assert named(desk)
    assert not any(part.segment.index.is_exact for part in parts(desk) if part.segment.name)
    assert answers(desk) == without_files(folder, tmp_path)
    await closed(desk)


async def test_graphs_are_on_disk_when_a_merge_is_shown_and_a_copy_of_that_moment_has_them(tmp_path: Path) -> None:
    desk = await filled(tmp_path)
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path, killed, ignore=shutil.ignore_patterns("killed"))  # as a kill would leave it
    again = Desk(killed)
    assert named(again) == named(desk) != []
    assert [part.segment.index.is_exact for part in parts(again) if part.segment.name] == [False] * len(named(desk))
    assert answers(again) == answers(desk)
    for one in (desk, again):
        await closed(one)


async def test_arrays_and_graphs_that_are_kept_are_used_from_there(folder: Path) -> None:
    desk = await filled(folder / "live")
    (kept,) = [part.segment for part in parts(desk) if part.segment.name]
    assert not kept.index.vectors(slice(None)).flags.writeable
    assert not kept.titles.flags.writeable
    assert all(is_mapped(f"{kept.name}/{name}") for name in (ARRAYS, GRAPH))
    await closed(desk)


async def test_a_start_merges_nothing_that_was_not_due_before(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    await desk.write(Create())
    for count in (20, 7, 3):  # one with a graph, one that is scanned, one that takes in what is new
        start = len(desk.found()) if count < 20 else 0
        await desk.write(*(Put(document(f"d{start + at}", WORDS[at % len(WORDS)])) for at in range(count)))
        await settled(desk)
    assert [part.rows for part in parts(desk)] == [40, 14, 6]
    await closed(desk)
    again = Desk(tmp_path)
    again.base.start()
    assert not again.base.merging
    assert [part.rows for part in parts(again)] == [40, 14, 6]
    await closed(again)


async def test_few_that_are_in_no_kept_segment_do_not_take_in_what_is_new(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    await desk.write(Create())
    for count in (20, 2, 2):
        start = len(desk.found())
        await desk.write(*(Put(document(f"d{start + at}", WORDS[at % len(WORDS)])) for at in range(count)))
        await settled(desk)
    assert [part.rows for part in parts(desk)] == [40, 8]  # which is full
    await closed(desk)
    again = Desk(tmp_path)
    again.base.start()
    assert not again.base.merging
    assert [part.rows for part in parts(again)] == [40, 2, 6]
    await again.write(Put(document("new", WORDS[0])))
    assert [part.rows for part in parts(again)] == [40, 2, 8]
    await closed(again)


async def test_what_changed_since_is_as_it_is_now(folder: Path, tmp_path: Path) -> None:
    desk = Desk(folder)
    await desk.write(Remove("d1"), Put(document("d2", "tax")), Put(document("d3", WORDS[3], is_secret=True)))
    desk.store.close()  # and nothing is kept anew
    again = Desk(folder)
    assert named(again)
    assert "d1" not in again.found(WORDS[1])
    assert "d3" in again.found(WORDS[3])
    assert "d3" not in again.found(WORDS[3], NOBODY)
    assert answers(again) == without_files(folder, tmp_path)
    again.store.close()


async def test_little_of_a_segment_is_not_worth_it(folder: Path) -> None:
    desk = Desk(folder)
    await desk.write(*(Remove(f"d{at}") for at in range(COUNT - 2)))
    desk.store.close()
    again = Desk(folder)
    assert (named(again), sorted(again.found())) == ([], [f"d{COUNT - 2}", f"d{COUNT - 1}"])
    again.store.close()


async def test_a_dropped_collection_is_not_there_again(folder: Path) -> None:
    desk = Desk(folder)
    await desk.write(Drop(), Create(), Put(document("d1", "card")))
    desk.store.close()
    again = Desk(folder)
    assert (named(again), again.found()) == ([], ["d1"])
    again.store.close()


async def test_another_encoder_uses_none_of_it(folder: Path) -> None:
    other = Desk(folder, "maxi")
    assert (named(other), len(other.found())) == ([], COUNT)
    other.store.close()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swapped(path: Path) -> None:
    """With that of another segment, or another file of its own."""
    others = [one for one in path.parent.parent.glob(f"*/{path.name}") if one != path]
    own = path.with_name(GRAPH if path.name == ARRAYS else ARRAYS)
    shutil.copy(others[0] if others else own, path)


def files_of(folder: Path) -> Iterator[str]:
    yield from sorted({path.name for path in (folder / FOLDER).glob("*/*")})


@pytest.mark.parametrize("damage", [emptied, cut, flipped, swapped, Path.unlink])
async def test_no_damage_of_any_file_changes_an_answer(
    folder: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    expected = without_files(folder, tmp_path)
    names = list(files_of(folder))
    assert set(names) == {MANIFEST, ARRAYS, GRAPH}
    for name in names:
        broken = tmp_path / "broken" / name
        shutil.copytree(folder, broken, ignore=shutil.ignore_patterns("bare", "broken"))
        for path in (broken / FOLDER).glob(f"*/{name}"):
            damage(path)
        desk = Desk(broken)
        assert answers(desk) == expected, name
        desk.base.start()
        await asyncio.gather(*desk.base.merging)
        assert answers(desk) == expected, name
        await closed(desk)


async def test_where_nothing_can_be_written_it_goes_on_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FOLDER).write_text("no folder")
    desk = await filled(tmp_path)
    assert (named(desk), len(desk.found())) == ([], COUNT)
    assert "could not be kept" in caplog.text
    await closed(desk)


async def test_a_full_disk_costs_the_next_start_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = True

    def written(path: Path, give: Callable[[Write], None], go_on: Callable[[], None] = lambda: None) -> str:
        if full and path.name == GRAPH:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return packed.written(path, give, go_on)

    monkeypatch.setattr(segment_files, "written", written)
    desk = await filled(tmp_path)
    assert "No space left on device" in caplog.text
    assert "could not be kept" in caplog.text
    assert (named(desk), desk.base.figures().unkept) == ([], 1)
    assert [*(tmp_path / FOLDER).iterdir()] == []
    found = answers(desk)
    full = False
    desk.base.start()
    await settled(desk)
    assert (named(desk), desk.base.figures().unkept) == ([], 1)  # not yet
    monkeypatch.setattr(segment_files, "RETRY_SECONDS", 0)
    desk.base.start()
    await settled(desk)
    assert (len(named(desk)), desk.base.figures().unkept) == (1, 0)
    assert answers(desk) == found
    await closed(desk)


async def test_what_a_full_disk_has_no_room_for_takes_nothing_from_the_next_start(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(segment_files, "written", full)
    desk = Desk(folder)
    before = named(desk)
    for at in range(COUNT):
        await desk.write(Put(document(f"e{at}", WORDS[at % len(WORDS)])))
        await settled(desk)
    assert named(desk) == []
    assert desk.base.figures().unkept > 0
    again = Desk(folder)
    assert named(again) == before != []
    assert answers(again) == without_files(folder, tmp_path)
    for one in (desk, again):
        await closed(one)


async def test_who_is_stopped_while_it_writes_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await filled(tmp_path)
    (segment,) = [part.segment for part in parts(desk) if part.segment.name]
    pieces = 0

    def stop() -> None:
        nonlocal pieces
        pieces += 1
        if pieces == 30:  # within the graph
            raise asyncio.CancelledError

    files = SegmentFiles(tmp_path / "other", "made")
    with pytest.raises(asyncio.CancelledError):
        files.keep(PLACE, segment, stop)
    assert [*(tmp_path / "other" / FOLDER).iterdir()] == []
    assert files.keep(PLACE, segment).name
    await closed(desk)


POINTS = ("segment-before-graph", "segment-before-manifest", "segment-before-rename", "segment-after-rename")


@pytest.mark.parametrize("point", POINTS)
async def test_what_a_kill_leaves_half_written_is_not_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """All of it is copied where the process may die; whoever starts there finds what it finds without."""
    left = tmp_path / "left"

    def reached(name: str) -> None:
        if name == point:
            shutil.copytree(folder, left, ignore=shutil.ignore_patterns("left"), dirs_exist_ok=True)

    for path in (folder / FOLDER).iterdir():
        shutil.rmtree(path)
    monkeypatch.setattr(failpoints, "reached", reached)
    desk = Desk(folder)
    desk.base.start()
    await settled(desk)
    expected = answers(desk)
    await closed(desk)
    again = Desk(left)
    assert len(named(again)) == (point == "segment-after-rename")
    assert answers(again) == expected
    await closed(again)


async def test_what_nobody_has_used_for_long_goes(folder: Path) -> None:
    unused = folder / FOLDER / ("0" * 64)
    unused.mkdir()
    os.utime(unused, (time.time() - UNKNOWN_SECONDS - 9,) * 2)
    kept = Desk(folder)
    assert {path.name for path in (folder / FOLDER).iterdir()} == {*named(kept)}
    kept.store.close()


async def test_what_is_being_written_stays_until_nobody_writes_it(folder: Path) -> None:
    desk = Desk(folder)
    (segment,) = [part.segment for part in parts(desk) if part.segment.name]
    dead = folder / FOLDER / f"{UNFINISHED}of-one-that-was-killed"
    dead.mkdir()
    seen: list[list[str]] = []

    def clean() -> None:  # as another process that starts meanwhile
        SegmentFiles(folder, desk.base.scored_by).clean([segment])
        seen.append([path.name for path in (folder / FOLDER).glob(f"{UNFINISHED}*")])

    again = SegmentFiles(folder, "another").keep(PLACE, segment, clean)
    assert again.name
    assert {len(names) for names in seen} == {1}
    assert dead.name not in seen[-1]
    await closed(desk)


async def test_a_second_process_uses_the_same(folder: Path) -> None:
    one, other = Desk(folder), Desk(folder)
    assert named(one) == named(other) != []
    assert answers(one) == answers(other)
    for desk in (one, other):
        await closed(desk)


async def test_a_large_batch_into_the_open_segment_is_indexed_and_kept(tmp_path: Path) -> None:
    """It is sealed at once, searched by scan, and wants a graph, alone."""
    desk = Desk(tmp_path)
    await desk.write(Create(), Put(document("a", "card")))
    await desk.write(*(Put(document(f"d{at}", WORDS[at % 8])) for at in range(20)))
    await asyncio.gather(*desk.base.merging)
    (part,) = desk.library.generation(key(*PLACE)).parts
    assert part.segment.words.is_compact
    assert part.segment.name
    await closed(desk)


async def test_another_encoders_segments_are_left_for_it_to_come_back(folder: Path) -> None:
    before = {path.name for path in (folder / FOLDER).iterdir()}
    for path in (folder / FOLDER).iterdir():
        os.utime(path, (time.time() - OLD_SECONDS - 9,) * 2)
    Desk(folder, "maxi").store.close()
    assert before <= {path.name for path in (folder / FOLDER).iterdir()}


async def test_what_was_merged_into_others_goes_at_once(folder: Path) -> None:
    desk = Desk(folder)
    before = set(named(desk))
    for at in range(COUNT):
        await desk.write(Put(document(f"e{at}", WORDS[at % len(WORDS)])))
        await settled(desk)
    assert before - set(named(desk))
    assert {path.name for path in (folder / FOLDER).iterdir()} == set(named(desk))
    await closed(desk)


async def test_numbers_that_are_given_again_are_not_taken_for_the_same_documents(folder: Path) -> None:
    """As where a copy of the store was put back, and the segments stayed."""
    for name in (FILE, *BESIDE, ACKNOWLEDGED):
        (folder / name).unlink(missing_ok=True)
    desk = Desk(folder)
    await desk.write(Create())
    for at in range(COUNT):
        await desk.write(Put(document(f"n{at}", "tax loan")))
    desk.store.close()
    again = Desk(folder)
    assert sorted(again.found("tax")) == sorted(f"n{at}" for at in range(COUNT))
    hits = again.library.search(key(*PLACE), "card", query("card"), STAFF, 5, 1).hits
    assert {hit.citations[0].quote for hit in hits} <= {"tax loan.", "More."}
    again.store.close()
