"""The one wrapper around every method: deadline, permit, metrics, errors to codes, and whose cancellation it was."""

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

from gateway.deadline import Clock, Deadline
from gateway.errors import DeadlineExceeded, InvalidQuestion, Overloaded, Unavailable
from gateway.rpc.admission import Admission
from gateway.rpc.malformed import not_utf8
from gateway.rpc.status import Refusal, refusal_of
from gateway.rpc.validate import principal_of
from gateway.telemetry.metrics import Code, MethodMetrics, Metrics, Rejection
from gateway.types import Principal

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True, slots=True)
class Call:
    """What a method knows of its call besides the request."""

    principal: Principal
    deadline: Deadline


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


@dataclass(frozen=True, slots=True)
class Door:
    """What all methods share."""

    metrics: Metrics
    admission: Admission
    limits: Limits
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
    """One unary method. `questions` tells how many a request holds, and so how many permits it takes.

    It raises InvalidQuestion for a request of the wrong size: that is the caller's fault even when we are busy.
    """

    service: str
    name: str
    request: type[Request]
    behaviour: Callable[[Request, Call], Awaitable[Response]]
    questions: Callable[[Request], int] = lambda _: 1


def generic_handler(service: str, methods: list[Method[Any, Any]], door: Door) -> grpc.GenericRpcHandler:
    """Registered by hand, since the generated function lets gRPC decode: malformed bytes then reach the caller as
    UNKNOWN with the names of Python classes (grpcio 1.80)."""
    return grpc.method_handlers_generic_handler(service, {method.name: _wrapped(method, door) for method in methods})


def _wrapped(method: Method[Any, Any], door: Door) -> grpc.RpcMethodHandler[Any, Any]:
    def deserialize(data: bytes) -> Message | Malformed:
        try:
            message: Message = method.request.FromString(data)
        except (DecodeError, UnicodeDecodeError):
            return Malformed(method.request.__name__, not_utf8(method.request.DESCRIPTOR, data))
        return message

    metrics = door.metrics.method(method.service, method.name)

    async def handle(request: Message | Malformed, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        return await _handle(method, door, metrics, request, context)

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=deserialize,
        response_serializer=lambda message: message.SerializeToString(),
    )


async def _handle(
    method: Method[Any, Any],
    door: Door,
    metrics: MethodMetrics,
    request: Message | Malformed,
    context: grpc.aio.ServicerContext[Any, Any],
) -> Message:
    started = door.clock()
    metrics.started()
    code = Code.CANCELLED
    try:
        response = await _admitted(method, door, request, context)
        code = Code.OK
        return response
    except asyncio.CancelledError:
        door.metrics.cancel()
        raise
    except Exception as error:  # noqa: BLE001  # the last line: anything else would show its text to the caller
        refusal = _refused(door, error)
        code = Code[refusal.code.name]
    finally:
        metrics.handled(code, door.clock() - started)
    # Not set_code and a return: that sends a message too, after which no client retries (grpcio 1.80). `server.stop`
    # does not wait for aborted calls (grpc#37239), but only their refusal can be lost by that.
    await context.abort(refusal.code, refusal.message, refusal.trailers())
    raise AssertionError("abort raises")


async def _admitted(
    method: Method[Any, Any], door: Door, request: Message | Malformed, context: grpc.aio.ServicerContext[Any, Any]
) -> Message:
    if isinstance(request, Malformed):
        if request.field:
            raise InvalidQuestion(request.field, "is not UTF-8")
        raise InvalidQuestion("request", f"is not a valid {request.name}")
    questions = method.questions(request)
    deadline = _deadline_of(context, door, questions)
    if deadline.is_past():
        door.metrics.reject(Rejection.DEADLINE)
        deadline.check("admission")
    principal = principal_of(context.invocation_metadata() or ())
    with door.admission.permit(questions):
        try:
            # gRPC itself ends a call at its own deadline; this is for calls without one, and for those cut shorter.
            async with asyncio.timeout(deadline.remaining()) as scope:
                with only_the_caller_cancels():
                    response: Message = await method.behaviour(request, Call(principal, deadline))
                    return response
        except TimeoutError:
            if scope.expired():
                raise DeadlineExceeded("the deadline passed before the answer was ready") from None
            raise


def _deadline_of(context: grpc.aio.ServicerContext[Any, Any], door: Door, questions: int) -> Deadline:
    remaining = context.time_remaining()
    wanted = door.limits.default_timeout * questions if remaining is None else remaining
    return Deadline.after(min(wanted, door.limits.max_timeout), door.clock)


def _refused(door: Door, error: BaseException) -> Refusal:
    """What the caller gets, counted if it was refused before work."""
    if isinstance(error, Overloaded):
        door.metrics.reject(Rejection.OVERLOAD)
    elif isinstance(error, Unavailable) and door.admission.is_closed:
        door.metrics.reject(Rejection.DRAINING)
    return refusal_of(error)
