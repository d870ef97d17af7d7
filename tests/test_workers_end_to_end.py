"""Two real workers on one port, from the command to the last process: asked, killed, swapped, drained, abandoned."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import aiohttp
import grpc
import grpc.aio
import pytest

from gateway.audit import reading
from gateway.audit.marks import Marker, key_of
from gateway.audit.reading import Wanted
from gateway.audit.verifying import verify
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from tests import tiny

PATIENCE = 240.0
"""Seconds; two processes load a bundle each, on a machine that may have other work."""
CONNECTIONS = 24
"""The kernel deals them to two workers: one gets none in 1 of 8 million runs."""
ASKING = 8

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    tiny.write(folder / "1")
    tiny.write(folder / "2", version="2")
    return folder


class Command:
    """`gateway serve --workers 2` as a process of its own, and the ports that it has announced."""

    def __init__(self, process: subprocess.Popen[str], said: str) -> None:
        self.process = process
        self.said = said
        self.grpc = int(re.findall(r"^gRPC +127\.0\.0\.1:(\d+) *$", said, re.MULTILINE)[0])
        self.admin = int(re.findall(r"^status +http://127\.0\.0\.1:(\d+)/status *$", said, re.MULTILINE)[0])

    async def status(self) -> dict[str, Any]:
        return cast("dict[str, Any]", await got(f"http://127.0.0.1:{self.admin}/status", is_json=True))

    async def metrics(self) -> str:
        return str(await got(f"http://127.0.0.1:{self.admin}/metrics"))

    async def is_ready(self) -> bool:
        return bool((await self.status())["ready"])


async def got(url: str, socket: str | None = None, is_json: bool = False) -> object:
    connector = aiohttp.UnixConnector(socket) if socket else aiohttp.TCPConnector()
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as response:
        return await (response.json() if is_json else response.text())


@contextmanager
def serving(folder: Path, log: Path) -> Iterator[Command]:
    command = [sys.executable, "-m", "gateway", "serve", "--workers", "2", "--port", "0", "--admin-port", "0"]
    command += ["--bundle", str(folder / "1"), "--no-knowledge"]
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            said = ""
            while "ask --target" not in said:
                line = process.stdout.readline()
                assert line, f"it ended: {log.read_text()}"
                said += line
            yield Command(process, said)
        finally:
            process.terminate()
            process.wait(PATIENCE)


class Caller:
    """One connection of its own, asking without end. A call that fails is made again; nothing else hides it."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{port}",
            options=[
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.enable_retries", 0),
                ("grpc.max_reconnect_backoff_ms", 500),
            ],
        )
        self._stub = gateway_pb2_grpc.AnswersStub(self.channel)
        self.answers = 0
        self.failures: Counter[str] = Counter()

    async def ask(self, question: str) -> pb.AnswerResponse:
        while True:
            try:
                answer: pb.AnswerResponse = await self._stub.Answer(pb.AnswerRequest(question=question), timeout=10)
            except grpc.RpcError as error:
                self.failures[error.code().name] += 1
                await asyncio.sleep(0.05)
            else:
                self.answers += 1
                return answer

    async def ask_until(self, end: asyncio.Event, expected: dict[str, float]) -> None:
        while not end.is_set():
            for question, confidence in expected.items():
                answer = await self.ask(question)
                assert answer.confidence == pytest.approx(confidence, abs=0.01)
                await asyncio.sleep(0.01)


def counted(metrics: str, name: str) -> float:
    """The sum of its series for the method Answer."""
    lines = (line for line in metrics.splitlines() if line.startswith(f"{name}{{") and 'method="Answer"' in line)
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def until_ready(command: Command, without: int) -> None:
    """Wait until both are ready and none of them is the process `without`."""
    async with asyncio.timeout(PATIENCE):
        while True:
            status = await command.status()
            if status["ready"] and without not in [worker["pid"] for worker in status["workers"]]:
                return
            await asyncio.sleep(0.1)


