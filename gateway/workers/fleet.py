"""Keeps so many workers running on one port: starts them, starts them again, watches, drains and ends them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Config
from gateway.errors import Unavailable
from gateway.rpc.origin import located
from gateway.rpc.settings import values_of
from gateway.workers.orders import Orders
from gateway.workers.pace import Pace, Restarts
from gateway.workers.process import Process

log = logging.getLogger(__name__)

WRONG_SETTINGS = 2
"""The exit code of a worker that will not start, however often it is tried. It has said why."""
PROBE = 1.0
"""Seconds for a worker to say whether it is ready."""
TELLING = 5.0
"""Seconds for a worker to take other settings."""


class SettingsRefused(Exception):
    """A worker ended with WRONG_SETTINGS before the fleet was complete for the first time, or had another bundle."""


class Worker:
    """One place in the fleet. `process` fills it; None between the end of one and the start of the next."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: Process | None = None
        self.is_ready = False
        self.restarts = 0


@dataclass(frozen=True, slots=True)
class _Life:
    """How a process ended, and for how many seconds it was ready."""

    code: int
    ready_seconds: float = 0.0
    was_dismissed: bool = False

    @property
    def was_asked_to_end(self) -> bool:
        """By somebody else than us: it has drained, and nothing is wrong with it."""
        return self.code == 0 and self.ready_seconds > 0


