"""Segments become few and large again, beside questions: in one thread, which gives way to those that answer them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from gateway import failpoints
from gateway.knowledge.generation import Generation, Part
from gateway.knowledge.graphs import CodeGraph
from gateway.knowledge.probe import give_way
from gateway.knowledge.segment import Segment
from gateway.knowledge.segment_files import SegmentFiles
from gateway.knowledge.vectors import VectorIndex

log = logging.getLogger(__name__)

GRAPH_FROM = 1024
"""Passages from which a segment is worth a graph: below, a scan is about as fast, and a merge takes milliseconds."""

FEW = 16_384
"""Passages up to which a merge is quick: some seconds."""

Place = tuple[str, str]
"""Tenant and collection."""


class Merges:
    """Of all collections: `find` has them as they are now, and `show` puts another generation in the place of one."""

    def __init__(
        self,
        find: Callable[[Place], Generation | None],
        show: Callable[[Place, Generation], None],
        files: SegmentFiles,
    ) -> None:
        self._find = find
        self._show = show
        self._files = files
        self._is_closing = False
        # Apart, so that no tenant's few documents wait until another one's many are a graph.
        self._few, self._many = (ThreadPoolExecutor(1, f"knowledge-merge-{name}", give_way) for name in ("few", "many"))
        self._tasks: dict[Place, asyncio.Task[None]] = {}

    @property
    def tasks(self) -> Collection[asyncio.Task[None]]:
        return self._tasks.values()

    def begin_if_due(self, place: Place, generation: Generation) -> None:
        running = self._tasks.get(place)
        if not self._is_closing and (running is None or running.done()):
            parts = due(generation) or self._unkept(generation)
            if parts:
                self._tasks[place] = asyncio.create_task(self._merge(place, parts))

    def _unkept(self, generation: Generation) -> list[Part]:
        """One that could not be written to disk, where it is time to try again."""
        if not self._files.may_try:
            return []
        return next(([part] for part in generation.sealed() if part.segment.is_unkept), [])

    async def _merge(self, place: Place, parts: Sequence[Part]) -> None:
        """And again, until nothing is due: writes may come faster than graphs are built."""
        while parts:
            try:
                thread = self._few if sum(part.rows for part in parts) <= FEW else self._many
                into = await asyncio.get_running_loop().run_in_executor(thread, self._built, place, parts)
            except Exception:
                log.exception(
                    "segments of %s could not be merged: searches are slower, and the next change tries again", place
                )
                return
            generation = self._find(place)
            if generation is None:  # dropped meanwhile
                return
            if generation.has(parts):  # not if it was begun again
                generation = generation.merged(parts, into)
                failpoints.reached("before-merge-shown")
                self._show(place, generation)
                failpoints.reached("after-merge-shown")
                now = {part.segment.name for part in generation.parts}
                replaced = [part.segment for part in parts if part.segment.name not in now]
                if into is None or not into.is_unkept:  # else these are what the next start has
                    await asyncio.to_thread(self._files.forget, replaced)
                rows = len(into.spans) if into else 0
                log.info("%s: %d segments are now one of %d passages", "/".join(place), len(parts), rows)
            parts = due(generation)

    def _built(self, place: Place, parts: Sequence[Part]) -> Segment | None:
        """One segment of what counts in these; None if that is nothing. In the builder's thread."""

        def go_on() -> None:
            if self._is_closing:
                raise asyncio.CancelledError
            failpoints.reached("while-merging")

        segment = parts[0].segment
        if len(parts) > 1 or parts[0].is_worn or not segment.words.is_compact:
            some = [one for part in parts for one in part.entries()]
            if not some:
                return None
            segment = Segment.build(some, GRAPH_FROM, go_on=go_on, build=CodeGraph)
        elif segment.index.is_exact:  # it wants a graph, no more
            vectors = segment.index.vectors(slice(None))
            segment = replace(segment, index=VectorIndex(vectors, GRAPH_FROM, go_on, CodeGraph))
        return self._files.keep(place, segment, go_on) if len(segment.spans) > GRAPH_FROM else segment

    async def close(self) -> None:
        """What is being built ends within a second: nobody writes into the folder afterwards."""
        self._is_closing = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for thread in (self._few, self._many):
            await asyncio.to_thread(thread.shutdown, cancel_futures=True)


def due(generation: Generation) -> list[Part]:
    """Parts to be made one: the smallest, as long as the next one is at most twice as large as all of them together; so
    each that stays is larger than that, and there are few. Else one that is large and has no graph, or much of
    which does not count any more; none if there is nothing to do. Not one that still takes in what is new."""
    sealed = sorted(generation.sealed(), key=lambda part: part.rows)
    smallest, rows = sealed[:1], sum(part.rows for part in sealed[:1])
    for part in sealed[1:]:
        if part.rows > 2 * rows:
            break
        smallest.append(part)
        rows += part.rows
    if len(smallest) > 1:
        return smallest
    return next(([part] for part in sealed if part.is_worn or wants_graph(part)), [])


def wants_graph(part: Part) -> bool:
    """Whether it is scanned, and to walk it would be faster."""
    return part.rows > GRAPH_FROM and part.segment.index.is_exact
