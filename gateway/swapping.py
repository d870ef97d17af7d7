"""One bundle takes another's place while questions come in: loaded and checked beside it, then switched to at once.

A bundle that does not load, that gives other answers than it was made with, or that lacks a collection never gets a
question. The old one answers what it has begun, and is then let go; going back is the same swap the other way round.

Where collections are stored, the switch is a record in their log, which names the encoder. Whoever follows the log and
has that bundle prepared serves it from the next question on: all replicas from one knowledge version on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gateway import failpoints, memory
from gateway.deadline import Deadline
from gateway.errors import BundleInvalid, Draining, GatewayError, Unavailable
from gateway.following import Following
from gateway.knowledge.changes import Change, Receipt, Switched
from gateway.knowledge.store import Store
from gateway.loading import Load, Loader
from gateway.rpc.origin import Origin, WayBack, located
from gateway.rpc.service import CollectionDescription, Description, Heard, Startable
from gateway.shadow import Observe, Shadow
from gateway.types import (
    Answer,
    Doubter,
    DriftAlarm,
    Evidence,
    Forecast,
    Prediction,
    Principal,
    Question,
    Ranker,
    Workload,
)

log = logging.getLogger(__name__)


class Swapping:
    """A gateway over another one that can be replaced. See `rpc.service.Gateway` and `rpc.service.Preparable`; all
    methods on the event loop.

    `gateway` was loaded from `folder` and started. `observe` hears what a shadow makes of its questions. `gently`: load
    at the lowest priority, which is wrong where sessions have threads of their own. `store`: of what is written, which
    is closed with it; see `rpc.service.Edited`. `clearing`: what clears it, and ends before.
    """

    def __init__(
        self,
        gateway: Startable,
        folder: Path,
        load: Load,
        observe: Observe,
        gently: bool = True,
        store: Store | None = None,
        clearing: asyncio.Task[None] | None = None,
    ) -> None:
        self._store = store
        self._clearing = clearing
        self._current = _Tenure(gateway, folder)
        self._loader = Loader(load, gently)
        self._observe = observe
        self._prepared: _Tenure | None = None
        self._turning_to: _Tenure | None = None
        self._turning: asyncio.Task[None] | None = None
        self._obeyed: Path | None = None
        self._noticed = self._current.switched()
        self._turn = 0
        self._shadow: Shadow | None = None
        self._way_back = WayBack()
        self._leaving: dict[asyncio.Task[None], _Tenure] = {}
        self._giving: set[asyncio.Task[None]] = set()

    @property
    def default_collection(self) -> str:
        return self._current.gateway.default_collection

    def collections(self) -> Sequence[str]:
        return self._current.gateway.collections()

    async def answer(self, question: Question, deadline: Deadline) -> Answer:
        with self._current.used() as gateway:
            answer = await gateway.answer(question, deadline)
        if self._shadow is not None:
            self._shadow.offer(question, answer, self.waiting(), gateway)
        return answer

    async def predict(self, text: str, deadline: Deadline, tenant: str) -> Prediction:
        with self._current.used() as gateway:
            return await gateway.predict(text, deadline, tenant)

    async def search(
        self,
        text: str,
        collection: str,
        principal: Principal,
        limit: int,
        deadline: Deadline,
        ranker: Ranker = Ranker.HYBRID,
    ) -> Evidence:
        with self._current.used() as gateway:
            return await gateway.search(text, collection, principal, limit, deadline, ranker)

    @property
    def store(self) -> Store:
        assert self._store is not None
        return self._store

    def stored(self, tenant: str, name: str) -> str:
        return self._current.gateway.stored(tenant, name)

    def collections_of(self, tenant: str) -> Sequence[CollectionDescription]:
        return self._current.gateway.collections_of(tenant)

    async def write(
        self, place: tuple[str, str], changes: Sequence[Change], key: str = "", writer: Principal | None = None
    ) -> Receipt:
        with self._current.used() as gateway:
            receipt = await gateway.write(place, changes, key, writer)
        # Another one may have taken its place meanwhile, just before this was written.
        await self._current.gateway.catch_up()
        return receipt

    async def follow(self) -> None:
        if self._store is None:
            return
        await self._current.gateway.follow()
        heard, following = self._current.gateway.heard(), self._turning_to or self._prepared
        if following is not None and following.is_called_for(heard):
            await self._obey(following)
        elif heard is not None and heard.switched != self._noticed:
            self._noticed = heard.switched
            note_other(self.describe().bundle, heard)

    def version(self, collection: str) -> int:
        return self._current.gateway.version(collection)

    def seen_by(self, principal: Principal, collection: str) -> CollectionDescription:
        return self._current.gateway.seen_by(principal, collection)

    def waiting(self) -> int:
        return self._current.gateway.waiting()

    def forecast(self, characters: int, tenant: str, deadline: Deadline) -> Forecast:
        return self._current.gateway.forecast(characters, tenant, deadline)

    def workload(self) -> Workload:
        return self._current.gateway.workload()

    def describe(self) -> Description:
        now = self._current.gateway.describe()
        return now if self._shadow is None else replace(now, shadow=self._shadow.figures)

    def settle(self) -> None:
        self._loader.give_up()

    async def close(self) -> None:
        """Close whatever was loaded: what serves, what has served and not finished, what was to serve or be compared,
        and what is still being loaded. What it has begun is cut off."""
        await self._loader.close()
        await self.end_shadow()
        await self.discard()
        if self._turning is not None:
            await asyncio.wait({self._turning})
        await self._current.gateway.close()
        for tenure in self._leaving.values():
            tenure.hurry()
        await asyncio.gather(*self._leaving)
        await asyncio.gather(*self._giving)
        if self._clearing is not None:
            self._clearing.cancel()
        if self._store is not None:
            await asyncio.to_thread(self._store.close)  # what waits is written first

    async def swap(self, folder: Path) -> Description:
        """Serve the bundle in `folder` from the next question on.

        Raises errors.GatewayError where it is not to be served, and Unavailable while another swap goes on; the bundle
        that serves then goes on serving.
        """
        folder = located(folder)  # once: of a folder of versions another one may be promoted meanwhile
        await self.prepare(folder)  # and nothing comes between the two
        return await self.switch(folder)

    async def roll_back(self) -> Description:
        """Serve the bundle that was served before. Raises as `swap`; BundleInvalid if there was none, or if its folder
        holds something else now."""
        before = self._way_back.origin()
        found = (await self.prepare(before.folder)).manifest_sha256
        if found != before.sha256:
            await self.discard()
            raise before.changed(found)
        return await self.switch(before.folder)

    async def prepare(self, folder: Path) -> Description:
        self._loader.check_free()
        await self.discard()
        turn = self._turn
        following = await self._loaded(folder, is_candidate=False)
        if turn != self._turn:
            await following.close()
            raise Unavailable(f"{folder} was discarded before it was loaded")
        self._obeyed = None
        self._prepared = _Tenure(following, folder)
        if self._store is not None:
            self._prepared.start()
        return following.describe()

    async def switch(self, folder: Path) -> Description:
        self._loader.check()
        following = self._turning_to or self._prepared
        if following is not None and following.origin.folder == located(folder):
            await self._turn_to(following)
        elif self._obeyed != located(folder):
            raise Unavailable(f"{folder} is not prepared; prepare it first")
        self._obeyed = None
        return self.describe()

    async def _obey(self, following: _Tenure) -> None:
        """The log has switched all to what is prepared here. Where that does not work, what serves goes on, and whoever
        asks for the switch hears that nothing is prepared."""
        try:
            self._loader.check()
            await self._turn_to(following)
        except Draining:
            return
        except GatewayError:
            log.exception("the log has switched to the encoder of %s, and this could not", following.origin.folder)
        else:
            self._obeyed = following.origin.folder

    async def _turn_to(self, following: _Tenure) -> None:
        """Once, whoever asks, and to its end if they leave."""
        if self._turning is None:
            self._prepared, self._turning_to = None, following
            self._turning = asyncio.create_task(self._turned(following))
            self._turning.add_done_callback(self._has_turned)
        await asyncio.shield(self._turning)

    def _has_turned(self, _: asyncio.Task[None]) -> None:
        self._turning = self._turning_to = None

    async def _turned(self, following: _Tenure) -> None:
        """Questions are answered by the one before until the record is written, and then wait for the last changes."""
        following.start()
        try:
            await following.gateway.catch_up()
            await following.gateway.record()
        except BaseException:
            await following.close()
            raise
        await following.end_following()  # from now on questions have it follow
        before, self._current = self._current, following
        self._noticed = following.switched()
        self._way_back.swapped(before.origin, following.origin)
        log.info("%s serves in the place of %s", self.describe().bundle, before.gateway.describe().bundle)
        leaving = asyncio.create_task(before.leave())
        self._leaving[leaving] = before
        leaving.add_done_callback(self._has_left)

    def _has_left(self, leaving: asyncio.Task[None]) -> None:
        del self._leaving[leaving]
        self._give_back()

    def _give_back(self) -> None:
        """Soon, as whoever closed something holds it until then."""
        giving = asyncio.create_task(memory.give_back())
        self._giving.add(giving)
        giving.add_done_callback(self._giving.discard)

    async def discard(self) -> None:
        self._turn += 1  # also of what is still being loaded
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            await prepared.close()
            self._give_back()

    async def cast_shadow(self, folder: Path, share: float) -> Description:
        """Let the bundle in `folder` see a share of the questions, in the place of any that does so. Raises as `swap`,
        and ValueError for a share that is none."""
        Shadow.check(share)
        candidate = await self._loaded(folder, is_candidate=True)
        candidate.start()
        before, self._shadow = self._shadow, Shadow(candidate, share, self._observe)
        if before is not None:
            await before.close()
            self._give_back()
        return candidate.describe()

    async def end_shadow(self) -> None:
        """Let no bundle see questions beside the one that serves."""
        shadow, self._shadow = self._shadow, None
        if shadow is not None:
            await shadow.close()
            self._give_back()

    def doubt(self, manifest_sha256: str, reason: str, by: Doubter) -> None:
        """Mark the certificate of that bundle stale, if it is what serves; see `CertificateStanding`."""
        if self._current.origin.sha256 == manifest_sha256:
            self._current.gateway.doubt(reason, by)

    async def reset_drift(self) -> Description:
        self._current.gateway.reset_drift()
        return self.describe()

    async def hear_drift(self, alarms: Sequence[DriftAlarm], manifest_sha256: str) -> None:
        gateway = self._current.gateway
        if gateway.describe().manifest_sha256 == manifest_sha256:
            gateway.hear_drift(alarms)

    async def _loaded(self, folder: Path, is_candidate: bool) -> Startable:
        """Loaded and checked. Nothing is awaited between the end of the load and the return."""
        failpoints.reached("bundle-swap")
        following = await self._loader.load(folder, is_candidate)
        missing = set(self.collections()) - set(following.collections())
        if missing:
            await following.close()
            raise BundleInvalid(f"{folder}: cannot serve the collections {', '.join(sorted(missing))}")
        return following


def note_other(bundle: str, heard: Heard) -> None:
    """Say so where the log has switched to another encoder than what this bundle goes by."""
    now = heard.switched
    if now is None or heard.is_current:
        return
    log.warning(
        "stored collections were switched to the encoder of %s (%s) by change %d, and are searched here by that of %s: "
        "`gateway swap` makes both the same, or name the other bundle at the next start",
        now.bundle,
        now.encoder[:12],
        now.version,
        bundle,
    )


class _Tenure:
    """A gateway for as long as it serves, and until the last question that it has begun is answered."""

    def __init__(self, gateway: Startable, folder: Path) -> None:
        self.gateway = gateway
        self.origin = Origin.of(folder, gateway.describe().manifest_sha256)
        self._since = self.switched()
        self._following: Following | None = None
        self._begun = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self) -> None:
        """Ready to take questions, and in step with the log until it serves."""
        if self._following is None:
            self.gateway.start()
            self._following = Following(self.gateway)

    async def end_following(self) -> None:
        if self._following is not None:
            await self._following.end()

    async def close(self) -> None:
        """One that never served."""
        await self.end_following()
        await self.gateway.close()

    def switched(self) -> Switched | None:
        """The last record of a switch that it has read."""
        heard = self.gateway.heard()
        return heard.switched if heard else None

    def is_called_for(self, heard: Heard | None) -> bool:
        """Whether the log has switched to its encoder, and not before it was loaded: that was no word of it."""
        now, own = heard.switched if heard else None, self.gateway.heard()
        return now is not None and own is not None and now != self._since and now.encoder == own.encoder

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

    def hurry(self) -> None:
        """Leave without waiting for the last answer."""
        self._idle.set()
