"""A gateway as a target: one call for each question, or streams that carry many."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import grpc
import grpc.aio

from gateway.convert import REASON_FROM_PROTO, ROUTE_FROM_PROTO, timeout_claim
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from loadtest.targets import NO_MESSAGE, OK, OPEN, STREAM_ENDED, Access, Metadata, Outcome, connect, disconnect, failed

CODES = {code.value[0]: code.name for code in grpc.StatusCode}
TIMED_OUT = Outcome(grpc.StatusCode.DEADLINE_EXCEEDED.name)


class GatewayTarget:
    """`gateway.v1.Answers/Answer`, on each channel in turn."""

    def __init__(self, address: str, channels: int, access: Access = OPEN) -> None:
        self._channels = connect(address, channels, access)
        self._shown = access.metadata
        self._stubs: Iterator[gateway_pb2_grpc.AnswersStub] = itertools.cycle(
            [gateway_pb2_grpc.AnswersStub(channel) for channel in self._channels]
        )

    async def send(self, question: str, timeout: float, metadata: Metadata) -> Outcome:  # noqa: ASYNC109
        request = pb.AnswerRequest(question=question)
        try:
            claims = (*self._shown, *metadata, timeout_claim(timeout))
            response = await next(self._stubs).Answer(request, timeout=timeout, metadata=claims)
        except grpc.aio.AioRpcError as error:
            return failed(error)
        return NO_MESSAGE if response is None else _answered(response)

    async def close(self) -> None:
        await disconnect(self._channels)


class StreamTarget:
    """`gateway.v1.Answers/AnswerStream`: on each channel in turn, one stream for each kind of caller.

    A stream that has ended is opened again by the next question.
    """

    def __init__(self, address: str, channels: int, access: Access = OPEN) -> None:
        self._channels = connect(address, channels, access)
        self._shown = access.metadata
        self._turns = itertools.cycle(range(channels))
        self._streams: dict[tuple[int, Metadata], _Stream] = {}

    async def send(self, question: str, timeout: float, metadata: Metadata) -> Outcome:  # noqa: ASYNC109
        channel = next(self._turns)
        stream = self._streams.get((channel, metadata))
        if stream is None or stream.has_ended:
            stream = _Stream(gateway_pb2_grpc.AnswersStub(self._channels[channel]), (*self._shown, *metadata))
            self._streams[channel, metadata] = stream
        return await stream.ask(question, timeout)

    async def close(self) -> None:
        for stream in self._streams.values():
            await stream.close()
        await disconnect(self._channels)


class _Stream:
    """One stream: questions wait for their turn to be written, and then by their number for the answer."""

    def __init__(self, stub: gateway_pb2_grpc.AnswersStub, metadata: Metadata) -> None:
        self.has_ended = False
        self._numbers = itertools.count()
        self._unwritten: asyncio.Queue[pb.AnswerStreamRequest] = asyncio.Queue()
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}
        self._call = stub.AnswerStream(self._written(), metadata=metadata)
        self._reading = asyncio.create_task(self._read())

    async def ask(self, question: str, timeout: float) -> Outcome:  # noqa: ASYNC109
        number = str(next(self._numbers))
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[number] = ended
        self._unwritten.put_nowait(
            pb.AnswerStreamRequest(
                question=pb.AnswerRequest(question=question, request_id=number), timeout_ms=max(1, round(1e3 * timeout))
            )
        )
        try:
            # The server counts from when it has read the question, which may be late.
            async with asyncio.timeout(timeout):
                return await ended
        except TimeoutError:
            return TIMED_OUT
        finally:
            del self._waiting[number]

    async def close(self) -> None:
        self._call.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _written(self) -> AsyncIterator[pb.AnswerStreamRequest]:
        while True:
            request = await self._unwritten.get()
            # Nobody writes a question that has timed out while the server would not read.
            if request.question.request_id in self._waiting:
                yield request

    async def _read(self) -> None:
        end = STREAM_ENDED
        try:
            async for response in self._call:
                self._end(response.request_id, _item(response))
        except grpc.aio.AioRpcError as error:
            end = failed(error)
        finally:
            self.has_ended = True
            for number in self._waiting:
                self._end(number, end)

    def _end(self, number: str, outcome: Outcome) -> None:
        ended = self._waiting.get(number)
        if ended is not None and not ended.done():
            ended.set_result(outcome)


def _item(response: pb.AnswerStreamResponse) -> Outcome:
    if response.HasField("answer"):
        return _answered(response.answer)
    return Outcome(CODES.get(response.error.code, "UNKNOWN"), reason=response.error.reason)


def _answered(response: pb.AnswerResponse) -> Outcome:
    return Outcome(
        OK,
        ROUTE_FROM_PROTO[response.route].value,
        REASON_FROM_PROTO[response.reason].value,
        sum(stage.seconds for stage in response.timings),
    )
