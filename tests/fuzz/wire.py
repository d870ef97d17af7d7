"""Bytes that are no HTTP/2, on the port of a real server: whatever comes, it lives, and others are answered."""

from __future__ import annotations

import os
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from gateway.client import Client
from tests import tiny

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAMES = range(11)
"""Types, one more than there are."""
ASK_EVERY = 50
"""Connections between two questions of somebody else, who must be answered."""
SECONDS = 0.02
"""To hear what a connection answers."""
STARTED = re.compile(r"^listening (\d+)$", re.MULTILINE)
SERVE = """
import asyncio, sys
from pathlib import Path
from gateway import assembly
from gateway.config import Config, KnowledgeSection, ModelSection, ServerSection
from gateway.rpc.server import serve
from gateway.telemetry.metrics import Metrics

async def main():
    config = Config(
        server=ServerSection(port=0, admin_port=0),
        model=ModelSection(bundle=Path(sys.argv[1])),
        knowledge=KnowledgeSection(collections={}),
    )
    gateway = await assembly.build(config)
    try:
        await serve(gateway, config, Metrics(), lambda at: print(f"listening {at.grpc}", flush=True), gateway)
    finally:
        await gateway.close()

asyncio.run(main())
"""


class Wire:
    """A server of its own, in another process."""

    name = "wire"

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        bundle = tiny.write(Path(self._folder.name) / "tiny")
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(bundle)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert self._server.stdout is not None
        match = STARTED.search(self._server.stdout.readline())
        if match is None:
            raise RuntimeError("the server did not start")
        self._port = int(match[1])
        self._client = Client(f"127.0.0.1:{self._port}", timeout=10)
        self._count = 0

    def corpus(self, chance: random.Random) -> bytes:
        """The preface, settings, and some frames of any type."""
        if chance.random() < 0.1:
            return chance.randbytes(chance.randrange(200))
        made = [PREFACE, _frame(4, 0, 0, b"")]
        for _ in range(chance.randrange(6)):
            payload = chance.randbytes(chance.choice((0, 1, 4, 5, 8, 40, 300)))
            made.append(
                _frame(chance.choice(FRAMES), chance.randrange(256), chance.choice((0, 1, 2, 3, 2**31 - 1)), payload)
            )
        return b"".join(made)

    def run(self, data: bytes) -> str:
        self._count += 1
        outcome = self._sent(data)
        if self._server.poll() is not None:
            raise AssertionError(f"the server ended with {self._server.returncode}")
        if self._count % ASK_EVERY == 0:
            self._client.answer("word1 word2")
        return outcome

    def _sent(self, data: bytes) -> str:
        with socket.create_connection(("127.0.0.1", self._port), timeout=5) as connection:
            connection.settimeout(SECONDS)
            try:
                connection.sendall(data)
                return "answered" if connection.recv(4096) else "closed"
            except TimeoutError:
                return "silent"
            except OSError:
                return "reset"

    def close(self) -> None:
        self._client.close()
        self._server.terminate()
        code = self._server.wait(60)
        if self._server.stdout is not None:
            self._server.stdout.close()
        self._folder.cleanup()
        if code:
            raise AssertionError(f"the server ended with {code}")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream & 0x7FFFFFFF) + payload
