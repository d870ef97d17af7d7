"""h2load (nghttp2) as a second opinion: another generator, in C, that sends the same call at the same rate.

It is a closed loop: a connection with so many streams, each waiting for its answer. With `--rps` calls start at a pace,
and as long as never all of the streams are taken, that is a load at a constant rate. It sends one body over and over,
counts latency from the send, and takes every gRPC status for success, as all come with HTTP 200. So it is comparable
below the capacity only, where everything is answered.
"""

from __future__ import annotations

import asyncio
import shutil
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gateway.v1 import gateway_pb2 as pb
from loadtest import urgency

PROGRAM = "h2load"
PATH = "/gateway.v1.Answers/Answer"
STREAMS = 200
"""Calls at once, within what a gateway takes on one connection."""
PATIENCE = 30.0
"""Seconds beyond those of the run."""


class H2loadFailed(RuntimeError):
    """It is not there, or ended with an error; the message has the fix, or its words."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What h2load saw, after the warm-up."""

    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    failed: int
    """Calls without HTTP 200. What gRPC refused is not among them."""


def framed(message: bytes) -> bytes:
    """As gRPC puts a message on a stream: not compressed, its length in four bytes, itself."""
    return struct.pack(">BI", 0, len(message)) + message


def command(called: str, address: str, rate: float, seconds: int, timeout_ms: int, body: Path, log: Path) -> list[str]:
    """`rate` is in calls a second."""
    return [
        called,
        f"--duration={seconds}",
        "--clients=1",  # several would all send at the same instants
        f"--max-concurrent-streams={STREAMS}",
        f"--rps={rate:g}",
        f"--data={body}",
        f"--log-file={log}",
        "--header=content-type: application/grpc",
        "--header=te: trailers",
        f"--header=grpc-timeout: {timeout_ms}m",
        f"http://{address}{PATH}",
    ]


def program() -> str:
    """Its path. Raises H2loadFailed, with what to install."""
    found = shutil.which(PROGRAM)
    if found is None:
        raise H2loadFailed("h2load is not here: install nghttp2-client (Debian, Ubuntu) or nghttp2 (Homebrew, Fedora)")
    return found


async def asked(question: str, address: str, rate: float, seconds: int, warmup: int, timeout_ms: int) -> Answered:
    """Ask one question over and over, for `warmup` and then `seconds` whole seconds. Raises H2loadFailed."""
    called = program()
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder) / "body", Path(folder) / "log"
        body.write_bytes(framed(pb.AnswerRequest(question=question).SerializeToString()))
        whole = warmup + seconds
        await _run(command(called, address, rate, whole, timeout_ms, body, log), whole)
        return parsed(log.read_text().splitlines(), seconds, warmup)


async def _run(arguments: Sequence[str], seconds: int) -> None:
    with urgency.first_in_line():  # as our own generator runs; it inherits that
        process = await asyncio.create_subprocess_exec(
            *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    try:
        async with asyncio.timeout(seconds + PATIENCE):
            words, _ = await process.communicate()
    except TimeoutError:
        raise H2loadFailed(f"h2load did not end within {seconds + PATIENCE:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise H2loadFailed(f"h2load ended with {process.returncode}: {words.decode(errors='replace')[-1000:].strip()}")


def parsed(lines: Sequence[str], seconds: float, warmup: float) -> Answered:
    """Of its log: start in microseconds since the epoch, HTTP status, microseconds taken. Raises H2loadFailed."""
    rows = np.array([line.split("\t")[:3] for line in lines if line.count("\t") >= 2], np.int64).reshape(-1, 3)
    counted = rows[rows[:, 0] >= rows[:, 0].min() + 1e6 * warmup] if len(rows) else rows
    good = counted[counted[:, 1] == 200]
    if not len(good):
        raise H2loadFailed("h2load got no answer after the warm-up: does a gateway listen there, without TLS?")
    milliseconds = good[:, 2] / 1e3
    p50, p99 = (float(np.percentile(milliseconds, percent)) for percent in (50, 99))
    return Answered(
        per_second=round(len(good) / seconds, 2),
        p50_ms=round(p50, 3),
        p99_ms=round(p99, 3),
        max_ms=round(float(milliseconds.max()), 3),
        failed=len(counted) - len(good),
    )
