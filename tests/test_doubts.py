"""Marks of stale certificates that outlive the process: by bundle and monitor, from several writers at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gateway import disk, doubts
from gateway.cascade.standing import CertificateStanding, Doubt, Part
from gateway.config import AuditSection, Config, DriftMode, DriftSection
from gateway.doubts import Doubts
from gateway.errors import ConfigInvalid, StoreFailed
from gateway.types import Doubter

ACME = Part(tenant="acme")
MOVED = Doubt(Doubter.DRIFT, None, "it moved")
ACME_MOVED = Doubt(Doubter.DRIFT, ACME, "a tenant moved")
WRONG = Doubt(Doubter.FEEDBACK, None, "too many errors")


def test_a_mark_is_there_at_the_next_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "new" / doubts.FILE
    keeper = Doubts(path, "one", clock=lambda: 0.0)
    standing = CertificateStanding(keeper)
    standing.mark_stale(MOVED.reason, MOVED.by)
    standing.mark_stale(ACME_MOVED.reason, ACME_MOVED.by, ACME)
    keeper.settle()
    again = CertificateStanding(Doubts(path, "one"))
    assert (again.is_stale, again.reason) == (True, "it moved (since 1970-01-01T00:00:00+00:00)")
    assert again.parts.keys() == {ACME}
    assert "was stale before this start, and is for tenant acme: a tenant moved" in caplog.text
    assert not CertificateStanding(Doubts(path, "another")).is_stale
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_operator_takes_back_what_one_monitor_has_found_for_good(tmp_path: Path) -> None:
    path = tmp_path / doubts.FILE
    for bundle in ("one", "another"):
        keeper = Doubts(path, bundle)
        for each in (MOVED, ACME_MOVED, WRONG):
            keeper.keep(each)
        keeper.settle()
    CertificateStanding(Doubts(path, "one")).renew(Doubter.DRIFT)
    assert [each.by for each in Doubts(path, "one").kept()] == [Doubter.FEEDBACK]
    assert len(Doubts(path, "another").kept()) == 3


def test_several_workers_mark_once_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / doubts.FILE
    tenants = [Part(tenant=str(number)) for number in range(8)]

    def work(number: int) -> None:
        keeper = Doubts(path, "one")
        keeper.keep(MOVED)
        keeper.keep(Doubt(Doubter.DRIFT, tenants[number], "moved"))
        keeper.settle()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    parts = [each.part for each in Doubts(path, "one").kept()]
    assert len(parts) == 9
    assert set(parts) == {None, *tenants}


def test_what_cannot_be_read_is_said_and_nothing_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / doubts.FILE
    path.write_text('{"format": 1, "marks": [')
    with pytest.raises(ConfigInvalid, match=r"stale\.json: holds no marks of stale certificates: put back a copy"):
        CertificateStanding(Doubts(path, "one"))


def test_what_cannot_be_written_holds_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / doubts.FILE
    keeper = Doubts(path, "one")
    keeper.keep(WRONG)
    keeper.settle()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "put", full)
    standing = CertificateStanding(keeper)
    standing.mark_stale("it moved", Doubter.DRIFT, ACME)
    keeper.settle()
    assert "cannot be kept, and is forgotten at the next start" in caplog.text
    with pytest.raises(StoreFailed, match="No space left on device: the certificate stays stale"):
        standing.renew(Doubter.FEEDBACK)
    assert standing.is_stale
    assert standing.parts.keys() == {ACME}


def test_settings_say_where_and_whose(tmp_path: Path) -> None:
    assert doubts.of(Config(), "one") is None
    kept = doubts.of(Config(audit=AuditSection(folder=tmp_path)), "one")
    assert kept
    for each in (MOVED, WRONG):
        kept.keep(each)
    kept.settle()
    for mode, tighten, expected in (
        (DriftMode.ACT, True, [Doubter.DRIFT, Doubter.FEEDBACK]),
        (DriftMode.OBSERVE, True, [Doubter.FEEDBACK]),
        (DriftMode.OFF, False, []),
    ):
        config = Config(
            audit=AuditSection(tighten=tighten), drift=DriftSection(mode=mode, marks=tmp_path / doubts.FILE)
        )
        found = doubts.of(config, "one")
        assert found
        assert [each.by for each in found.kept()] == expected