async def test_two_workers_are_one_server(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_AUDIT__FOLDER", str(tmp_path / "audit"))
    with serving(folder, tmp_path / "log") as command:
        assert re.search(r"^workers +2 *$", command.said, re.MULTILINE)
        async with AsyncExitStack() as stack:
            callers = [Caller(command.grpc) for _ in range(CONNECTIONS)]
            for caller in callers:
                await stack.enter_async_context(caller.channel)
            await both_answer(command, callers)
            await none_is_missed(command, callers[:ASKING])
            await both_change(command, folder)
        command.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(command.process.wait, PATIENCE) == 0
        assert "Traceback" not in (tmp_path / "log").read_text()
    all_is_written(tmp_path / "audit")


def all_is_written(audit: Path) -> None:
    """By both workers, of which the second was killed once."""
    marker = Marker(key_of(audit, None), 0.0)
    found = [verify(audit / str(worker), marker) for worker in range(2)]
    assert [(one.faults, one.crashes, one.dropped) for one in found] == [([], 0, 0), ([], 1, 0)]
    answers = list(reading.records(audit, Wanted(kind="answer")))
    assert len(answers) > CONNECTIONS
    assert {one["bundle"] for one in answers} == {"tiny/1"}  # the second was asked nothing
    assert len({one["id"] for one in answers}) == len(answers)
    assert len({one["manifest"] for one in answers}) == 1


async def both_answer(command: Command, callers: list[Caller]) -> None:
    await asyncio.gather(*(caller.ask(tiny.questions(1)[0]) for caller in callers))
    sockets = [worker["socket"] for worker in (await command.status())["workers"]]
    each = [counted(str(await got("http://worker/metrics", socket)), "grpc_server_handled_total") for socket in sockets]
    assert all(each)
    assert counted(await command.metrics(), "grpc_server_handled_total") == sum(each) >= len(callers)


async def none_is_missed(command: Command, callers: list[Caller]) -> None:
    """While one of the two is killed."""
    questions = tiny.questions(5, seed=3)
    expected = {question: (await callers[0].ask(question)).confidence for question in questions}
    before = counted(await command.metrics(), "grpc_server_handled_total")
    end = asyncio.Event()
    asking = [asyncio.create_task(caller.ask_until(end, expected)) for caller in callers]
    victim = (await command.status())["workers"][1]["pid"]
    os.kill(victim, signal.SIGKILL)
    await until_ready(command, without=victim)
    answered = [caller.answers for caller in callers]
    async with asyncio.timeout(PATIENCE):
        while any(caller.answers == earlier for caller, earlier in zip(callers, answered, strict=True)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    end.set()
    await asyncio.gather(*asking)
    assert {code for caller in callers for code in caller.failures} <= {"UNAVAILABLE"}
    assert counted(await command.metrics(), "grpc_server_handled_total") > before
    assert [worker["restarts"] for worker in (await command.status())["workers"]] == [0, 1]


async def both_change(command: Command, folder: Path) -> None:
    url = f"http://127.0.0.1:{command.admin}/bundle"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, json={"folder": str(folder / "2")}) as response:
            assert (response.status, (await response.json())["bundle"]) == (200, "tiny/2")
        async with session.post(url, json={"folder": str(folder)}) as response:
            assert (response.status, "none is promoted" in (await response.json())["error"]) == (422, True)
    assert {worker["bundle"] for worker in (await command.status())["workers"]} == {"tiny/2"}


async def test_no_worker_outlives_its_supervisor(folder: Path, tmp_path: Path) -> None:
    with serving(folder, tmp_path / "log") as command:
        workers = (await command.status())["workers"]
        command.process.kill()
        await asyncio.to_thread(wait_for_the_end, [worker["pid"] for worker in workers])
        assert not Path(workers[0]["socket"]).parent.exists()


def wait_for_the_end(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "it is still there"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """A zombie, which nobody in this container may collect, is not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_wrong_settings_are_said_once(folder: Path) -> None:
    command = [sys.executable, "-m", "gateway", "serve", "--workers", "2", "--port", "0", "--admin-port", "0"]
    done = await asyncio.to_thread(
        subprocess.run, [*command, "--bundle", str(folder)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"Error: .*holds versions \(1, 2\), of which none is promoted.*\n", done.stderr)
