"""What systemd is told where it has started this process (Type=notify): ready, stopping, alive. See sd_notify(3)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping


class Manager:
    """`address`: its socket; empty where nobody wants to be told. `alive_every`: seconds, None without a watchdog."""

    def __init__(self, address: str, alive_every: float | None = None) -> None:
        # A leading @ stands for a name in the abstract namespace, which begins with NUL.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._alive_every = alive_every

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Manager:
        """The one that has started this process. A process of ours inherits the variables: whoever is told by somebody
        else, as workers are, makes none."""
        wanted = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # Half of it, as sd_watchdog_enabled(3) advises.
        every = int(wanted) / 2e6 if wanted.isdecimal() and is_ours else None
        return cls(environment.get("NOTIFY_SOCKET", ""), every)

    def ready(self) -> None:
        self._tell("READY=1")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    async def watched(self, is_live: Callable[[], bool]) -> None:
        """For ever: say that it is alive as long as that is so, and this loop turns."""
        if self._alive_every is None:
            return
        while True:
            if is_live():
                self._tell("WATCHDOG=1")
            await asyncio.sleep(self._alive_every)

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.setblocking(False)  # whoever does not read must not stop who serves
            line.sendto(state.encode(), self._address)
