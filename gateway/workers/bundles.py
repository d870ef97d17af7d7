"""Another bundle for all workers or for none, and a shadow likewise. Fits rpc.service.Replaceable.

Every worker loads, verifies and warms it first, and none serves it before all have. Then it is decided: who cannot
switch any more, or was started meanwhile, is started again with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from gateway.errors import BundleInvalid, Draining, GatewayError, Unavailable
from gateway.rpc.origin import Origin, WayBack, located
from gateway.rpc.service import Description
from gateway.workers.drift import Spreading
from gateway.workers.fleet import Fleet
from gateway.workers.process import Process, Reply

log = logging.getLogger(__name__)

LOADING = 12 * 3600.0
"""Seconds for a worker to load a bundle, which it does in the time that its questions leave: the first one embeds by it
what is stored, which may be a million documents."""
SWITCHING = 30.0
"""Seconds for what takes a worker no time; it may have to wait for the processor."""
DESCRIPTION = TypeAdapter(Description)

Seen = dict[Process, Description]
"""Workers with what they have loaded."""
T = TypeVar("T")


@dataclass
class _Shadow:
    """A shadow, and on which workers it is cast."""

    origin: Origin
    share: float
    on: set[Process] = field(default_factory=set)


class Bundles:
    """What the workers of `fleet` serve. On the event loop; one change at a time."""

    def __init__(self, fleet: Fleet, spreading: Spreading | None = None) -> None:
        self._spreading = spreading or Spreading(fleet)
        self._fleet = fleet
        self._way_back = WayBack()
        self._shadow: _Shadow | None = None
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Future[Any]] = set()
        fleet.on_ready = self._joined

    async def swap(self, folder: Path) -> Description:
        """Serve the bundle in `folder` with every worker. Where one refuses, or ends, nothing has changed."""
        return await self._alone(lambda: self._swap(located(folder)))

    async def roll_back(self) -> Description:
        """Serve the one before. Not what each worker served before: it may have been started since."""

        async def back() -> Description:
            before = self._way_back.origin()
            return await self._swap(before.folder, before)

        return await self._alone(back)

    async def cast_shadow(self, folder: Path, share: float) -> Description:
        """Let the bundle in `folder` see that share of the questions of every worker, also of those that are started
        later. Where the first refuses, the shadow before goes on; where another one does, there is none."""
        return await self._alone(lambda: self._cast(located(folder), share))

    async def end_shadow(self) -> None:
        """Let none do so."""
        await self._alone(self._end_shadow)

    # One change at a time.

    async def reset_drift(self) -> Description:
        """By each worker, for its own questions."""
        self._check_draining()
        seen = [_described(*each) for each in await self._spreading.reset()]
        if not seen:
            raise Unavailable("no worker is ready; wait for one")
        return seen[0]

    async def _alone(self, change: Callable[[], Awaitable[T]]) -> T:
        """In a task of its own: who asked may go away, and the fleet must not stay half changed."""
        if self._changing.locked():
            raise Unavailable("another bundle is being loaded; wait for it")
        await self._changing.acquire()
        return await asyncio.shield(self._kept(self._released(change)))

    async def _released(self, change: Callable[[], Awaitable[T]]) -> T:
        try:
            return await change()
        finally:
            self._changing.release()

    def _kept(self, work: Awaitable[T]) -> asyncio.Future[T]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # A swap.

    async def _swap(self, folder: Path, expected: Origin | None = None) -> Description:
        """To what `expected` names, if it is still there."""
        prepared: Seen = {}
        try:
            before = await self._serving()
            await self._on_all(prepared, lambda process: self._prepare(process, folder))
            now = _one(folder, prepared, expected)
            self._check_draining()
        except GatewayError:
            await self._discard()
            self._check_draining()  # which then is the reason, whatever the workers have said
            raise
        # Decided, and nothing was awaited since the last look at who is ready: whoever is not among them is starting
        # with the bundle before, or has ended.
        self._fleet.adopt(folder, prepared)
        self._way_back.swapped(before, Origin.of(folder, now.manifest_sha256))
        await asyncio.gather(*(self._switch(process, folder) for process in prepared))
        return now

    async def _serving(self) -> Origin:
        """What is served now, in the words of the first."""
        process = next(iter(self._takers()), None)
        if process is None:
            raise Unavailable("no worker is ready; wait for one")
        now = _described(process, await process.get("/status", SWITCHING))
        return Origin.of(self._fleet.bundle, now.manifest_sha256)

    async def _prepare(self, process: Process, folder: Path) -> Description:
        return _described(process, await _posted(process, "/bundle/prepare", folder, {}))

    async def _switch(self, process: Process, folder: Path) -> None:
        try:
            _described(process, await process.post("/bundle/switch", {"folder": str(folder)}, SWITCHING))
        except GatewayError as error:
            log.error("worker %d cannot switch to %s and is started again with it: %s", process.number, folder, error)
            self._fleet.dismiss(process)
        else:
            process.bundle = folder

    async def _discard(self) -> None:
        """Everywhere: also who has not answered may have loaded it."""
        await asyncio.gather(*(_told(process, "/bundle/discard", {}) for process in self._fleet.processes()))

    # Workers, as they come and go.

    def _takers(self) -> list[Process]:
        return [process for process in self._fleet.ready() if not process.is_leaving]

    def _check_draining(self) -> None:
        if self._fleet.is_draining:
            raise Draining("this server is ending; the bundle that serves is not replaced any more")

    async def _on_all(self, seen: Seen, load: Callable[[Process], Awaitable[Description]]) -> None:
        """Have every worker load something, also those that become ready meanwhile. `seen` says who has, also where
        this raises."""
        # One goes ahead: most of what can be wrong with a bundle shows there, and nobody else has the trouble.
        while rest := [process for process in self._takers() if process not in seen]:
            await self._on_each(rest if seen else rest[:1], seen, load)
        if not seen:
            raise Unavailable("no worker is ready; wait for one")

    async def _on_each(
        self, some: Iterable[Process], seen: Seen, load: Callable[[Process], Awaitable[Description]]
    ) -> None:
        """Wait for every one, and only then raise what the first that failed has raised."""

        async def one(process: Process) -> None:
            try:
                seen[process] = await load(process)
            except Draining:  # told to end by somebody else; what is started in its place is another worker
                self._check_draining()
                process.is_leaving = True

        outcomes = await asyncio.gather(*map(one, some), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    # A shadow.

    async def _cast(self, folder: Path, share: float) -> Description:
        seen: Seen = {}
        try:
            await self._on_all(seen, lambda process: self._shade_one(process, folder, share))
            now = _one(folder, seen, None)
        except GatewayError:
            self._check_draining()
            if seen:  # and they have let go of the one before
                await self._end_shadow()
            raise
        self._shadow = _Shadow(Origin.of(folder, now.manifest_sha256), share, set(seen))
        return now

    async def _shade_one(self, process: Process, folder: Path, share: float) -> Description:
        return _described(process, await _posted(process, "/shadow", folder, {"share": share}))

    async def _end_shadow(self) -> None:
        self._shadow = None
        await asyncio.gather(*(_told(process, "/shadow", {"end": True}) for process in self._fleet.processes()))

    def _joined(self, process: Process) -> None:
        self._kept(self._shade_late(process))

    async def _shade_late(self, process: Process) -> None:
        """Give a worker that was started later the shadow of the others."""
        async with self._changing:
            shadow = self._shadow
            if shadow is None or process in shadow.on or process.has_ended or self._fleet.is_draining:
                return
            try:
                now = await self._shade_one(process, shadow.origin.folder, shadow.share)
                if now.manifest_sha256 != shadow.origin.sha256:
                    raise shadow.origin.changed(now.manifest_sha256)
            except Draining:
                return
            except GatewayError as error:
                # Perhaps it has ended the worker, and would end the next one. A shadow is not worth that.
                log.error("the shadow is ended for all workers: %s", error)
                await self._end_shadow()
            else:
                shadow.on = {one for one in shadow.on if not one.has_ended} | {process}


def _one(folder: Path, seen: Seen, expected: Origin | None) -> Description:
    """What all have loaded. Raises BundleInvalid if that is not one and the same, or not what is expected."""
    first = next(iter(seen.values()))
    if expected is not None and first.manifest_sha256 != expected.sha256:
        raise expected.changed(first.manifest_sha256)
    if any(one.manifest_sha256 != first.manifest_sha256 for one in seen.values()):
        raise BundleInvalid(f"{folder}: was changed while the workers loaded it; ask again once it is whole")
    return first


async def _posted(process: Process, path: str, folder: Path, more: dict[str, object]) -> Reply:
    """The answer to what has it load the bundle in `folder`. Raises BundleInvalid where none comes."""
    try:
        return await process.post(path, {"folder": str(folder), **more}, LOADING)
    except Unavailable as error:
        raise BundleInvalid(f"{folder}: {error} while it loaded this bundle") from None


async def _told(process: Process, path: str, body: object) -> None:
    """Whether it hears or not: it may be starting or ending."""
    with contextlib.suppress(Unavailable):
        await process.post(path, body, SWITCHING)


def _described(process: Process, reply: Reply) -> Description:
    """Raises in the worker's words: Unavailable for a conflict, Draining if it ends, else BundleInvalid."""
    if reply.status == 200:
        return DESCRIPTION.validate_json(reply.text)
    kind = {409: Unavailable, 503: Draining}.get(reply.status, BundleInvalid)
    raise kind(f"worker {process.number}: {reply.json().get('error', reply.text)}")
