"""Servers and workers that end under load: what is counted, and one real end of a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.types import Answer
from loadtest import restarts
from loadtest.chaos.neighbours import Asked, Neighbours
from loadtest.chaos.verdicts import Terms
from loadtest.restarts import Restarted
from loadtest.restarts_command import restarts_
from tests.fakes import ANSWER


def asked(code: str, seconds: float, answer: Answer | None = None) -> Asked:
    return Asked(0.0, seconds, code, answer)


def test_what_failed_is_counted_by_code_over_all_rounds() -> None:
    done = Restarted("an end")
    done.add(Neighbours([asked("OK", 0.01, ANSWER), asked("UNAVAILABLE", 1.0)]), 1.0)
    done.add(Neighbours([asked("OK", 0.2, ANSWER), asked("UNAVAILABLE", 1.0), asked("CANCELLED", 0.1)]), 2.0)
    assert (done.rounds, done.calls, done.failed) == (2, 5, {"UNAVAILABLE": 2, "CANCELLED": 1})
    assert (done.worst, done.away) == (200.0, [1.0, 2.0])


async def test_nobody_fails_where_one_of_two_servers_is_told_to_end(tmp_path: Path) -> None:
    done = await restarts.one_of_two_servers(Terms(tmp_path), 20.0, 1)
    assert done.failed == {}
    assert done.calls > 50


@pytest.mark.parametrize("failed", [{}, {"UNAVAILABLE": 3}])
def test_the_command_fails_where_a_call_did(monkeypatch: pytest.MonkeyPatch, failed: dict[str, int]) -> None:
    async def way(terms: Terms, rate: float, rounds: int) -> Restarted:
        return Restarted("an end", rounds, 100, failed, 1.0, 2.0, [0.5])

    monkeypatch.setattr(restarts, "WAYS", (way,))
    found = CliRunner().invoke(restarts_, [])
    assert found.exit_code == bool(failed)
    assert ("3 UNAVAILABLE" in found.output) == bool(failed)
