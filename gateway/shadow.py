"""A candidate bundle that sees real questions and answers nobody: how often it agrees, and how long it takes.

It gets what is left: a share of the questions, one at a time, and none while others wait for the bundle that serves.
Its failures are counted and go no further. Each of those questions is also searched for by both: where retrieval finds
other documents, answers may be the same still, and the next ones not.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from gateway.deadline import Clock, Deadline
from gateway.errors import GatewayError
from gateway.following import Following
from gateway.rpc.service import Gateway, Startable
from gateway.types import Agreement, Answer, Question, ShadowFigures

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds for a candidate's answer."""
TOP = 10
"""Documents that are compared of two searches."""


Observe = Callable[[Agreement, float], None]
"""Called with what came of a question, and the seconds that the candidate took."""


class Shadow:
    """Offers questions to `candidate`, which is started and is closed with `close`. On the event loop."""

    def __init__(
        self,
        candidate: Startable,
        share: float,
        observe: Observe,
        chance: random.Random | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """`share` of the questions, 0 to 1; ValueError beyond."""
        self.check(share)
        self.candidate = candidate
        self.share = share
        self._observe = observe
        self._chance = chance or random.Random()  # noqa: S311  # a sample, no secret
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._following = Following(candidate)
        self._figures = ShadowFigures(candidate.describe().bundle, share)
        self._answers: Counter[str] = Counter()
        self._moves: Counter[str] = Counter()

    @property
    def figures(self) -> ShadowFigures:
        return replace(self._figures, answers=dict(self._answers), moves=dict(self._moves))

    @staticmethod
    def check(share: float) -> None:
        """Raises ValueError for a share that is none."""
        if not 0 < share <= 1:
            raise ValueError(f"share = {share}: must be more than 0 and at most 1")

    def offer(self, question: Question, given: Answer, waiting: int, serving: Gateway | None = None) -> None:
        """Ask the candidate too, perhaps; `waiting` questions wait for the bundle that serves. `serving`: what has
        answered, and is searched as well; None: nothing is. Returns at once."""
        is_busy = waiting > 0 or (self._task is not None and not self._task.done())
        if not is_busy and self._chance.random() < self.share:
            self._task = asyncio.create_task(self._look(question, given, serving))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._following.end()
        await self.candidate.close()

    async def _look(self, question: Question, given: Answer, serving: Gateway | None) -> None:
        await self._ask(question, given)
        if serving is not None and question.collection and not serving.waiting():
            await self._search(question, serving)

    async def _search(self, question: Question, serving: Gateway) -> None:
        """By both, one after the other. A search that fails, as after a swap, says nothing of what is found."""
        found = []
        for gateway in (self.candidate, serving):
            deadline = Deadline.after(PATIENCE, self._clock)
            try:
                evidence = await gateway.search(question.text, question.collection, question.principal, TOP, deadline)
            except GatewayError as error:
                log.info("a question was not searched for by both: %s", error)
                return
            except Exception:  # as in `_ask`
                log.exception("a question was not searched for by both")
                return
            found.append([hit.document.id for hit in evidence.hits])
        theirs, ours = found
        before = self._figures
        self._figures = replace(
            before,
            searches=before.searches + 1,
            same_first=before.same_first + (theirs[:1] == ours[:1]),
            hits=before.hits + max(len(theirs), len(ours)),
            shared=before.shared + len(set(theirs) & set(ours)),
        )

    async def _ask(self, question: Question, given: Answer) -> None:
        started = self._clock()
        try:
            await self.candidate.follow()  # what the other answer has seen
            started = self._clock()
            answer = await self.candidate.answer(question, Deadline.after(PATIENCE, self._clock))
        except Exception:  # nobody waits for it: whatever it is, it must not end anything else
            log.exception("the candidate failed")
            agreement = Agreement.FAILED
        else:
            agreement = compare(given, answer)
            if agreement is Agreement.OTHER_ROUTE:
                self._moves[f"{given.route} > {answer.route}"] += 1
        self._answers[agreement.value] += 1
        self._observe(agreement, self._clock() - started)


def compare(given: Answer, candidate: Answer) -> Agreement:
    """By what a caller sees: the route, then the document, or for a label with a text of its own, the label."""
    if given.route is not candidate.route:
        return Agreement.OTHER_ROUTE
    same = (given.document_id or given.label) == (candidate.document_id or candidate.label)
    return Agreement.SAME if same else Agreement.OTHER_DOCUMENT
