"""Another bundle for all workers or for none, and a shadow likewise. Fits rpc.service.Replaceable."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from gateway.errors import BundleInvalid, GatewayError, Unavailable
from gateway.rpc.service import Description
from gateway.workers.fleet import Fleet
from gateway.workers.process import Process, Reply

log = logging.getLogger(__name__)

LOADING = 600.0
"""Seconds for a worker to load a bundle, which it does in the time that its questions leave."""
DESCRIPTION = TypeAdapter(Description)


class Bundles:
    """What the workers of `fleet` serve. On the event loop."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._before: Path | None = None
        self._is_changing = False

    async def swap(self, folder: Path) -> Description:
        """Serve the bundle in `folder` with every worker. Where one refuses, those that have changed go back."""
        with self._alone():
            changed: list[Process] = []
            try:
                now = await self._swap_all(folder, changed)
            except GatewayError:
                await self._take_back(changed)
                raise
            # Nothing was awaited since the last look at who is ready: whoever has another bundle now is still loading
            # it, or was started in the place of one that has changed.
            self._before = self._fleet.bundle
            self._fleet.adopt(folder)
        return now

    async def roll_back(self) -> Description:
        """Serve the one before the last swap. Not what each worker served before: it may have been started since."""
        if self._before is None:
            raise BundleInvalid("no other bundle was served before this one since the server has started")
        return await self.swap(self._before)

    async def cast_shadow(self, folder: Path, share: float) -> Description:
        """Let the bundle in `folder` see that share of the questions of every worker that is ready now. Where one
        refuses, of none; a worker that is started later has no shadow."""
        with self._alone():
            try:
                seen = await _all(self._shade(process, folder, share) for process in self._somebody())
            except GatewayError:
                await self._end_shadow()
                raise
        return seen[0]

    async def end_shadow(self) -> None:
        """Let none do so."""
        with self._alone():
            await self._end_shadow()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if self._is_changing:
            raise Unavailable("another bundle is being loaded; wait for it")
        self._is_changing = True
        try:
            yield
        finally:
            self._is_changing = False

    def _somebody(self) -> list[Process]:
        if not (ready := self._fleet.ready()):
            raise Unavailable("no worker is ready; wait for one")
        return ready

    async def _shade(self, process: Process, folder: Path, share: float) -> Description:
        return _described(process, await process.post("/shadow", {"folder": str(folder), "share": share}, LOADING))

    async def _swap_all(self, folder: Path, changed: list[Process]) -> Description:
        """Those that have changed are added to `changed`, also where this raises."""
        # One goes ahead: most of what can be wrong with a bundle shows there, and then nobody has to go back.
        now = await self._give(self._somebody()[0], folder, changed)
        while rest := [process for process in self._fleet.ready() if process not in changed]:
            await _all(self._give(process, folder, changed) for process in rest)
        return now

    async def _give(self, process: Process, folder: Path, changed: list[Process]) -> Description:
        try:
            reply = await process.post("/bundle", {"folder": str(folder)}, LOADING)
        except Unavailable as error:
            # It has changed or it has not: what is started in its place certainly has the right bundle.
            process.dismiss()
            raise BundleInvalid(f"{folder}: {error} while it loaded this bundle") from None
        now = _described(process, reply)
        process.bundle = folder
        changed.append(process)
        return now

    async def _take_back(self, changed: Sequence[Process]) -> None:
        for process in changed:
            log.warning("worker %d goes back to %s", process.number, self._fleet.bundle)
        back = (self._give(process, self._fleet.bundle, []) for process in changed)
        for process, outcome in zip(changed, await asyncio.gather(*back, return_exceptions=True), strict=True):
            if isinstance(outcome, BaseException):
                log.error("worker %d cannot go back and is started again: %s", process.number, outcome)
                process.dismiss()

    async def _end_shadow(self) -> None:
        for process in self._fleet.ready():
            with contextlib.suppress(Unavailable):  # it is ending, and its shadow with it
                await process.post("/shadow", {"end": True}, LOADING)


async def _all(works: Iterable[Awaitable[Description]]) -> list[Description]:
    """Wait for every one, and only then raise what the first that failed has raised."""
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]


def _described(process: Process, reply: Reply) -> Description:
    """Raises Unavailable for a conflict, BundleInvalid for any other refusal, in the worker's words."""
    if reply.status == 200:
        return DESCRIPTION.validate_json(reply.text)
    problem = f"worker {process.number}: {reply.json().get('error', reply.text)}"
    raise Unavailable(problem) if reply.status == 409 else BundleInvalid(problem)
