"""Recall, measured while serving: now and then a question is searched once more, beside others, by scan of everything.

What a graph misses is seen by nobody else: answers only get worse. Only the search by meaning can miss anything; words
are looked up exactly.
"""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from gateway.knowledge.generation import Generation, Part
from gateway.knowledge.segment import scores_of
from gateway.types import Prediction, Principal, ProbeFigures, Vector

log = logging.getLogger(__name__)

TOP = 10
ROWS_AT_ONCE = 16_384
LOWEST_PRIORITY = 19


class Probe:
    """Looks at one of `every` searches; none if 0. `figures` are read from any thread."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._count = 0
        self._is_busy = False
        self._thread: ThreadPoolExecutor | None = None
        self.figures = ProbeFigures()

    def note(self, generation: Generation, prediction: Prediction, principal: Principal, now: float) -> None:
        """A search. Microseconds; one that is looked at, in a thread that gives way."""
        self._count += 1
        if not self._every or self._count % self._every or self._is_busy:
            return
        if all(part.segment.index.is_exact for part in generation.parts):
            return
        self._is_busy = True
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "knowledge-probe", give_way)
        self._thread.submit(self._look, generation, prediction, principal, now)

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _look(self, generation: Generation, prediction: Prediction, principal: Principal, now: float) -> None:
        try:
            ranked = generation.ranked(prediction, principal, TOP, now=now)[:TOP]
            found = {part.segment.documents[number].id for part, number, _ in ranked}
            wanted = exact(generation, prediction, principal, now)
            before = self.figures
            self.figures = ProbeFigures(before.wanted + len(wanted), before.found + len(wanted & found))
        except Exception:
            log.exception("a search could not be compared with a scan")
        finally:
            self._is_busy = False


def exact(generation: Generation, prediction: Prediction, principal: Principal, now: float) -> set[str]:
    """The TOP documents nearest to the question that the principal may read, by scan."""
    scored: list[tuple[float, str]] = []
    for part in generation.parts:
        scores = _scanned(part, prediction.embedding)
        allowed = part.allowed(principal, now)
        if allowed is not None:
            scores = np.where(allowed, scores, np.float32(-np.inf))
        best = np.argsort(-scores, kind="stable")[:TOP].tolist()
        scored += [(float(scores[at]), part.segment.documents[at].id) for at in best if np.isfinite(scores[at])]
    return {one for _, one in sorted(scored, key=lambda each: -each[0])[:TOP]}


def _scanned(part: Part, embedding: Vector) -> Vector:
    """[documents]; those without a passage are as far as can be. In pieces, between which others may go on."""
    segment, rows = part.segment, len(part.segment.spans)
    cosines = np.concatenate(
        [segment.index.vectors(slice(at, at + ROWS_AT_ONCE)) @ embedding for at in range(0, rows, ROWS_AT_ONCE)]
    )
    scores = np.full(len(segment.documents), -np.inf, np.float32)
    scores[segment.filled] = scores_of(cosines, segment.first_passage[segment.filled], segment.lengths[segment.filled])
    return scores


def give_way() -> None:
    """This thread to those that answer questions."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
