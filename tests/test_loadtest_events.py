"""What is done to a server in a run: at its time, told with the seconds around it, refused where it cannot be."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from gateway.rpc.server import Ports
from gateway.types import Workload
from loadtest import events, urgency
from loadtest.admin import Admin, AdminFailed, Tokens
from loadtest.events import Happened
from loadtest.ports import free_port
from loadtest.processes import ServerFailed
from loadtest.recorder import Recorder
from loadtest.scenarios import EventPart, ScenarioInvalid
from loadtest.subjects import Opened, running
from loadtest.targets import NOT_CONNECTED, Outcome, is_lost
from tests import tiny
from tests.fakes import FakeGateway
from tests.loadtest_fakes import ANSWERED, SHED, SimulatedClock
from tests.test_loadtest_commands import FORGIVING, started
from tests.test_loadtest_generator import FakeTarget

SWAP, DRAIN = EventPart(at=3, do="swap"), EventPart(at=5, do="drain")


def recorded() -> Recorder:
    """10 ms in every second from 0 to 9, but 40 ms in second 5, with a refusal in each of 2 and 5."""
    recorder = Recorder(["all"], target=0.05, warmup=2)
    for second in range(10):
        latency = 0.04 if second == 5 else 0.01
        recorder.record(0, ANSWERED, second + 0.5, second + 0.5, second + 0.5 + latency)
    for second in (2, 5):
        recorder.record(0, SHED, second, second, second)
    return recorder


def test_a_window_is_compared_with_what_was_before_it() -> None:
    (found,) = events.noticed([Happened("swap", 5.2, 5.9, "tiny/2 serves")], recorded())
    assert found["before"]["seconds"] == [2, 5]
    assert found["window"]["seconds"] == [5, 7]
    assert (found["before"]["errors"], found["window"]["errors"], found["window"]["offered"]) == (1, 1, 3)
    assert found["p99_ratio"] == pytest.approx(4, rel=0.02)


def test_a_second_event_has_the_first_ones_window_behind_it() -> None:
    found = events.noticed([Happened("swap", 3.2, 3.4, ""), Happened("swap", 7.0, 7.0, "")], recorded())
    assert found[1]["before"]["seconds"] == [5, 7]


def test_without_answers_there_is_no_ratio() -> None:
    (found,) = events.noticed([Happened("drain", 20.0, 21.0, "")], recorded())
    assert (found["window"]["p99_ms"], found["p99_ratio"]) == (None, None)


async def test_an_event_comes_at_its_time_and_its_failure_is_told() -> None:
    clock = SimulatedClock()

    async def refused() -> str:
        await clock.until(clock.now() + 0.5)
        raise AdminFailed("422: not fit")

    happened = await clock.drive(events.happen(SWAP, refused, clock, clock.now()))
    assert happened == Happened("swap", 3.0, 3.5, "", "422: not fit")


async def test_what_an_event_takes_is_asked_for_before_anything_is_sent() -> None:
    async def answer(_: float) -> Outcome:
        return ANSWERED

    target = FakeTarget(SimulatedClock(), answer)
    bare = Opened(running("127.0.0.1:1", "gateway"), target, None)
    with pytest.raises(ScenarioInvalid, match="--admin HOST:PORT"):
        events.act(SWAP, bare, Path("x"))
    with pytest.raises(ScenarioInvalid, match="--swap-to"):
        events.act(SWAP, Opened(running("127.0.0.1:1", "gateway", "127.0.0.1:2"), target, None), None)
    with pytest.raises(ScenarioInvalid, match="use --serve"):
        events.act(DRAIN, bare, None)


async def test_tokens_are_read_from_the_admin_port(ports: Ports, gateway: FakeGateway) -> None:
    gateway.load = Workload(tokens=200, wasted=3)
    found = await asyncio.to_thread(Admin(f"127.0.0.1:{ports.admin}").tokens)
    assert found == Tokens(200, 3)
    assert Tokens(300, 5).since(found).wasted_share == 0.02
    assert Tokens(0, 0).wasted_share is None
    assert Tokens(10, 0).since(found).wasted_share is None


async def test_an_admin_port_that_is_none_is_named() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(AdminFailed, match=address):
        await asyncio.to_thread(Admin(address).tokens)


async def test_a_swap_is_refused_in_the_servers_words(ports: Ports, tmp_path: Path) -> None:
    with pytest.raises(AdminFailed, match="404"):  # the fake has no other bundle
        await asyncio.to_thread(Admin(f"127.0.0.1:{ports.admin}").swap, tmp_path)


@pytest.mark.parametrize(
    ("status", "reason", "lost"),
    [
        ("OK", "confident", False),
        ("UNAVAILABLE", "DRAINING", False),
        ("UNAVAILABLE", NOT_CONNECTED, False),
        ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", False),
        ("UNAVAILABLE", "", True),  # the connection broke
        ("UNAVAILABLE", "STREAM_ENDED", True),
        ("DEADLINE_EXCEEDED", "", True),
        ("INTERNAL", "INTERNAL", True),
    ],
)
def test_a_call_is_lost_without_answer_and_without_refusal(status: str, reason: str, lost: bool) -> None:
    assert is_lost(status, reason) is lost


def test_the_generator_goes_first_and_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_OTHER)
    monkeypatch.setattr(os, "sched_setscheduler", lambda _, policy, __: set_to.append(policy))
    with urgency.first_in_line() as is_first:
        assert is_first
        assert set(set_to) == {os.SCHED_RR}
        set_to.clear()
    assert set(set_to) == {os.SCHED_OTHER}


def test_without_the_privilege_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    with urgency.first_in_line() as is_first:
        assert not is_first
    urgency.back_in_line()


def test_a_priority_that_somebody_chose_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_FIFO)
    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: pytest.fail("it was changed"))
    with urgency.first_in_line() as is_first:
        assert not is_first


SCENARIO = """
summary = "a swap and a drain"
warmup_seconds = 1
[[load]]
name = "all"
timeout_ms = 20000
pieces = [{ seconds = 4, rate = 30 }]
[[events]]
at = 1.5
do = "swap"
[[events]]
at = 3.5
do = "drain"
"""


@pytest.mark.timeout(300)
async def test_a_bundle_is_swapped_and_a_server_drained_under_load(tmp_path: Path) -> None:
    """A real server of its own: no question is lost by either, and what came after the end was refused."""
    for version in ("1", "2"):
        tiny.write(tmp_path / version, version=version)
    (tmp_path / "questions.txt").write_text("\n".join(tiny.questions(20)))
    (tmp_path / "events.toml").write_text(SCENARIO)
    page = tmp_path / "page.html"
    code, out, err = await started(
        "run", str(tmp_path / "events.toml"), "--serve", f"--no-knowledge --bundle {tmp_path / '1'}",
        "--swap-to", str(tmp_path / "2"), "--questions", str(tmp_path / "questions.txt"), "--json", *FORGIVING,
        "--html", str(page),
    )  # fmt: skip
    assert code == 0, err
    found = json.loads(out)
    whole = found["loads"]["all"]
    swap, drain = found["events"]
    assert (swap["do"], swap["outcome"], swap["failure"]) == ("swap", "tiny/2 serves", "")
    assert (drain["do"], drain["outcome"], drain["failure"]) == ("drain", "the server has ended", "")
    assert swap["window"]["offered"] > 0
    assert whole["statuses"].keys() <= {"OK", "UNAVAILABLE"}
    assert whole["statuses"]["OK"] > 0
    assert whole["statuses"]["UNAVAILABLE"] > 0
    assert whole["lost"] == 0
    assert found["question_source"].startswith("questions.txt (sha256 ")
    assert "<h2>Events</h2>" in page.read_text()


async def test_a_drain_that_fails_quotes_the_server() -> None:
    class Fallen:
        def terminate(self) -> None: ...

        async def ended(self) -> int:
            return 3

        def last_words(self) -> str:
            return "help"

    with pytest.raises(ServerFailed, match="ended with 3: help"):
        await events._drain(Fallen())  # type: ignore[arg-type]
