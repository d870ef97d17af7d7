"""A stream of questions: each is admitted, timed and fails alone, and is answered as soon as it is ready.

What gRPC does for a call is done once for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from gateway.access.grants import Scope
from gateway.deadline import Deadline
from gateway.errors import Draining, Unavailable
from gateway.rpc.admission import Caller
from gateway.rpc.handler import Call, Door, Malformed, check_form, deserializer, in_time, refused
from gateway.rpc.observing import Seen
from gateway.rpc.permissions import need
from gateway.rpc.status import Refusal
from gateway.telemetry.metrics import Code, MethodMetrics

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

AGE = 600.0
"""Seconds after which a stream is ended, like a connection of that age: it could go on for ever on one server, while
others were added. What it has read is answered first, and its caller opens another."""

PATIENCE = 30.0
"""Seconds for a caller to take an answer. One that takes none is given up, and what waits for it is let go."""

AT_ONCE = 256
"""Questions of one stream that are worked on together. The next is read when one of them is done, so that a caller who
sends faster than we answer is slowed by HTTP/2's own flow control."""


@dataclass(frozen=True, slots=True)
class StreamMethod(Generic[Request, Response]):
    """One method with a stream each way. `seconds` is the time that a message asks for, None for the default;
    `failed` is what its caller gets where it is refused, by its number in the stream. `at_once`: how many are worked on
    together, None for AT_ONCE; with 1 they are answered in order. `questions` as in `Method`."""

    service: str
    name: str
    request: type[Request]
    behaviour: Callable[[Request, Call], Awaitable[Response]]
    seconds: Callable[[Request], float | None]
    failed: Callable[[Request, Refusal, int], Response]
    at_once: int | None = None
    questions: Callable[[Request], int] = lambda _: 1


def stream_handler(method: StreamMethod[Any, Any], door: Door) -> grpc.RpcMethodHandler[Any, Any]:
    """Registered by hand, as `unary_handler`."""
    metrics = door.metrics.method(method.service, method.name, "bidi_stream")
    scope = need(method.service, method.name)

    async def handle(requests: AsyncIterator[Message | Malformed], context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await served(
            f"{method.service}/{method.name}",
            door,
            metrics,
            scope,
            context,
            lambda caller: _Stream(method, door, caller).run(aiter(requests), context),
        )

    return grpc.stream_stream_rpc_method_handler(
        handle,
        request_deserializer=deserializer(method.request),
        response_serializer=lambda message: message.SerializeToString(),
    )


async def served(
    name: str,
    door: Door,
    metrics: MethodMetrics,
    scope: Scope | None,
    context: grpc.aio.ServicerContext[Any, Any],
    serve: Callable[[Caller], Awaitable[None]],
) -> None:
    """A stream from its beginning to its end, which is counted, and told to its caller where `serve` raises."""
    started = door.clock()
    metrics.started()
    code = Code.CANCELLED
    seen = Seen(name, is_stream=True)
    try:
        caller = door.callers.of(scope, context)
        door.observer.begin(seen, caller, context)
        with door.admission.stream():
            # Now, and not with the first answer: a stream that ends without one would never end for its caller.
            await context.send_initial_metadata(())
            await serve(caller)
        code = Code.OK
        return
    except Exception as error:  # noqa: BLE001  # the last line: anything else would show its text to the caller
        refusal = refused(door.metrics, error, seen.caller)
        code = Code[refusal.code.name]
        door.observer.refuse(seen, refusal, context)
    finally:
        seconds = door.clock() - started
        metrics.handled(code, seconds)
        door.observer.end(seen, code, seconds)
    await context.abort(refusal.code, refusal.message, seen.trailers())


class _Stream:
    """One caller's stream: a reader, a task for each question, and one writer, as gRPC writes one message at a time."""

    def __init__(self, method: StreamMethod[Any, Any], door: Door, caller: Caller) -> None:
        self._method = method
        self._door = door
        self._caller = caller
        self._room = asyncio.Semaphore(method.at_once or AT_ONCE)
        self._working: set[asyncio.Task[None]] = set()
        self._ready: asyncio.Queue[Message | None] = asyncio.Queue()  # no longer than AT_ONCE; None is the end
        self._writing_since: float | None = None
        self._is_given_up = False

    async def run(
        self, requests: AsyncIterator[Message | Malformed], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Until the caller has no more questions. Raises Draining when the server stops and when the stream is of AGE,
        Unavailable for a caller who takes no answers, InvalidQuestion."""
        reading = asyncio.create_task(self._read(requests))
        closing = asyncio.create_task(self._door.admission.streams_end())
        writing = asyncio.create_task(self._write(context))
        watching = asyncio.create_task(self._watch(reading))
        try:
            await asyncio.wait({reading, closing, writing}, timeout=AGE, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                reading.cancel()
                await asyncio.wait({reading})
            while self._working:  # those whose answers are due whatever ended the reading
                await asyncio.wait(self._working)
            self._ready.put_nowait(None)
            await writing
            if reading.cancelled():
                raise Draining("the server is stopping" if closing.done() else "the stream is old: open another")
            reading.result()
        finally:
            for task in (reading, closing, writing, watching, *self._working):
                task.cancel()

    async def _read(self, requests: AsyncIterator[Message | Malformed]) -> None:
        number = 0
        # Room first: a question that was read is answered, even if the server stops just then.
        while await self._room.acquire():
            try:
                request = await anext(requests)
            except StopAsyncIteration:
                return
            number += 1
            task = asyncio.create_task(self._answer(check_form(request), number))
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    async def _answer(self, request: Message, number: int) -> None:
        door = self._door
        wanted = self._method.seconds(request)
        seconds = door.limits.default_timeout if wanted is None else min(wanted, door.limits.max_timeout)
        deadline = Deadline.after(seconds, door.clock)
        try:
            if self._caller.recheck:  # a stream may last longer than its credentials
                self._caller.recheck()
            with door.admission.permit(self._caller.principal.tenant, self._method.questions(request), is_due=True):
                call = Call(self._caller, deadline, number)
                response = await in_time(self._method.behaviour(request, call), deadline)
        except Exception as error:  # noqa: BLE001  # a question fails alone, whatever it is
            response = self._method.failed(request, refused(door.metrics, error, self._caller), number)
        self._ready.put_nowait(response)

    async def _write(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        while (response := await self._ready.get()) is not None:
            self._writing_since = self._door.clock()
            await context.write(response)
            self._writing_since = None
            if self._is_given_up:
                raise Unavailable(f"no answer was taken for {PATIENCE:.0f} s")
            self._room.release()

    async def _watch(self, reading: asyncio.Task[None]) -> None:
        """Give up a caller who takes no answers. Its stream ends when it takes the next: while a message is being
        written, gRPC can neither end a call nor take the message back (grpcio 1.80)."""
        # Looked at now and then: a timer for each message would cost more than the message.
        while not self._is_stuck():  # noqa: ASYNC110
            await asyncio.sleep(PATIENCE / 2)
        self._is_given_up = True
        for task in (reading, *self._working):
            task.cancel()
        while not self._ready.empty():
            self._ready.get_nowait()

    def _is_stuck(self) -> bool:
        return self._writing_since is not None and self._door.clock() - self._writing_since >= PATIENCE
