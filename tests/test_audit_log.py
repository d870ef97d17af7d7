"""The audit log of a process: what is written of an answer, whose text, what is dropped, and what a full disk does."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import log as audit_log
from gateway.audit import reading
from gateway.audit.chain import Chain, Entry
from gateway.audit.log import AuditLog, Terms
from gateway.audit.marks import ID_LENGTH, Marker, key_of, time_of
from gateway.audit.reading import Record, Wanted
from gateway.audit.records import content_of
from gateway.audit.verifying import verify
from gateway.errors import ConfigInvalid
from gateway.types import Policy, Principal, Question
from tests.fakes import ABSTENTION, ANSWER

KEY = bytes(range(32))
QUESTION = Question("When does my card come?", "banking", Principal("acme", frozenset({"staff", "legal"})))
OTHER = Question("Is my salary there?", "banking", Principal("other"), Policy.PARALLEL)


@contextmanager
def opened(folder: Path, terms: Terms | None = None, share: float = 0.0, worker: int = 0) -> Iterator[AuditLog]:
    log = AuditLog(folder, worker, Marker(KEY, share), terms or Terms())
    try:
        yield log
    finally:
        log.close()


def found(folder: Path, **wanted: Any) -> list[Record]:
    return list(reading.records(folder, Wanted(**wanted), has_text=True))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_answer_s_record_says_who_what_and_why(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        mark = log.offer(QUESTION, ANSWER, "r-1", 0.0125)
        log.offer(OTHER, ABSTENTION, "", 0.5)
    assert mark is not None
    first, second = found(tmp_path, kind="answer")
    assert first["id"] == mark.id
    assert abs(time_of(mark.id) - time.time()) < 60
    assert {name: first[name] for name in ("tenant", "groups", "request_id", "policy", "route", "reason")} == {
        "tenant": "acme",
        "groups": ["legal", "staff"],
        "request_id": "r-1",
        "policy": "cascade",
        "route": "model",
        "reason": "confident",
    }
    assert (first["confidence"], first["threshold"], first["certificate"]) == (0.9375, 0.75, "valid")
    assert (first["certificate_group"], first["certified_risk"]) == ("", 0.0)
    assert (first["bundle"], first["knowledge_version"], first["label"]) == ("banking/1", 7, "card_arrival")
    assert first["citations"] == [["card-arrival", 5]]
    assert (first["us"], first["stages_us"]["infer"]) == (12_500, 2_000)
    assert (first["drawn"], first["propensity"]) == (False, 0.0)
    assert (second["tenant"], second["route"], second["document"]) == ("other", "abstain", "")
    assert [one["kind"] for one in found(tmp_path)] == ["open", "answer", "answer", "close"]
    assert verify(tmp_path / "0", Marker(KEY, 0.0)).faults == []


def test_no_text_is_kept_unless_its_tenant_allows_it(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.offer(QUESTION, ANSWER, "", 0.0)
    assert all(QUESTION.text.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    with opened(tmp_path, Terms(text_tenants=frozenset({"acme"}))) as log:
        log.offer(QUESTION, ANSWER, "", 0.0)
        log.offer(OTHER, ANSWER, "", 0.0)
    assert [one.get("text") for one in found(tmp_path, kind="answer")] == [None, QUESTION.text, None]
    assert all(OTHER.text.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    with opened(tmp_path, Terms(text_tenants=frozenset({"*"}))) as log:
        log.offer(OTHER, ANSWER, "", 0.0)
    assert found(tmp_path, tenant="other", kind="answer")[-1]["text"] == OTHER.text


def test_a_hash_tells_only_that_two_questions_of_a_tenant_were_the_same(tmp_path: Path) -> None:
    marker = Marker(KEY, 0.0)
    assert marker.text_hash("acme", "why?") == marker.text_hash("acme", "why?")
    assert marker.text_hash("acme", "why?") != marker.text_hash("other", "why?")
    assert marker.text_hash("acme", "why?") != Marker(KEY[::-1], 0.0).text_hash("acme", "why?")


def test_a_text_may_be_gone_but_not_be_another(tmp_path: Path) -> None:
    marker = Marker(KEY, 0.0)
    with opened(tmp_path, Terms(text_tenants=frozenset({"*"}))) as log:
        log.offer(QUESTION, ANSWER, "", 0.0)
    (texts,) = tmp_path.rglob("*.texts.jsonl")
    kept = texts.read_text()
    texts.write_text(kept.replace("card", "cash"))
    assert "not the text" in verify(tmp_path / "0", marker).faults[0].problem
    texts.write_text(kept.replace(json.loads(kept)["id"], "0" * ID_LENGTH))
    assert "of no record" in verify(tmp_path / "0", marker).faults[0].problem
    texts.write_text(" " * (len(kept) - 1) + "\n")
    assert verify(tmp_path / "0", marker).faults == []
    assert "text" not in found(tmp_path, kind="answer")[0]


def test_what_has_no_room_is_dropped_counted_and_said_in_the_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "PERIOD", 60.0)
    with opened(tmp_path, Terms(waiting=2)) as log:
        marks = [log.offer(QUESTION, ANSWER, "", 0.0) for _ in range(5)]
        assert [mark is None for mark in marks] == [False, False, True, True, True]
        assert (log.figures().waiting, log.figures().dropped) == (2, 3)
    assert [(one["kind"], one.get("count")) for one in found(tmp_path)][1:-1] == [
        ("dropped", 3),
        ("answer", None),
        ("answer", None),
    ]
    checked = verify(tmp_path / "0", Marker(KEY, 0.0))
    assert (checked.dropped, checked.faults) == (3, [])


def test_a_full_disk_holds_nobody_up_and_what_waited_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    is_full = True
    real = Chain.write

    def write(self: Chain, entries: list[Entry]) -> None:
        if is_full:
            raise OSError(28, "No space left on device")
        real(self, entries)

    monkeypatch.setattr(audit_log, "PAUSE", 0.01)
    with caplog.at_level(logging.WARNING), opened(tmp_path) as log:
        monkeypatch.setattr(Chain, "write", write)
        given = [log.offer(QUESTION, ANSWER, "", 0.0) for _ in range(40)]
        until(lambda: log.figures().is_failing)
        given += [log.offer(QUESTION, ANSWER, "", 0.0) for _ in range(10)]
        assert None not in given
        is_full = False
        until(lambda: not log.figures().is_failing)
        until(lambda: log.figures().written == 50)
    assert [one["id"] for one in found(tmp_path, kind="answer")] == [mark.id for mark in given if mark]
    assert verify(tmp_path / "0").faults == []
    assert len([one for one in caplog.messages if "cannot be written" in one]) == 1
    assert len([one for one in caplog.messages if "written again" in one]) == 1


def test_a_record_that_cannot_be_made_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = content_of

    def broken(given: Any, marker: Marker) -> dict[str, Any]:
        if given.request_id == "broken":
            raise ValueError("cannot be made")
        return real(given, marker)

    monkeypatch.setattr(audit_log, "content_of", broken)
    with opened(tmp_path) as log:
        log.offer(QUESTION, ANSWER, "broken", 0.0)
        until(lambda: log.figures().dropped > 0)
        log.offer(QUESTION, ANSWER, "fine", 0.0)
    assert [one["request_id"] for one in found(tmp_path, kind="answer")] == ["fine"]
    assert "could not be made" in caplog.text


WRITER = """
import sys
from pathlib import Path
from gateway.audit.log import AuditLog, Terms
from gateway.audit.marks import Marker
from tests.fakes import ANSWER
from tests.test_audit_log import QUESTION, KEY
log = AuditLog(Path(sys.argv[1]), 0, Marker(KEY, 0.0), Terms())
print("ready", flush=True)
while True:
    log.offer(QUESTION, ANSWER, "", 0.0)
