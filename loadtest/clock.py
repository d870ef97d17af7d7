"""The clock of a run: what time it is, and waiting for an instant much more finely than the event loop's own timers."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import heapq
import os
import time
from typing import Protocol

CLOCK_MONOTONIC = 1
NONBLOCKING = os.O_NONBLOCK | os.O_CLOEXEC
ABSOLUTE = 1


class Clock(Protocol):
    """Instants are seconds on a clock that never goes back."""

    def now(self) -> float: ...

    async def until(self, instant: float) -> None:
        """Return at that instant, or at once if it has passed."""


class TimerClock:
    """The machine's monotonic clock, woken by the kernel (timerfd). Make it inside the running loop and close it.

    libuv counts whole milliseconds, so a generator on uvloop's own timers is late by up to one by construction, and
    that is all that a valid run is allowed.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer: int = self._libc.timerfd_create(CLOCK_MONOTONIC, NONBLOCKING)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self._loop.add_reader(self._timer, self._rang)

    def now(self) -> float:
        return time.monotonic()

    async def until(self, instant: float) -> None:
        if instant <= time.monotonic():
            return
        woken: asyncio.Future[None] = self._loop.create_future()
        self._count += 1
        heapq.heappush(self._waiting, (instant, self._count, woken))
        if self._waiting[0][2] is woken:
            self._arm(instant)
        await woken

    def close(self) -> None:
        self._loop.remove_reader(self._timer)
        os.close(self._timer)

    def _arm(self, instant: float) -> None:
        seconds, rest = divmod(round(instant * 1e9), 1_000_000_000)
        # struct itimerspec: an interval, which we have none of, and the first expiry.
        setting = (ctypes.c_long * 4)(0, 0, seconds, rest)
        if self._libc.timerfd_settime(self._timer, ABSOLUTE, setting, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def _rang(self) -> None:
        with contextlib.suppress(BlockingIOError):  # where it was set anew meanwhile
            os.read(self._timer, 8)
        now = time.monotonic()
        while self._waiting and (self._waiting[0][0] <= now or self._waiting[0][2].done()):
            woken = heapq.heappop(self._waiting)[2]
            if not woken.done():
                woken.set_result(None)
        if self._waiting:
            self._arm(self._waiting[0][0])
