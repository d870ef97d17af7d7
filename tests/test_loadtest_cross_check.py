"""h2load beside our own generator: what it is told, what its log says, and when the two can be compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gateway.rpc.server import Ports
from gateway.v1 import gateway_pb2 as pb
from loadtest import h2load
from loadtest.cross_check_command import compared
from loadtest.h2load import Answered, H2loadFailed, command, framed, parsed
from tests.fakes import FakeGateway
from tests.loadtest_fakes import made_run
from tests.test_loadtest_commands import FORGIVING, started

THEIRS = Answered(per_second=50.0, p50_ms=11.0, p99_ms=12.0, max_ms=30.0, failed=0)


def test_a_message_is_framed_as_grpc_frames_it() -> None:
    message = pb.AnswerRequest(question="why?").SerializeToString()
    body = framed(message)
    assert body[0] == 0  # not compressed
    assert int.from_bytes(body[1:5], "big") == len(message)
    assert pb.AnswerRequest.FromString(body[5:]).question == "why?"


def test_it_is_told_what_makes_a_call_grpc() -> None:
    found = command("h2load", "127.0.0.1:1", 250.5, 12, 200, Path("body"), Path("log"))
    assert found[-1] == "http://127.0.0.1:1/gateway.v1.Answers/Answer"
    assert {
        "--header=content-type: application/grpc", "--header=te: trailers", "--header=grpc-timeout: 200m",
        "--rps=250.5", "--duration=12", "--data=body", "--log-file=log",
    } <= set(found)  # fmt: skip


def test_its_log_is_read_without_the_warm_up() -> None:
    start = 1_700_000_000_000_000
    lines = [f"{start + 100_000 * number}\t200\t{1000 * (number + 1)}" for number in range(40)]
    found = parsed([*lines, f"{start + 3_900_000}\t503\t1", "torn\t2"], seconds=3, warmup=1)
    assert (found.per_second, found.failed) == (10, 1)
    assert (found.p50_ms, found.max_ms) == (25.5, 40)


def test_no_answers_are_no_result() -> None:
    with pytest.raises(H2loadFailed, match="no answer after the warm-up"):
        parsed([], seconds=3, warmup=1)


def test_both_are_compared_from_the_send() -> None:
    found = compared(made_run([[0.01] * 50] * 4), THEIRS, 50)
    assert found["valid"]
    assert found["ratios"] == {
        "per_second": 1.0,
        "p50_ms": pytest.approx(1.1, rel=0.01),
        "p99_ms": pytest.approx(1.2, rel=0.01),
    }


def test_a_refusal_makes_it_incomparable() -> None:
    (fault,) = compared(made_run([[0.01] * 50] * 4, shed=[1]), THEIRS, 50)["faults"]
    assert "h2load cannot tell" in fault


async def test_without_h2load_it_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(H2loadFailed, match="install nghttp2-client"):
        await h2load.asked("why?", "127.0.0.1:1", 10, 1, 0, 200)


@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is not installed (nghttp2-client)")
async def test_the_real_one_is_understood_by_a_real_server(ports: Ports, gateway: FakeGateway) -> None:
    code, out, err = await started(
        "cross-check", "--rate", "20", "--seconds", "2", "--warmup", "1", "--timeout-ms", "5000", "--json",
        "--question", "why?", "--target", f"127.0.0.1:{ports.grpc}", *FORGIVING,
    )  # fmt: skip
    assert code == 0, err
    ours, theirs = json.loads(out)["rows"]
    assert ours["per_second"] == pytest.approx(20, rel=0.2)
    assert theirs["per_second"] == pytest.approx(20, rel=0.5)
    # A body that is no message of gRPC's would have been refused before it got there.
    assert len(gateway.questions) > 90
    assert {asked.text for asked in gateway.questions} == {"why?", "When will my card arrive?"}