"""


def test_a_killed_process_leaves_a_chain_that_verifies_and_goes_on(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        until(lambda: len(found(tmp_path)) > 100)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    left = verify(tmp_path / "0", Marker(KEY, 0.0))
    assert left.faults == []
    with opened(tmp_path) as log:
        log.offer(QUESTION, ANSWER, "after", 0.0)
    after = verify(tmp_path / "0", Marker(KEY, 0.0))
    assert (after.faults, after.crashes, after.torn) == ([], 1, 0)
    assert after.head.seq == left.head.seq + 3
    assert found(tmp_path, request_id="after")


def test_ids_are_known_again_and_by_their_tenant_alone() -> None:
    marker, other = Marker(KEY, 0.5), Marker(KEY[::-1], 0.5)
    mark = marker.mark("acme", 1_800_000_000.1234)
    assert marker.is_given_to("acme", mark.id)
    assert not marker.is_given_to("other", mark.id)
    assert not other.is_given_to("acme", mark.id)
    assert not marker.is_given_to("acme", mark.id.upper())
    for wrong in ("", "zz", mark.id[:-2], mark.id + "00", f"{int(mark.id[0], 16) ^ 1:x}{mark.id[1:]}"):
        assert not marker.is_given_to("acme", wrong)
    assert time_of(mark.id) == 1_800_000_000.123
    with pytest.raises(ValueError, match="is no id"):
        time_of("00")


def test_chance_draws_the_share_and_can_be_checked() -> None:
    marker = Marker(KEY, 0.1)
    marks = [marker.mark("acme", 1_800_000_000 + number / 1000) for number in range(20_000)]
    assert len({mark.id for mark in marks}) == 20_000
    drawn = sum(mark.is_drawn for mark in marks)
    assert abs(drawn - 2000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5
    assert all(marker.is_drawn("acme", mark.id, 0.1) == mark.is_drawn for mark in marks)
    assert not any(Marker(KEY, 0.0).mark("acme", 1.0).is_drawn for _ in range(100))
    assert all(Marker(KEY, 1.0).mark("acme", 1.0).is_drawn for _ in range(100))


def test_a_draw_that_was_not_chance_s_is_seen(tmp_path: Path) -> None:
    with opened(tmp_path, share=0.5) as log:
        for _ in range(20):
            log.offer(QUESTION, ANSWER, "", 0.0)
    (path,) = (path for path in tmp_path.rglob("*.jsonl") if "texts" not in path.name)
    lines = path.read_bytes().splitlines()
    lines[1] = lines[1].replace(b'"drawn":true', b'"drawn":was').replace(b'"drawn":false', b'"drawn":true')
    lines[1] = lines[1].replace(b'"drawn":was', b'"drawn":false')
    path.write_bytes(b"\n".join(lines) + b"\n")
    found = verify(tmp_path / "0", Marker(KEY, 0.5))
    assert "otherwise than chance" in found.faults[0].problem
    assert "not given to its tenant" in verify(tmp_path / "0", Marker(KEY[::-1], 0.5)).faults[0].problem


def test_a_key_is_made_once_and_kept(tmp_path: Path) -> None:
    key = key_of(tmp_path, None)
    assert len(key) == 32
    assert key_of(tmp_path, None) == key
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    (tmp_path / "mine").write_bytes(b"short")
    with pytest.raises(ConfigInvalid, match="has 5 bytes"):
        key_of(tmp_path, tmp_path / "mine")
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        key_of(tmp_path, tmp_path / "nowhere")


def test_workers_have_chains_of_their_own_and_are_read_together(tmp_path: Path) -> None:
    with opened(tmp_path, worker=0) as one, opened(tmp_path, worker=1) as other:
        for number in range(6):
            (one, other)[number % 2].offer(QUESTION, ANSWER, str(number), 0.0)
            time.sleep(0.001)
    assert [record["request_id"] for record in found(tmp_path, kind="answer")] == list("012345")
    assert [record["request_id"] for record in reading.last(tmp_path, Wanted(kind="answer"), 3)] == list("345")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "cases.db"]
