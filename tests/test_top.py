"""`gateway top`: what is shown of what is live, and what is said where nothing answers."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import io
import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from gateway.cli import top
from gateway.cli.main import cli
from gateway.cli.top_screen import BINS, binned, screen, spark
from gateway.rpc.server import Ports, Server
from gateway.telemetry.live.history import Levels
from gateway.telemetry.live.view import point, view
from gateway.telemetry.metrics import Metrics, Rejection
from gateway.types import Criticality
from tests.fakes import ABSTENTION

COUNTED = {
    "decision/model/confident": 6,
    "decision/retrieval/low_confidence": 2,
    "decision/abstain/no_evidence": 1,
    "duration/model/ok/3": 9,
    "duration/none/error/1": 3,
    "stage/infer/3": 9,
    "confidence/model/20": 6,
    "refused/shed": 2,
    "ended/Unavailable": 2,
    "denied/unknown": 4,
}
STATUS = {
    "ready": True,
    "bundle": "banking/1",
    "precision": "int8",
    "provider": "CPUExecutionProvider",
    "in_flight": 3,
    "max_in_flight": 8,
    "loaded": 1000.0,
    "threshold": 0.92,
    "certificate": "stale",
    "certificate_reason": "drift",
    "certified_risk": 0.05,
    "collections": [{"name": "[red]help", "documents": 1234, "version": 7}],
    "stored": {"collections": 2, "documents": 10, "version": 99, "written": 1088.0},
    "drift": {"questions": 500, "evidence": {"confidence": 1.5, "labels": -3.0}},
    "workers": [{"ready": True}, {"ready": False}],
}


def live(**status: Any) -> dict[str, Any]:
    last = {"number": 1, "at": 100.0, **point(COUNTED, 2.0), **dataclasses.asdict(Levels(waiting=5, shed_level=0.25))}
    return {
        "serial": "1",
        "at": 100.0,
        "status": copy.deepcopy(STATUS) | status,
        "time": 1100.0,
        "view": view(COUNTED, 60.0),
        "points": [last],
    }


def printed(now: dict[str, Any], columns: int = 100, problem: str = "") -> str:
    console = Console(file=io.StringIO(), width=columns)
    console.print(screen(now, columns, problem))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_all_of_it_is_on_the_screen() -> None:
    found = printed(live())
    shown = " ".join(found.split())
    for words in (
        "ready banking/1 int8 on CPU · 1 of 2 workers",
        "3 of 8",
        "model 67 % 6",
        "abstain: no evidence 11 %",
        "received 12 100 %",
        "admitted 10 83 % 2 refused",
        "decided 9 75 % 1 failed",
        "answered 8 67 % 1 abstained",
        "infer 2.5 ms",
        "the model's threshold is 0.920",
        "certificate stale",
        "at most 5.0 % wrong",
        "confidence +1.5",
        "[red]help 1,234 7 2 min",
        "2 stored 10 99 12 s",
        "refused: shed 2",
        "not let in: unknown 4",
    ):
        assert words in shown, f"{words}\n{found}"


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_no_line_is_longer_than_the_terminal(columns: int) -> None:
    assert max(len(line) for line in printed(live(), columns).splitlines()) <= columns


def test_a_server_without_questions_or_workers_is_shown_too() -> None:
    now = live(ready=False, bundle="", collections=[], stored=None, drift=None)
    now |= {"view": view({}, 0.0), "points": []}
    shown = printed(now)
    for words in ("not ready", "no bundle", "nothing was timed", "no worker is ready", "no collection is served"):
        assert words in shown
    assert "questions are not watched" in printed(live(drift=None))
    assert "tenant acme: it moved" in printed(live(stale_parts={"tenant acme": "it moved"}))
    assert "degraded: device_lost" in printed(live(degraded="device_lost"))


def test_what_is_old_is_said_to_be() -> None:
    assert "unreachable   nobody there" in printed(live(), problem="nobody there")


def of_point(at: float, seconds: float, answers: int) -> dict[str, Any]:
    return {"at": at, "seconds": seconds, "routes": {"model": answers}}


def test_points_are_put_where_they_belong() -> None:
    bins = binned([of_point(99.0, 1.0, 1), of_point(96.0, 1.0, 2)], 100.5)
    assert (len(bins), bins[-2], bins[-1]) == (BINS, {"model": 3.0}, {})
    assert binned([of_point(1.0, 1.0, 1)], 500.0) == [{}] * BINS  # too long ago


def test_a_point_is_divided_among_the_bins_that_it_spans() -> None:
    bins = binned([of_point(102.0, 9.0, 9)], 102.0)
    assert bins[-3:] == [{"model": 2.0}, {"model": 5.0}, {"model": 2.0}]


def test_a_line_shows_what_is_there_at_all() -> None:
    assert spark([None, 0.0, 0.01, 0.5, 1.0], 1.0) == "  ▁▄█"
    assert spark([0.0], 0.0) == " "


async def ran(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, cli, ["top", *arguments])


async def test_it_shows_a_running_gateway(ports: Ports, metrics: Metrics) -> None:
    metrics.observe(ABSTENTION, 0.004)
    metrics.reject(Rejection.SHED, Criticality.SHEDDABLE)
    result = await ran("--admin", f"127.0.0.1:{ports.admin}")  # no terminal: once
    assert (result.exit_code, "banking/1" in result.output) == (0, True)
    result = await ran("--admin", f"127.0.0.1:{ports.admin}", "--json")
    assert '"bundle": "banking/1"' in result.output
    assert json.loads(result.output).keys() == live().keys()  # what is shown above is what a server says


async def test_where_nothing_answers_it_ends(ports: Ports, server: Server) -> None:
    await server.stop()
    result = await ran("--admin", f"127.0.0.1:{ports.admin}", "--once")
    assert result.exit_code == 3
    assert "is a gateway running, with this admin port?" in result.output


def test_points_are_kept_and_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = [live(), live(), live(), live()]
    replies[1]["points"][0] |= {"number": 2, "at": 101.0}
    replies[2] |= {"serial": "2", "points": []}  # another server: what it has is asked for again
    replies[3] |= {"serial": "2"}
    urls: list[str] = []

    def asked(url: str, *_: object) -> dict[str, Any]:
        urls.append(url.rpartition("&")[2])
        return replies[len(urls) - 1]

    monkeypatch.setattr(top, "asked", asked)
    watched = top.Watched("host:1", 60)
    assert [one["number"] for one in watched.look()["points"]] == [1]
    assert [one["number"] for one in watched.look()["points"]] == [1, 2]
    assert [one["number"] for one in watched.look()["points"]] == [1]
    assert urls == ["after=0", "after=1", "after=2", "after=0"]
