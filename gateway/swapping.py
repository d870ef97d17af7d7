"""One bundle takes another's place while questions come in: loaded and checked beside it, then switched to at once.

A bundle that does not load, that gives other answers than it was made with, or that lacks a collection never gets a
question. The old one answers what it has begun, and is then let go; going back is the same swap the other way round.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from gateway.deadline import Deadline
from gateway.errors import BundleInvalid, Unavailable
from gateway.rpc.service import Description, Startable
from gateway.shadow import Observe, Shadow
from gateway.types import Answer, Evidence, Forecast, Principal, Question, Workload

log = logging.getLogger(__name__)

LOW_PRIORITY = 19
"""Of the thread that loads: it takes what time the questions leave. What it starts inherits that for good."""


Load = Callable[[Path], Startable]
"""From a bundle's folder, on any thread. Raises errors.GatewayError."""


class Swapping:
    """A gateway over another one that can be replaced. See `rpc.service.Gateway`; all methods on the event loop.

    `gateway` was loaded from `folder` and started. `observe` hears what a shadow makes of its questions. `gently`: load
    at the lowest priority, which is wrong where sessions have threads of their own.
    """

    def __init__(self, gateway: Startable, folder: Path, load: Load, observe: Observe, gently: bool = True) -> None:
        self._current = _Tenure(gateway, folder)
        self._load = load
        self._observe = observe
        self._gently = gently
        self._shadow: Shadow | None = None
        self._before: Path | None = None
        self._is_loading = False
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def default_collection(self) -> str:
        return self._current.gateway.default_collection

    def collections(self) -> Sequence[str]:
        return self._current.gateway.collections()

    async def answer(self, question: Question, deadline: Deadline) -> Answer:
        with self._current.used() as gateway:
            answer = await gateway.answer(question, deadline)
        if self._shadow is not None:
            self._shadow.offer(question, answer, self.waiting())
        return answer

    async def search(
        self, text: str, collection: str, principal: Principal, limit: int, deadline: Deadline
    ) -> Evidence:
        with self._current.used() as gateway:
            return await gateway.search(text, collection, principal, limit, deadline)

    def waiting(self) -> int:
        return self._current.gateway.waiting()

    def forecast(self, characters: int, tenant: str, deadline: Deadline) -> Forecast:
        return self._current.gateway.forecast(characters, tenant, deadline)

    def workload(self) -> Workload:
        return self._current.gateway.workload()

    def describe(self) -> Description:
        return self._current.gateway.describe()

    async def close(self) -> None:
        await self.end_shadow()
        await self._current.gateway.close()
        for task in self._leaving:
            task.cancel()

    async def swap(self, folder: Path) -> Description:
        """Serve the bundle in `folder` from the next question on.

        Raises errors.GatewayError where it is not to be served, and Unavailable while another swap goes on; the bundle
        that serves then goes on serving.
        """
        following = await self._loaded(folder)
        following.start()
        before, self._current = self._current, _Tenure(following, folder)
        self._before = before.folder
        log.info("%s serves in the place of %s", following.describe().bundle, before.gateway.describe().bundle)
        task = asyncio.create_task(before.leave())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return following.describe()

    async def cast_shadow(self, folder: Path, share: float) -> Description:
        """Let the bundle in `folder` see a share of the questions, in the place of any that does so. Raises as `swap`,
        and ValueError for a share that is none."""
        shadow = Shadow(await self._loaded(folder), share, self._observe)
        shadow.candidate.start()
        await self.end_shadow()
        self._shadow = shadow
        return shadow.candidate.describe()

    async def end_shadow(self) -> None:
        """Let no bundle see questions beside the one that serves."""
        shadow, self._shadow = self._shadow, None
        if shadow is not None:
            await shadow.close()

    async def _loaded(self, folder: Path) -> Startable:
        """Loaded and checked, one at a time."""
        if self._is_loading:
            raise Unavailable("another bundle is being loaded; wait for it")
        self._is_loading = True
        try:
            following = await self._in_a_thread(folder)
        finally:
            self._is_loading = False
        missing = set(self.collections()) - set(following.collections())
        if missing:
            raise BundleInvalid(f"{folder}: cannot serve the collections {', '.join(sorted(missing))}")
        return following

    async def _in_a_thread(self, folder: Path) -> Startable:
        def load() -> Startable:
            if self._gently:
                with contextlib.suppress(OSError):  # a container may forbid it; then it costs some latency
                    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW_PRIORITY)
            return self._load(folder)

        pool = ThreadPoolExecutor(1, "loader")  # of its own: a thread cannot go back to a higher priority
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, load)
        finally:
            pool.shutdown(wait=False)

    async def roll_back(self) -> Description:
        """Serve the bundle that was served before the last swap. Raises as `swap`; BundleInvalid if there was none."""
        if self._before is None:
            raise BundleInvalid("no other bundle was served before this one since the server has started")
        return await self.swap(self._before)


class _Tenure:
    """A gateway for as long as it serves, and until the last question that it has begun is answered."""

    def __init__(self, gateway: Startable, folder: Path) -> None:
        self.gateway = gateway
        self.folder = folder
        self._begun = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def used(self) -> Iterator[Startable]:
        self._begun += 1
        self._idle.clear()
        try:
            yield self.gateway
        finally:
            self._begun -= 1
            if not self._begun:
                self._idle.set()

    async def leave(self) -> None:
        await self._idle.wait()
        await self.gateway.close()
