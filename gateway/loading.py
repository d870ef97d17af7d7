"""One bundle at a time is loaded beside the one that serves, in a thread, and nothing that was loaded is lost.

A thread cannot be stopped from outside. So who asked may go away, and what was loaded for it is closed once it is
there; until then nothing else is loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from gateway.errors import Draining, Unavailable
from gateway.rpc.service import Startable

log = logging.getLogger(__name__)

LOW_PRIORITY = 19
"""Of the thread that loads: it takes what time the questions leave. What it starts inherits that for good."""


class Load(Protocol):
    """Makes a gateway of a bundle's folder."""

    def __call__(self, folder: Path, is_candidate: bool, go_on: Callable[[], None]) -> Startable:
        """On a thread. `is_candidate`: to be compared, so it must not answer from memory. `go_on` is called between
        the steps and raises where nobody wants the result any more. Raises errors.GatewayError, OSError."""
        ...


class Loader:
    """Calls `load`; all methods on the event loop. `gently`: at the lowest priority."""

    def __init__(self, load: Load, gently: bool = True) -> None:
        self._load = load
        self._gently = gently
        self._loading: asyncio.Task[Startable] | None = None
        self._nobody_waits = asyncio.Event()
        self._nobody_waits.set()
        self._given_up = asyncio.Event()
        self._is_given_up = threading.Event()  # the same, for the thread
        self._closing: set[asyncio.Task[None]] = set()

    def check(self) -> None:
        """Raises Draining once it is given up."""
        if self._is_given_up.is_set():
            raise Draining("this server is ending; the bundle that serves is not replaced any more")

    def check_free(self) -> None:
        """Raises Unavailable while another one is loaded, and as `check`."""
        self.check()
        if self._loading is not None or not self._nobody_waits.is_set():
            raise Unavailable("another bundle is being loaded; wait for it")

    async def load(self, folder: Path, is_candidate: bool) -> Startable:
        """Loaded, and from now on the caller's to close. Raises as `Load` does, Unavailable while another one is
        loaded, and Draining once it is given up."""
        self.check_free()
        loading = self._loading = asyncio.create_task(self._in_a_thread(folder, is_candidate))
        loading.add_done_callback(self._ended)
        given_up = asyncio.create_task(self._given_up.wait())
        self._nobody_waits.clear()
        is_taken = False
        try:
            # Which cancels neither: a caller that is cancelled leaves the load going.
            await asyncio.wait({loading, given_up}, return_when=asyncio.FIRST_COMPLETED)
            self.check()
            is_taken = True
            return loading.result()
        finally:
            given_up.cancel()
            if not is_taken:
                loading.add_done_callback(self._close_result)
            self._nobody_waits.set()

    def give_up(self) -> None:
        """Load nothing from now on; who waits for a bundle gets Draining at once."""
        self._is_given_up.set()
        self._given_up.set()

    async def close(self) -> None:
        """Give up, and wait until the thread has come to the end of a step and what it has loaded is closed."""
        self.give_up()
        await self._nobody_waits.wait()
        if self._loading is not None:
            await asyncio.wait({self._loading})
        await asyncio.gather(*self._closing)

    async def _in_a_thread(self, folder: Path, is_candidate: bool) -> Startable:
        def load() -> Startable:
            if self._gently:
                with contextlib.suppress(OSError):  # a container may forbid it; then it costs some latency
                    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW_PRIORITY)
            return self._load(folder, is_candidate, self.check)

        pool = ThreadPoolExecutor(1, "loader")  # of its own: a thread cannot go back to a higher priority
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, load)
        finally:
            pool.shutdown(wait=False)

    def _ended(self, _: asyncio.Task[Startable]) -> None:
        self._loading = None

    def _close_result(self, loading: asyncio.Task[Startable]) -> None:
        if loading.cancelled() or loading.exception() is not None:
            return
        log.info("%s was loaded for nobody and is closed", loading.result().describe().bundle)
        closing = asyncio.create_task(loading.result().close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
