"""A caller's questions on their way to a stream, kept until they are answered, so that another stream can take over."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable

from gateway.v1 import gateway_pb2 as pb

AHEAD = 16
"""Questions taken from the caller before gRPC wants them."""


class Asked:
    """Takes `questions` one by one, as they are wanted, from a task of its own: that gRPC gives up a stream must not
    cancel the caller's generator. `to_request` numbers them. Close it."""

    def __init__(
        self, questions: AsyncIterable[str] | Iterable[str], to_request: Callable[[int, str], pb.AnswerStreamRequest]
    ) -> None:
        self._unanswered: dict[int, pb.AnswerStreamRequest] = {}
        self._taken: deque[tuple[int, pb.AnswerStreamRequest]] = deque()
        self._changed = asyncio.Condition()
        self._is_at_end = False
        self._turn = 0
        self._taking = asyncio.create_task(self._take(questions, to_request))

    def requests(self) -> AsyncIterator[pb.AnswerStreamRequest]:
        """For one stream: what an earlier one was asked and did not answer, then the caller's next ones.

        From now on an earlier stream gets nothing more: gRPC goes on reading for one that has ended (grpcio 1.80), and
        nobody would answer there what it takes.
        """
        self._turn += 1
        return self._requests(self._turn)

    def answered(self, number: int) -> None:
        self._unanswered.pop(number, None)

    async def close(self) -> None:
        """Raises what the caller's own questions have raised, if they did; nobody else saw it."""
        self._turn += 1
        self._taking.cancel()
        await asyncio.wait({self._taking})
        if not self._taking.cancelled():
            self._taking.result()

    async def _requests(self, turn: int) -> AsyncIterator[pb.AnswerStreamRequest]:
        for unanswered in list(self._unanswered.values()):
            yield unanswered
        while (request := await self._next(turn)) is not None:
            yield request

    async def _next(self, turn: int) -> pb.AnswerStreamRequest | None:
        """None at the end, and where it is another stream's turn."""
        async with self._changed:
            await self._changed.wait_for(lambda: turn != self._turn or self._taken or self._is_at_end)
            if turn != self._turn or not self._taken:
                return None
            number, request = self._taken.popleft()
            self._unanswered[number] = request
            self._changed.notify_all()
            return request

    async def _take(
        self, questions: AsyncIterable[str] | Iterable[str], to_request: Callable[[int, str], pb.AnswerStreamRequest]
    ) -> None:
        number = 0
        try:
            async for text in _aiter(questions):
                request = to_request(number, text)
                async with self._changed:
                    await self._changed.wait_for(lambda: len(self._taken) < AHEAD)
                    self._taken.append((number, request))
                    self._changed.notify_all()
                number += 1
        finally:
            self._is_at_end = True
            async with self._changed:
                self._changed.notify_all()


async def _aiter(texts: AsyncIterable[str] | Iterable[str]) -> AsyncIterator[str]:
    if isinstance(texts, AsyncIterable):
        async for text in texts:
            yield text
        return
    for text in texts:
        yield text
