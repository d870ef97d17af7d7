"""A caller's questions on their way to a stream, kept until they are answered, so that another stream can take over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable

from gateway.v1 import gateway_pb2 as pb

AHEAD = 16
"""Questions taken from the caller before gRPC wants them."""

Numbered = tuple[int, pb.AnswerStreamRequest]


class Asked:
    """Takes `questions` one by one, as they are wanted, from a task of its own: that gRPC gives up a stream must not
    cancel the caller's generator. `to_request` numbers them. Close it."""

    def __init__(
        self, questions: AsyncIterable[str] | Iterable[str], to_request: Callable[[int, str], pb.AnswerStreamRequest]
    ) -> None:
        self._unanswered: dict[int, pb.AnswerStreamRequest] = {}
        self._taken: asyncio.Queue[Numbered | None] = asyncio.Queue(AHEAD)
        self._is_at_end = False
        self._taking = asyncio.create_task(self._take(questions, to_request))

    async def requests(self) -> AsyncIterator[pb.AnswerStreamRequest]:
        """For one stream: what an earlier one was asked and did not answer, then the caller's next ones."""
        for request in list(self._unanswered.values()):
            yield request
        while not self._is_at_end:
            if (one := await self._taken.get()) is None:
                self._is_at_end = True
                return
            number, request = one
            self._unanswered[number] = request
            yield request

    def answered(self, number: int) -> None:
        self._unanswered.pop(number, None)

    async def close(self) -> None:
        """Raises what the caller's own questions have raised, if they did; nobody else saw it."""
        self._taking.cancel()
        await asyncio.wait({self._taking})
        if not self._taking.cancelled():
            self._taking.result()

    async def _take(
        self, questions: AsyncIterable[str] | Iterable[str], to_request: Callable[[int, str], pb.AnswerStreamRequest]
    ) -> None:
        number = 0
        try:
            async for text in _aiter(questions):
                await self._taken.put((number, to_request(number, text)))
                number += 1
        finally:
            await self._taken.put(None)


async def _aiter(texts: AsyncIterable[str] | Iterable[str]) -> AsyncIterator[str]:
    if isinstance(texts, AsyncIterable):
        async for text in texts:
            yield text
        return
    for text in texts:
        yield text
