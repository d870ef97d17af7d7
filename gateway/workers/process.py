"""One running worker process: how it is started, asked over its socket, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from gateway.errors import Unavailable
from gateway.workers.orders import Orders

BASE = "http://worker"
"""Of every URL; a UNIX socket has no host."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP."""

    status: int
    text: str

    def json(self) -> dict[str, Any]:
        """Its object; empty where it is none."""
        with contextlib.suppress(ValueError):
            found = json.loads(self.text)
            if isinstance(found, dict):
                return found
        return {}


@dataclass(frozen=True, slots=True)
class Relayed:
    """An answer over HTTP, as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


class Process:
    """Make it with `start`. `bundle` is the folder of what it serves, or was started with. `is_leaving`: it has said
    that it drains, whoever told it to."""

    def __init__(self, child: asyncio.subprocess.Process, orders: Orders) -> None:
        self.number = orders.number
        self.socket = orders.socket
        self.bundle = orders.config.model.bundle
        self.is_dismissed = False
        self.is_leaving = False
        self._child = child
        self._ending = asyncio.create_task(child.wait())
        self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(orders.socket)))

    @classmethod
    async def start(cls, command: Sequence[str], orders: Orders) -> Process:
        """Run `command`, which reads `orders` on its standard input. Raises OSError."""
        orders.socket.unlink(missing_ok=True)  # its predecessor's
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            # Ctrl-C goes to every process of the terminal's group: only the supervisor is to act on it.
            start_new_session=True,
        )
        assert child.stdin is not None
        with contextlib.suppress(ConnectionError):  # it has ended already, and `ended` will tell
            child.stdin.write(orders.line())
            await child.stdin.drain()
        return cls(child, orders)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def has_ended(self) -> bool:
        return self._ending.done()

    async def ended(self) -> int:
        """Wait for its end: the exit code, or minus the number of the signal that ended it."""
        return await asyncio.shield(self._ending)

    async def ended_within(self, seconds: float) -> bool:
        """Wait so long for its end."""
        await asyncio.wait({self._ending}, timeout=seconds)
        return self._ending.done()

    def ask_to_drain(self) -> None:
        self._signal(signal.SIGTERM)

    def cut(self) -> None:
        """Close the pipe: it ends at once, in good order."""
        if self._child.stdin is not None:
            self._child.stdin.close()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def dismiss(self) -> None:
        """Kill it for another one to take its place, through no fault of its own."""
        self.is_dismissed = True
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(number)

    async def get(self, path: str, seconds: float, headers: Mapping[str, str] | None = None) -> Reply:
        """GET over its socket. Raises Unavailable where no answer comes within `seconds`."""
        return await self._ask("GET", path, seconds, headers=headers)

    async def post(self, path: str, body: object, seconds: float, headers: Mapping[str, str] | None = None) -> Reply:
        """POST `body` as JSON over its socket. Raises as `get`; what it was asked for may then have happened."""
        return await self._ask("POST", path, seconds, json=body, headers=headers)

    async def _ask(self, method: str, path: str, seconds: float, **options: Any) -> Reply:
        if self._session.closed:
            raise Unavailable(f"no answer from worker {self.number} (it has ended)")
        limit = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._session.request(method, BASE + path, timeout=limit, **options) as response:
                return Reply(response.status, await response.text())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"no answer from worker {self.number} ({error or type(error).__name__})") from None

    async def relay(self, method: str, path: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Relayed:
        """Over its socket what somebody else has sent, as it is. Raises as `get`."""
        limit = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._session.request(
                method, BASE + path, data=body, headers=headers, timeout=limit
            ) as response:
                return Relayed(response.status, dict(response.headers), await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError, RuntimeError) as error:
            raise Unavailable(f"no answer from worker {self.number} ({error or type(error).__name__})") from None

    async def answers(self, path: str, seconds: float) -> bool:
        """Whether GET `path` is answered with 200 within `seconds`."""
        try:
            return (await self.get(path, seconds)).status == 200
        except Unavailable:
            return False

    async def close(self) -> None:
        """Once it has ended."""
        self.cut()
        await self._session.close()