class Fleet:
    """`command` starts one worker, whose port `config` names; their sockets go into `folder`.

    `on_ready` is called with each process that becomes ready, `on_end` with each worker whose process has ended,
    `on_restart` before it is started again. Nothing happens before `run`.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        command: Sequence[str],
        pace: Pace,
    ) -> None:
        self.workers = [Worker(number) for number in range(config.server.workers)]
        self.bundle = located(config.model.bundle)  # it may mean another one when a worker is started again
        self._config = config
        self._folder = folder
        self._command = command
        self._pace = pace
        self.on_ready: Callable[[Process], None] = lambda process: None
        self.on_end: Callable[[Worker], None] = lambda worker: None
        self.on_restart: Callable[[Worker], None] = lambda worker: None
        self._tasks: list[asyncio.Task[None]] = []
        self._telling: set[asyncio.Task[None]] = set()
        self._draining = asyncio.Event()
        self._changed = asyncio.Condition()
        self._is_proven = False

    @property
    def is_draining(self) -> bool:
        return self._draining.is_set()

    def processes(self) -> list[Process]:
        return [worker.process for worker in self.workers if worker.process is not None]

    def ready(self) -> list[Process]:
        """Those that were ready when they were last asked."""
        return [worker.process for worker in self.workers if worker.process is not None and worker.is_ready]

    def use(self, config: Config) -> None:
        """Other settings, of which only what is `settings.CHANGEABLE` differs: for the workers that run, and for those
        that are started from now on."""
        server = config.server.model_copy(update={"port": self._config.server.port})
        self._config = config.model_copy(update={"server": server})
        for worker in self.workers:
            if worker.process is not None:
                self._telling.add(task := asyncio.create_task(self._tell(worker.process)))
                task.add_done_callback(self._telling.discard)

    async def _tell(self, process: Process) -> None:
        """One that does not answer, as it starts, is told once it is ready."""
        try:
            reply = await process.post("/settings", {"values": values_of(self._config)}, TELLING)
        except Unavailable as error:
            log.info("not told of the settings: %s", error)
            return
        if reply.status != 200:
            log.warning("worker %d did not take the settings: %s", process.number, reply.text)

    async def run(self) -> None:
        """Until `drain`. Raises SettingsRefused, and Unavailable where a worker has ended once too often."""
        first, *rest = self.workers
        # One goes ahead: settings that are wrong are said once, and what all would compute, as the embeddings of a
        # collection, the others find in its cache.
        self._tasks = [asyncio.create_task(self._tend(first))]
        ahead = asyncio.create_task(self.wait_for_ready(1))
        await asyncio.wait({self._tasks[0], ahead}, return_when=asyncio.FIRST_COMPLETED)
        ahead.cancel()
        if not self._tasks[0].done() and not self.is_draining:
            self._tasks += [asyncio.create_task(self._tend(worker)) for worker in rest]
        await asyncio.gather(*self._tasks)

    async def wait_for_ready(self, least: int) -> None:
        """Wait until so many workers are ready."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.ready()) >= least)

    async def drain(self) -> None:
        """Let every worker finish what it has begun; one that takes too long is killed. Nothing is started again."""
        self._draining.set()
        for process in self.processes():
            process.ask_to_drain()
        await self._until_ended(self._pace.drain)

    async def end(self) -> None:
        """End every worker now; what it has begun is cut off."""
        self._draining.set()
        for process in self.processes():
            process.cut()
        await self._until_ended(self._pace.end)

    async def _until_ended(self, seconds: float) -> None:
        if not self._tasks:
            return
        _, unfinished = await asyncio.wait(self._tasks, timeout=seconds)
        for process in self.processes() if unfinished else []:
            log.warning(
                "worker %d (pid %d) took more than %g s to end and is killed", process.number, process.pid, seconds
            )
            process.kill()
        await asyncio.wait(self._tasks)

    def adopt(self, bundle: Path, prepared: Collection[Process]) -> None:
        """From now on workers start with `bundle`. Those in `prepared` are about to serve it; any other is started
        again at once, unless it is leaving."""
        self.bundle = bundle
        self._is_proven = True  # and a worker that cannot load it has had an accident, not wrong settings
        for process in self.processes():
            if process not in prepared and not process.is_leaving:
                self.dismiss(process)

    def dismiss(self, process: Process) -> None:
        """Start another one in its place, at once. During a drain it is left to finish."""
        if not self.is_draining:
            process.dismiss()

    async def _tend(self, worker: Worker) -> None:
        """Keep a process in this place until the drain."""
        history = Restarts(self._pace)
        while True:
            life = await self._one_life(worker)
            if self.is_draining:
                return
            if life.code == WRONG_SETTINGS and not self._is_proven:
                raise SettingsRefused
            if not life.was_dismissed and not await self._paused(worker, history, life):
                return
            worker.restarts += 1
            self.on_restart(worker)

    async def _paused(self, worker: Worker, history: Restarts, life: _Life) -> bool:
        """Wait as long as it takes until the next start; False if the drain began meanwhile."""
        delay: float | None = self._pace.first_delay
        if not life.was_asked_to_end:
            delay = history.delay(life.ready_seconds)
        if delay is None:
            raise Unavailable(
                f"worker {worker.number} has ended more than {self._pace.restarts} times within "
                f"{self._pace.window:g} s, the last time {_way(life.code)}; what it said is above"
            )
        log.warning("worker %d ended %s and is started again in %g s", worker.number, _way(life.code), delay)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._draining.wait(), delay)
        return not self.is_draining

    async def _one_life(self, worker: Worker) -> _Life:
        """Start a process and stay with it."""
        orders = self._orders(worker)
        try:
            process = await Process.start(self._command, orders)
        except OSError as error:  # no memory for another process, perhaps for a moment only
            log.warning("worker %d cannot be started: %s", worker.number, error)
            return _Life(code=1)
        worker.process = process
        if self.is_draining:
            process.kill()
        if process.bundle != self.bundle:
            self.dismiss(process)
        ready_seconds = 0.0
        try:
            if await self._becomes_ready(process):
                log.info("worker %d (pid %d) is ready", worker.number, process.pid)
                since = asyncio.get_running_loop().time()
                if orders.config != self._orders(worker).config:  # they have changed while it started
                    await self._tell(process)
                await self._set_ready(worker, is_ready=True)
                self.on_ready(process)
                await self._watch(process)
                ready_seconds = asyncio.get_running_loop().time() - since
            return _Life(await process.ended(), ready_seconds, process.is_dismissed)
        finally:
            worker.process = None
            await self._set_ready(worker, is_ready=False)
            self.on_end(worker)
            await process.close()

    def _orders(self, worker: Worker) -> Orders:
        model = self._config.model.model_copy(update={"bundle": self.bundle})
        config = self._config.model_copy(update={"model": model})
        return Orders(number=worker.number, socket=self._folder / f"{worker.number}.sock", config=config)

    async def _set_ready(self, worker: Worker, is_ready: bool) -> None:
        async with self._changed:
            worker.is_ready = is_ready
            self._is_proven |= len(self.ready()) == len(self.workers)
            self._changed.notify_all()

    async def _becomes_ready(self, process: Process) -> bool:
        """False if it ends first, or is killed for not being ready in time."""
        try:
            async with asyncio.timeout(self._pace.start):
                while not await process.ended_within(self._pace.poll):
                    if await process.answers("/readyz", PROBE):
                        return True
        except TimeoutError:
            log.warning(
                "worker %d (pid %d) was not ready within %g s and is killed",
                process.number,
                process.pid,
                self._pace.start,
            )
            process.kill()
        return False

    async def _watch(self, process: Process) -> None:
        """Until it ends. One that hangs is killed."""
        now = asyncio.get_running_loop().time
        heard = now()
        while not await process.ended_within(self._pace.watch):
            if await process.answers("/livez", self._pace.watch):
                heard = now()
            elif now() - heard > self._pace.silence:
                log.warning("worker %d (pid %d) hangs and is killed", process.number, process.pid)
                process.kill()


def _way(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    return f"by {signal.Signals(-code).name}"
