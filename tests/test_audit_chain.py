"""Chains of the audit log on disk: what goes in, what a crash leaves, what is removed, and what a change shows."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.audit import segments as files
from gateway.audit.chain import Bounds, Chain, Entry, prune_others
from gateway.audit.records import GENESIS, Head, Kind, sha256_of
from gateway.audit.verifying import Findings, verify
from gateway.errors import ConfigInvalid

LONG = Bounds()
SHORT = Bounds(segment=600, total=2_000)


def entry(number: int, text: bytes = b"") -> Entry:
    return Kind.ANSWER, {"time": f"2026-01-01T00:00:{number:02}.000000Z", "number": number}, text


def written(folder: Path, count: int, bounds: Bounds = LONG) -> None:
    chain = Chain(folder, bounds)
    for number in range(count):
        chain.write([entry(number)])
    chain.close()


def newest(folder: Path) -> Path:
    return files.segments(folder)[-1].path


def problems(found: Findings) -> list[str]:
    return [fault.problem for fault in found.faults]


def test_each_record_carries_the_hash_of_the_line_before_it(tmp_path: Path) -> None:
    written(tmp_path, 3)
    lines = newest(tmp_path).read_bytes().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["seq"] for record in records] == [1, 2, 3]
    assert [record["prev"] for record in records] == [GENESIS, *(sha256_of(line) for line in lines[:2])]
    found = verify(tmp_path)
    assert (found.first, found.head.seq, found.records, found.faults) == (1, 3, 3, [])
    assert found.head.sha256 == sha256_of(lines[-1])


def test_a_chain_goes_on_where_it_was_closed(tmp_path: Path) -> None:
    written(tmp_path, 3)
    written(tmp_path, 2)
    assert verify(tmp_path).head.seq == 5
    assert verify(tmp_path).faults == []


def changed(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


@pytest.mark.parametrize(
    ("change", "line", "problem"),
    [
        (
            lambda lines: [lines[0], lines[1].replace(b'"number":1', b'"number":7'), *lines[2:]],
            3,
            "one of them was changed",
        ),
        (lambda lines: [lines[0], *lines[2:]], 2, "is record 3 where 2 should be"),
        (lambda lines: [lines[0], lines[1], lines[1], *lines[2:]], 3, "is record 2 where 3 should be"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], 1, "is record 2 where 1 should be"),
        (lambda lines: [lines[0], b"nonsense\n", *lines[2:]], 2, "is record None where 2 should be"),
        (lambda lines: lines[1:], 1, "is record 2 where 1 should be"),
    ],
    ids=["edited", "taken out", "put in", "swapped", "overwritten", "beginning cut"],
)
def test_what_was_changed_is_named(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], line: int, problem: str
) -> None:
    written(tmp_path, 5)
    changed(newest(tmp_path), change)
    found = verify(tmp_path)
    assert found.faults
    assert found.faults[0].line == line
    assert problem in found.faults[0].problem


def test_only_a_known_head_shows_that_the_end_was_cut_or_all_was_made_anew(tmp_path: Path) -> None:
    written(tmp_path, 5)
    head = verify(tmp_path).head
    assert verify(tmp_path, known={head.seq: head.sha256}).faults == []
    changed(newest(tmp_path), lambda lines: lines[:-1])
    assert verify(tmp_path).faults == []
    assert "its record is not there" in problems(verify(tmp_path, known={head.seq: head.sha256}))[0]
    newest(tmp_path).unlink()
    written(tmp_path, 6)
    changed(newest(tmp_path), lambda lines: [lines[0].replace(b'"number":0', b'"number":1'), *lines[1:]])
    assert "the chain was made anew" not in str(verify(tmp_path).faults)
    first = verify(tmp_path, known={1: head.sha256})
    assert any("the chain was made anew" in one for one in problems(first))


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_last_line_is_named_and_the_next_start_goes_on_before_it(tmp_path: Path, cut: int) -> None:
    written(tmp_path, 4)
    path = newest(tmp_path)
    os.truncate(path, path.stat().st_size - cut)
    torn = verify(tmp_path)
    assert (torn.head.seq, torn.faults) == (3, [])
    assert torn.torn > 0
    chain = Chain(tmp_path, LONG)
    assert (chain.torn, chain.head) == (torn.torn, torn.head)
    chain.write([entry(9)])
    chain.close()
    mended = verify(tmp_path)
    assert (mended.head.seq, mended.torn, mended.faults) == (4, 0, [])


def test_a_new_segment_that_got_no_record_is_gone_on_with(tmp_path: Path) -> None:
    written(tmp_path, 3)
    (tmp_path / f"{4:0{files.DIGITS}}{files.SUFFIX}").write_bytes(b'{"seq":4,"pr')
    written(tmp_path, 1)
    found = verify(tmp_path)
    assert (found.head.seq, found.faults) == (4, [])
    assert len(files.segments(tmp_path)) == 2


def test_the_oldest_segments_make_room_and_the_rest_still_verifies(tmp_path: Path) -> None:
    chain = Chain(tmp_path, SHORT)
    for number in range(60):
        chain.write([entry(number)])
    assert chain.size() < SHORT.total + SHORT.segment
    chain.close()
    found = verify(tmp_path)
    assert found.first > 1
    assert found.faults == []
    removed = files.anchored(tmp_path)
    assert removed is not None
    assert removed.seq == found.first - 1
    kinds = [json.loads(line)["kind"] for one in files.segments(tmp_path) for line, _ in files.lines(one.path)]
    assert Kind.REMOVED in kinds


def test_a_segment_that_somebody_else_removed_is_missed(tmp_path: Path) -> None:
    written(tmp_path, 60, Bounds(segment=600))
    files.segments(tmp_path)[2].remove()
    assert "should be" in problems(verify(tmp_path))[0]
    files.segments(tmp_path)[0].remove()
    assert "where 1 should be" in problems(verify(tmp_path))[0]


def test_a_removal_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    written(tmp_path, 60, Bounds(segment=600))
    first, second = files.segments(tmp_path)[:2]
    files.anchor(tmp_path, files.ending([first], Head()).head)
    assert verify(tmp_path).faults == []  # it is there yet, and is what the anchor says
    written(tmp_path, 1, Bounds(segment=600))
    assert files.segments(tmp_path)[0] == second
    assert verify(tmp_path).faults == []


def test_an_anchor_that_does_not_fit_is_seen(tmp_path: Path) -> None:
    written(tmp_path, 60, SHORT)
    removed = files.anchored(tmp_path)
    assert removed is not None
    files.anchor(tmp_path, Head(removed.seq, "1" * 64))
    assert "does not follow" in problems(verify(tmp_path))[0]


def test_segments_go_when_they_are_old(tmp_path: Path) -> None:
    now = time.time()
    chain = Chain(tmp_path, Bounds(segment=600, age=100.0), lambda: now)
    for number in range(20):
        chain.write([entry(number)])
    before = len(files.segments(tmp_path))
    os.utime(files.segments(tmp_path)[0].path, (now - 90, now - 90))
    now += 20
    chain.prune()
    assert len(files.segments(tmp_path)) == before - 1
    now += 1000
    chain.prune()
    assert len(files.segments(tmp_path)) == 1
    assert before > 2
    chain.close()
    assert verify(tmp_path).faults == []


def test_what_nobody_writes_any_more_goes_when_it_is_old(tmp_path: Path) -> None:
    now = time.time()
    for worker in ("0", "1", "2"):
        written(tmp_path / worker, 3)
    own = Chain(tmp_path / "0", LONG)
    held = Chain(tmp_path / "2", LONG)
    prune_others(tmp_path, "0", Bounds(age=100.0), lambda: now)
    assert verify(tmp_path / "1").first == 1
    prune_others(tmp_path, "0", Bounds(age=100.0), lambda: now + 1000)
    own.close()
    held.close()
    assert [verify(tmp_path / worker).first for worker in ("0", "1", "2")] == [1, 4, 1]
    assert verify(tmp_path / "1").faults == []
    assert verify(tmp_path / "1").head.seq == 4


def test_two_do_not_write_one_chain(tmp_path: Path) -> None:
    chain = Chain(tmp_path, LONG)
    with pytest.raises(ConfigInvalid, match="written by another gateway"):
        Chain(tmp_path, LONG, patience=0.0)
    chain.close()
    Chain(tmp_path, LONG).close()


def test_what_does_not_fit_on_the_disk_leaves_no_half_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain(tmp_path, LONG)
    chain.write([entry(0, b"text 0\n")])
    room = 20

    def short(descriptor: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        some, room = min(room, len(data)), max(0, room - len(data))
        return real(descriptor, data[:some])

    real = os.write
    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="No space left"):
        chain.write([entry(1, b"text 1\n"), entry(2, b"text 2\n")])
    monkeypatch.undo()
    chain.write([entry(3, b"text 3\n")])
    chain.close()
    found = verify(tmp_path)
    assert (found.head.seq, found.torn, found.faults) == (2, 0, [])
    assert files.segments(tmp_path)[0].texts.read_bytes() == b"text 0\ntext 3\n"


def test_files_are_their_owner_s_alone(tmp_path: Path) -> None:
    written(tmp_path / "audit" / "0", 1)
    for path in (tmp_path / "audit" / "0").iterdir():
        if path.suffix == ".jsonl":
            assert path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "audit" / "0").stat().st_mode & 0o077 == 0


@given(st.binary(max_size=400), st.integers(0, 2_000), st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_put_into_a_file_is_a_fault_and_no_crash(
    tmp_path: Path, noise: bytes, at: int, is_instead: bool
) -> None:
    folder = tmp_path / "0"
    if not folder.exists():
        written(folder, 8)
        (tmp_path / "kept").write_bytes(newest(folder).read_bytes())
    kept = (tmp_path / "kept").read_bytes()
    newest(folder).write_bytes(kept)
    before = verify(folder).head
    place = at % len(kept)
    changed_to = kept[:place] + noise + kept[place + (len(noise) if is_instead else 0) :]
    newest(folder).write_bytes(changed_to)
    found = verify(folder)
    is_only_cut = kept.startswith(changed_to) or changed_to.startswith(kept)
    # Nothing follows the last record: what it was tells who has kept its hash.
    assert bool(found.faults) or found.torn or changed_to == kept or is_only_cut or found.head != before
    Chain(folder, LONG).close()  # and the next start goes on
