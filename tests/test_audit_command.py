"""`gateway audit`: records shown, filtered, followed and verified."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.audit import reading, segments
from gateway.audit.cases import Cases, Verdict
from gateway.audit.log import AuditLog, Terms
from gateway.audit.marks import Marker, key_of
from gateway.audit.reading import Wanted
from gateway.audit.verifying import verify
from gateway.cli.main import cli
from gateway.types import Principal, Question
from tests.fakes import ABSTENTION, ANSWER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two answers of acme, one of another tenant, whose text is kept."""
    log = AuditLog(tmp_path, 0, Marker(key_of(tmp_path, None), 0.0), Terms(text_tenants=frozenset({"other"})))
    log.offer(Question("mine", "banking", Principal("acme")), ANSWER, "r-1", 0.001)
    log.offer(Question("mine too", "banking", Principal("acme")), ABSTENTION, "r-2", 0.001)
    log.offer(Question("yours", "banking", Principal("other")), ANSWER, "r-3", 0.001)
    log.close()
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["audit", *arguments])


def asked(folder: Path, *arguments: str) -> list[str]:
    result = run("query", "--folder", str(folder), "--kind", "answer", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line)["request_id"] for line in result.output.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ((), ["r-1", "r-2", "r-3"]),
        (("--tenant", "acme"), ["r-1", "r-2"]),
        (("--route", "abstain"), ["r-2"]),
        (("--label", "card_arrival"), ["r-1", "r-3"]),
        (("--request-id", "r-3"), ["r-3"]),
        (("--since", "1h"), ["r-1", "r-2", "r-3"]),
        (("--until", "1h"), []),
        (("--since", "2020-01-01", "--until", "2020-01-02T03:04:05+01:00"), []),
    ],
    ids=str,
)
def test_query_finds(folder: Path, arguments: tuple[str, ...], found: list[str]) -> None:
    assert asked(folder, *arguments) == found


def test_query_finds_by_id_and_shows_texts_where_they_were_kept(folder: Path) -> None:
    records = list(reading.records(folder, Wanted(kind="answer")))
    assert asked(folder, "--id", records[1]["id"]) == ["r-2"]
    result = run("query", "--folder", str(folder), "--text", "--json", "--kind", "answer")
    assert [json.loads(line).get("text") for line in result.output.splitlines()] == [None, None, "yours"]


def test_tail_shows_the_last(folder: Path) -> None:
    result = run("tail", "--folder", str(folder), "-n", "2", "--json")
    assert [json.loads(line)["kind"] for line in result.output.splitlines()] == ["answer", "close"]
    assert "card-arrival" in run("tail", "--folder", str(folder)).output


def test_what_comes_is_followed(folder: Path) -> None:
    log = AuditLog(folder, 1, Marker(key_of(folder, None), 0.0), Terms())
    waits = 0

    def wait(_: float) -> None:
        nonlocal waits
        waits += 1
        log.offer(Question("next", "banking"), ANSWER, f"n-{waits}", 0.0)
        end = time.monotonic() + 30
        while log.figures().written < waits:
            assert time.monotonic() < end
            time.sleep(0.01)

    comes = reading.followed(folder, Wanted(kind="answer"), wait)
    assert [next(comes)["request_id"] for _ in range(3)] == ["n-1", "n-2", "n-3"]
    log.close()


def test_verify_prints_heads_and_takes_them_again(folder: Path) -> None:
    result = run("verify", "--folder", str(folder))
    assert result.exit_code == 0, result.output
    head = result.output.split()[0]
    assert head.startswith("0:5:")
    assert run("verify", "--folder", str(folder), "--known", head).exit_code == 0
    (segment,) = segments.segments(folder / "0")
    kept = segment.path.read_bytes()
    segment.path.write_bytes(b"".join(kept.splitlines(keepends=True)[:-1]))
    assert run("verify", "--folder", str(folder)).exit_code == 0
    cut = run("verify", "--folder", str(folder), "--known", head)
    assert (cut.exit_code, "its record is not there" in cut.output) == (1, True)
    segment.path.write_bytes(kept.replace(b"r-2", b"r-9"))
    changed = run("verify", "--folder", str(folder))
    assert (changed.exit_code, "one of them was changed" in changed.output) == (1, True)
    assert f"{segment.path}:4" in changed.output


