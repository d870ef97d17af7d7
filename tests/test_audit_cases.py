"""Drawn answers and verdicts in the file that all workers share."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from gateway.audit.cases import FILE, Cases, Drawn, Verdict
from gateway.audit.estimate import Stratum
from gateway.errors import StoreFailed, StoreFull

DAY = 86_400.0


def answer_id(at: float, number: int = 0) -> str:
    return f"{int(at * 1000):012x}{number:028x}"


def drawn(number: int, at: float = DAY, route: str = "model", propensity: float = 0.01) -> Drawn:
    return Drawn(answer_id(at, number), "acme", "banking/1", route, at, propensity)


def verdict(number: int, is_wrong: bool, at: float = DAY, label: str = "", document: str = "") -> Verdict:
    return Verdict(answer_id(at, number), "acme", is_wrong, label, document)


def strata(cases: Cases) -> list[Stratum]:
    return [one.stratum for one in cases.tallies("banking/1")]


def test_the_tally_follows_what_is_drawn_and_said(tmp_path: Path) -> None:
    cases = Cases(tmp_path)
    cases.draw([drawn(1), drawn(2), drawn(3)])
    assert strata(cases) == [Stratum(0.01, 3, 0, 0)]
    assert cases.judge(verdict(1, is_wrong=True), 0.0)
    assert cases.judge(verdict(2, is_wrong=False), 0.0)
    assert strata(cases) == [Stratum(0.01, 3, 2, 1)]
    cases.close()


def test_the_same_verdict_again_changes_nothing_and_another_takes_its_place(tmp_path: Path) -> None:
    cases = Cases(tmp_path)
    cases.draw([drawn(1)])
    assert cases.judge(verdict(1, is_wrong=True, label="card"), 0.0)
    assert not cases.judge(verdict(1, is_wrong=True, label="card"), 9.0)
    assert strata(cases) == [Stratum(0.01, 1, 1, 1)]
    assert cases.judge(verdict(1, is_wrong=False), 0.0)
    assert strata(cases) == [Stratum(0.01, 1, 1, 0)]
    assert cases.judge(verdict(1, is_wrong=True), 0.0)
    assert strata(cases) == [Stratum(0.01, 1, 1, 1)]
    assert [one.label for one in cases.verdicts()] == [""]
    cases.close()


def test_a_verdict_may_come_before_the_answer_is_known_to_be_drawn(tmp_path: Path) -> None:
    cases = Cases(tmp_path)
    cases.judge(verdict(1, is_wrong=True), 0.0)
    cases.judge(verdict(2, is_wrong=False), 0.0)
    assert strata(cases) == []
    cases.draw([drawn(1), drawn(2)])
    cases.draw([drawn(1)])
    assert strata(cases) == [Stratum(0.01, 2, 2, 1)]
    cases.close()


def test_what_was_not_drawn_is_kept_and_counts_for_no_estimate(tmp_path: Path) -> None:
    cases = Cases(tmp_path)
    cases.judge(verdict(7, is_wrong=True, document="card-arrival"), 0.0)
    assert strata(cases) == []
    assert [(one.id, one.document) for one in cases.verdicts()] == [(answer_id(DAY, 7), "card-arrival")]
    cases.close()


def test_strata_are_by_route_day_and_propensity(tmp_path: Path) -> None:
    cases = Cases(tmp_path)
    cases.draw([drawn(1), drawn(2, route="retrieval"), drawn(3, at=2 * DAY), drawn(4, propensity=0.5)])
    found = [(one.route, one.day, one.stratum.propensity) for one in cases.tallies()]
    assert found == [("model", 1, 0.01), ("model", 1, 0.5), ("model", 2, 0.01), ("retrieval", 1, 0.01)]
    assert cases.tallies("other/1") == []
    cases.close()


def test_the_newest_are_judged_first(tmp_path: Path) -> None:
    cases = Cases(tmp_path)
    cases.draw([drawn(1), drawn(2, at=3 * DAY), drawn(3, at=2 * DAY)])
    cases.judge(verdict(3, is_wrong=False, at=2 * DAY), 0.0)
    assert cases.pending(5) == [answer_id(3 * DAY, 2), answer_id(DAY, 1)]
    assert cases.pending(1) == [answer_id(3 * DAY, 2)]
    cases.close()


def test_old_ones_are_forgotten_and_the_tally_stays(tmp_path: Path) -> None:
    cases = Cases(tmp_path)
    cases.draw([drawn(1), drawn(2, at=3 * DAY)])
    cases.judge(verdict(1, is_wrong=True), 0.0)
    cases.clear(2 * DAY)
    assert cases.pending(5) == [answer_id(3 * DAY, 2)]
    assert list(cases.verdicts()) == []
    assert sum(one.drawn for one in strata(cases)) == 2
    cases.close()


def test_workers_share_one_file(tmp_path: Path) -> None:
    """Each of four judges the same answers and draws its own, at once; nothing is counted twice or lost."""
    views = [Cases(tmp_path) for _ in range(4)]

    def work(worker: int) -> None:
        for number in range(25):
            views[worker].draw([drawn(100 * worker + number)])
            views[worker].judge(verdict(number, is_wrong=True), 0.0)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert strata(views[0]) == [Stratum(0.01, 100, 25, 25)]
    for view in views:
        view.close()


def test_what_fails_is_said_and_leaves_nothing_half(tmp_path: Path) -> None:
    cases = Cases(tmp_path)
    cases.draw([drawn(1)])
    pages = cases._file.execute("PRAGMA page_count").fetchone()[0]
    cases._file.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreFull, match="cannot be kept now"):
        cases.draw([drawn(number) for number in range(2, 2_000)])
    assert strata(cases) == [Stratum(0.01, 1, 0, 0)]
    cases.close()
    (tmp_path / FILE).write_bytes(b"nonsense" * 1000)
    with pytest.raises(StoreFailed, match="not a database"):
        Cases(tmp_path)


def test_the_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    Cases(tmp_path).close()
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
    assert sqlite3.connect(tmp_path / FILE).execute("PRAGMA journal_mode").fetchone() == ("delete",)
