"""A stream to a caller alone: one request, and what there is to tell for as long as both sides go on.

It ends as a stream of questions does: see `streams`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from gateway.errors import Draining, Unavailable
from gateway.rpc import streams
from gateway.rpc.admission import Caller
from gateway.rpc.handler import Door, Malformed, check_form, deserializer, only_the_caller_cancels
from gateway.rpc.permissions import need

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True, slots=True)
class FeedMethod(Generic[Request, Response]):
    """One method with a stream to the caller, who has it until it has told everything."""

    service: str
    name: str
    request: type[Request]
    behaviour: Callable[[Request, Caller], AsyncGenerator[Response, None]]


def feed_handler(method: FeedMethod[Any, Any], door: Door) -> grpc.RpcMethodHandler[Any, Any]:
    """Registered by hand, as `unary_handler`."""
    metrics = door.metrics.method(method.service, method.name, "server_stream")
    scope = need(method.service, method.name)

    async def handle(request: Message | Malformed, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await streams.served(
            f"{method.service}/{method.name}",
            door,
            metrics,
            scope,
            context,
            lambda caller: _Feed(door, caller, context).run(method.behaviour(check_form(request), caller)),
        )

    return grpc.unary_stream_rpc_method_handler(
        handle,
        request_deserializer=deserializer(method.request),
        response_serializer=lambda message: message.SerializeToString(),
    )


class _Feed:
    """What one caller is told: one message at a time, the next when it has taken the last."""

    def __init__(self, door: Door, caller: Caller, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._door = door
        self._recheck = caller.recheck
        self._context = context
        self._writing_since: float | None = None
        self._is_ending = False
        self._is_given_up = False

    async def run(self, messages: AsyncGenerator[Message, None]) -> None:
        """To the end of the messages. Raises what they raise, Draining when the server stops and when the stream is of
        AGE, Unavailable for a caller who takes nothing."""
        telling = asyncio.create_task(self._tell(messages))
        closing = asyncio.create_task(self._door.admission.streams_end())
        watching = asyncio.create_task(self._watch())
        try:
            await asyncio.wait({telling, closing}, timeout=streams.AGE, return_when=asyncio.FIRST_COMPLETED)
            if not telling.done():
                self._is_ending = True
                if self._writing_since is None:  # else once that is taken: gRPC cannot take a message back
                    telling.cancel()
                await asyncio.wait({telling})
            if not telling.cancelled() and telling.result():
                return
            raise Draining("the server is stopping" if closing.done() else "the stream is old: open another")
        finally:
            for task in (telling, closing, watching):
                task.cancel()

    async def _tell(self, messages: AsyncGenerator[Message, None]) -> bool:
        """Whether it was all told."""
        async with aclosing(messages):
            with only_the_caller_cancels():
                async for message in messages:
                    if self._recheck:  # a stream may last longer than its credentials
                        self._recheck()
                    self._writing_since = self._door.clock()
                    await self._context.write(message)
                    self._writing_since = None
                    if self._is_given_up:
                        raise Unavailable(f"nothing was taken for {streams.PATIENCE:.0f} s")
                    if self._is_ending:
                        return False
        return True

    async def _watch(self) -> None:
        """Give up a caller who takes nothing, as streams of questions do."""
        while not self._is_stuck():  # noqa: ASYNC110  # a timer for each message would cost more than the message
            await asyncio.sleep(streams.PATIENCE / 2)
        self._is_given_up = True

    def _is_stuck(self) -> bool:
        since = self._writing_since
        return since is not None and self._door.clock() - since >= streams.PATIENCE