def test_verify_says_what_it_cannot_check(folder: Path) -> None:
    (folder / "key").rename(folder / "elsewhere")
    assert "no key" in run("verify", "--folder", str(folder)).output
    assert "no key" not in run("verify", "--folder", str(folder), "--key", str(folder / "elsewhere")).output
    assert verify(folder / "0").faults == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tail",), "no audit log is named"),
        (("tail", "--folder", "nowhere"), "is no folder"),
        (("verify", "--folder", "."), "holds no chain"),
        (("query", "--folder", "."), "holds no chain"),
        (("tail", "--folder", "."), "holds no chain"),
        (("query", "--folder", ".", "--since", "99999999999d"), "must be a time"),
        (("query", "--folder", ".", "--since", "yesterday"), "must be a time"),
        (("verify", "--folder", ".", "--known", "0:5"), "must be WORKER:SEQ:SHA256"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_AUDIT__FOLDER", raising=False)
    result = run(*arguments)
    assert result.exit_code != 0
    assert words in result.output


@pytest.mark.parametrize(
    ("before", "after"),
    [(b'"document":', b'"dokument":'), (b'"route":"model"', b'"route":"nonsense"'), (b'"us":', b'"us":"x","u":')],
)
def test_an_answer_that_somebody_has_changed_hides_no_other(folder: Path, before: bytes, after: bytes) -> None:
    path = next(path for path in folder.glob("0/*.jsonl") if ".texts" not in path.name)
    lines = path.read_bytes().splitlines(keepends=True)
    number = next(at for at, line in enumerate(lines) if b'"r-1"' in line)
    lines[number] = lines[number].replace(before, after)
    path.write_bytes(b"".join(lines))
    assert asked(folder) == ["r-2", "r-3"]
    assert run("query", "--folder", str(folder)).exit_code == 0

    def written(_: float) -> None:
        path.write_bytes(b"".join(lines))

    followed = reading.followed(folder, Wanted(kind="answer"), wait=written)
    path.write_bytes(b"")
    assert [next(followed)["request_id"] for _ in range(2)] == ["r-2", "r-3"]
    assert run("verify", "--folder", str(folder)).exit_code == 1


def test_what_is_removed_while_it_is_read_is_gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = segments.segments(folder / "0")
    monkeypatch.setattr(segments, "segments", lambda _: known)
    for segment in known:
        segment.remove()
    assert list(reading.records(folder, Wanted(), has_text=True)) == []


@pytest.mark.parametrize("damaged", [b"{", b"[]", b'{"id": 1}', b"\xff"])
def test_a_text_that_is_damaged_hides_no_other_and_goes_with_any_tenant(folder: Path, damaged: bytes) -> None:
    path = next(folder.glob("0/*.texts.jsonl"))
    path.write_bytes(damaged + b"\n" + path.read_bytes())
    assert '"text": "yours"' in run("query", "--folder", str(folder), "--text", "--json").output
    assert "is of no record of its segment" in run("verify", "--folder", str(folder)).output
    assert run("forget", "--folder", str(folder), "--tenant", "acme").output == "1 texts of acme are gone\n"
    assert damaged + b"\n" not in path.read_bytes()
    assert '"text": "yours"' in run("query", "--folder", str(folder), "--text", "--json").output


def test_texts_of_a_tenant_can_go_and_the_chain_still_verifies(tmp_path: Path) -> None:
    marker = Marker(key_of(tmp_path, None), 0.0)
    log = AuditLog(tmp_path, 0, marker, Terms(text_tenants=frozenset({"*"})))
    for tenant in ("acme", "other", "acme"):
        mark = log.offer(Question(f"a question of {tenant}", "banking", Principal(tenant)), ANSWER, "", 0.0)
        assert mark is not None
        log.judge(Verdict(mark.id, tenant, is_wrong=True, comment=f"a comment of {tenant}"))

    def forgotten(*arguments: str) -> str:
        return run("forget", "--folder", str(tmp_path), "--tenant", "acme", *arguments).output

    while log.figures().waiting:
        time.sleep(0.01)
    assert forgotten("--until", "1h") == "0 texts of acme are gone\n"
    assert forgotten() == "2 texts of acme are gone\n"
    assert forgotten() == "0 texts of acme are gone\n"
    log.offer(Question("asked afterwards", "banking", Principal("acme")), ANSWER, "", 0.0)
    log.close()
    records = reading.records(tmp_path, Wanted(kind="answer"), has_text=True)
    assert [one.get("text") for one in records] == [None, "a question of other", None, "asked afterwards"]
    assert all(b"of acme" not in path.read_bytes() for path in tmp_path.rglob("*.jsonl"))
    with closing(Cases(tmp_path)) as cases:
        assert sorted(one.comment for one in cases.verdicts()) == ["", "", "a comment of other"]
    assert verify(tmp_path / "0", marker).faults == []
