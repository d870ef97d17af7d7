"""The one wrapper around every unary method: deadline, permit, metrics, codes, and whose cancellation it was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from gateway.access.grants import Scope
from gateway.deadline import Clock, Deadline
from gateway.errors import DeadlineExceeded, DeadlineUnmeetable, InvalidQuestion, Unavailable
from gateway.rpc.admission import Admission, Caller
from gateway.rpc.callers import Callers
from gateway.rpc.malformed import not_utf8
from gateway.rpc.observing import Observer, Seen
from gateway.rpc.permissions import need
from gateway.rpc.status import Refusal, refusal_of, rejection_of
from gateway.telemetry.metrics import Code, MethodMetrics, Metrics
from gateway.types import Criticality

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True, slots=True)
class Call:
    """What a method knows of its call besides the request. `number`: of the request in its stream, from 1 on."""

    caller: Caller
    deadline: Deadline
    number: int = 0


@dataclass(frozen=True, slots=True)
class Malformed:
    """Stands for a request whose bytes are not the message. `field`: the string that is not UTF-8, if it is that."""

    name: str
    field: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds."""

    default_timeout: float
    max_timeout: float


@dataclass(slots=True)
class Door:
    """What all methods share. `limits` may be replaced while calls are made."""

    metrics: Metrics
    callers: Callers
    admission: Admission
    limits: Limits
    observer: Observer
    clock: Clock = time.monotonic


@contextmanager
def only_the_caller_cancels() -> Iterator[None]:
    """Turn a CancelledError that nobody asked this task for into Unavailable.

    A future of ours that is cancelled (a batcher stopping, a reload) raises it too, and if it escaped, gRPC would send
    no status at all: the caller would wait for its deadline. Callers who go away and deadlines cancel the task itself;
    `context.cancelled()` is still False at that moment (grpcio 1.80).
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise Unavailable("the work was stopped; try again") from None


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Response]):
    """One unary method. `questions` tells how many a request holds, and so how many permits it takes; 0 for one that
    asks nothing of the model.

    It raises InvalidQuestion for a request of the wrong size: that is the caller's fault even when we are busy.
    """

    service: str
    name: str
    request: type[Request]
    behaviour: Callable[[Request, Call], Awaitable[Response]]
    questions: Callable[[Request], int] = lambda _: 1


def unary_handler(method: Method[Any, Any], door: Door) -> grpc.RpcMethodHandler[Any, Any]:
    """Registered by hand, since the generated function lets gRPC decode: malformed bytes then reach the caller as
    UNKNOWN with the names of Python classes (grpcio 1.80)."""
    metrics = door.metrics.method(method.service, method.name)
    scope = need(method.service, method.name)

    async def handle(request: Message | Malformed, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        return await _handle(method, door, metrics, scope, request, context)

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=deserializer(method.request),
        response_serializer=lambda message: message.SerializeToString(),
    )


def deserializer(kind: type[Any]) -> Callable[[bytes], Message | Malformed]:
    """Bytes to a message of that kind, or to what stands for one that is none."""

    def deserialize(data: bytes) -> Message | Malformed:
        try:
            message: Message = kind.FromString(data)
        except (DecodeError, UnicodeDecodeError):
            return Malformed(kind.__name__, not_utf8(kind.DESCRIPTOR, data))
        return message

    return deserialize


def check_form(request: Message | Malformed) -> Message:
    """The message. Raises InvalidQuestion for what is none."""
    if not isinstance(request, Malformed):
        return request
    if request.field:
        raise InvalidQuestion(request.field, "is not UTF-8")
    raise InvalidQuestion("request", f"is not a valid {request.name}")


async def _handle(
    method: Method[Any, Any],
    door: Door,
    metrics: MethodMetrics,
    scope: Scope | None,
    request: Message | Malformed,
    context: grpc.aio.ServicerContext[Any, Any],
) -> Message:
    started = door.clock()
    metrics.started()
    code = Code.CANCELLED
    seen = Seen(f"{method.service}/{method.name}", request=request)
    try:
        door.observer.begin(seen, door.callers.of(scope, context), context)
        assert seen.caller is not None
        seen.response = await _admitted(method, door, check_form(request), seen.caller, context)
        code = Code.OK
        return seen.response
    except Exception as error:  # noqa: BLE001  # the last line: anything else would show its text to the caller
        refusal = refused(door.metrics, error, seen.caller)
        code = Code[refusal.code.name]
        door.observer.refuse(seen, refusal, context)
    finally:
        seconds = door.clock() - started
        metrics.handled(code, seconds)
        door.observer.end(seen, code, seconds)
    # Not set_code and a return: that sends a message too, after which no client retries (grpcio 1.80). `server.stop`
    # does not wait for aborted calls (grpc#37239), but only their refusal can be lost by that.
    await context.abort(refusal.code, refusal.message, seen.trailers())
    raise AssertionError("abort raises")


async def _admitted(
    method: Method[Any, Any],
    door: Door,
    request: Message,
    caller: Caller,
    context: grpc.aio.ServicerContext[Any, Any],
) -> Message:
    questions = method.questions(request)
    remaining = context.time_remaining()
    if remaining is not None and caller.timeout is not None:
        caller.waited = max(0.0, caller.timeout - remaining)
    deadline = _deadline_of(remaining, door, questions)
    if deadline.is_past():
        raise DeadlineUnmeetable("the deadline passed before admission")
    with door.admission.permit(caller.principal.tenant, questions):
        return await in_time(method.behaviour(request, Call(caller, deadline)), deadline)


async def in_time(work: Awaitable[Message], deadline: Deadline) -> Message:
    """What `work` gives. Raises DeadlineExceeded when it is not there by the deadline, and then cancels it.

    gRPC itself ends a call at its own deadline; this is for calls without one, for those cut shorter, and for streams.
    """
    try:
        async with asyncio.timeout(deadline.remaining()) as scope:
            with only_the_caller_cancels():
                return await work
    except TimeoutError:
        if scope.expired():
            raise DeadlineExceeded("the deadline passed before the answer was ready") from None
        raise


def _deadline_of(remaining: float | None, door: Door, questions: int) -> Deadline:
    wanted = door.limits.default_timeout * max(1, questions) if remaining is None else remaining
    return Deadline.after(min(wanted, door.limits.max_timeout), door.clock)


def refused(metrics: Metrics, error: BaseException, caller: Caller | None) -> Refusal:
    """What the caller gets, counted if it was refused before work. `caller` None: nobody knows yet who it is."""
    if rejection := rejection_of(error):
        metrics.reject(rejection, caller.criticality if caller else Criticality.CRITICAL)
    return refusal_of(error)
