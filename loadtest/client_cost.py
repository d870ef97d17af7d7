"""What the Python client adds to a call of a bare stub: the same answer from the same server, by one and the other."""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import uvloop

from gateway.client import AsyncClient, Client
from gateway.convert import answer_to_proto
from gateway.deadline import Deadline
from gateway.rpc.servicers import ANSWERS
from gateway.types import Policy, Principal, Question
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from loadtest.audit_cost import TEXT, Instant
from loadtest.ports import free_port
from loadtest.processes import Process

TIMEOUT = 5.0
KINDS = ("sync", "async")


@dataclass(frozen=True, slots=True)
class Spent:
    """Microseconds a call: `wall` until its answer is there, `cpu` of the whole asking process, gRPC's threads too."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Cost:
    """The medians of all blocks, and those of what the client adds to the block of the stub beside it, as a share."""

    stub: Spent
    client: Spent
    added_wall: float
    added_cpu: float


async def measure(calls: int, blocks: int) -> dict[str, Cost]:
    """By kind of client: `calls` one after another in each of so many blocks, stub and client in turn. Raises
    ServerFailed."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    server = Process((sys.executable, "-m", "loadtest.client_cost", str(port)))
    try:
        async with grpc.aio.insecure_channel(address) as channel:

            async def is_ready() -> bool:
                return channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

            await server.ready(is_ready)
        without_asyncio = await asyncio.to_thread(_sync, address, calls, blocks)
        return {"sync": without_asyncio, "async": await _async(address, calls, blocks)}
    finally:
        await asyncio.to_thread(server.stop)


def _sync(address: str, calls: int, blocks: int) -> Cost:
    with grpc.insecure_channel(address) as channel, Client(address, timeout=TIMEOUT) as client:
        stub = gateway_pb2_grpc.AnswersStub(channel)

        def bare() -> object:
            return stub.Answer(pb.AnswerRequest(question=TEXT), timeout=TIMEOUT).text

        def block(call: Callable[[], object]) -> Spent:
            began = _now()
            for _ in range(calls):
                call()
            return _spent(began, calls)

        ways = {"stub": bare, "client": lambda: client.answer(TEXT).text}
        for call in ways.values():
            block(call)
        gc.collect()
        return _cost([{name: block(ways[name]) for name in _turn(number)} for number in range(blocks)])


async def _async(address: str, calls: int, blocks: int) -> Cost:
    async with grpc.aio.insecure_channel(address) as channel, AsyncClient(address, timeout=TIMEOUT) as client:
        stub = gateway_pb2_grpc.AnswersStub(channel)

        async def bare() -> object:
            return (await stub.Answer(pb.AnswerRequest(question=TEXT), timeout=TIMEOUT)).text

        async def typed() -> object:
            return (await client.answer(TEXT)).text

        async def block(call: Callable[[], Awaitable[object]]) -> Spent:
            began = _now()
            for _ in range(calls):
                await call()
            return _spent(began, calls)

        ways = {"stub": bare, "client": typed}
        for call in ways.values():
            await block(call)
        gc.collect()
        return _cost([{name: await block(ways[name]) for name in _turn(number)} for number in range(blocks)])


def _turn(number: int) -> tuple[str, str]:
    """Which of the two is first takes turns as well."""
    return ("client", "stub") if number % 2 else ("stub", "client")


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _spent(began: tuple[float, float], calls: int) -> Spent:
    wall, cpu = (1e6 * (now - then) / calls for now, then in zip(_now(), began, strict=True))
    return Spent(wall, cpu)


def _cost(found: list[Mapping[str, Spent]]) -> Cost:
    stub, client = (
        Spent(statistics.median(one[name].wall for one in found), statistics.median(one[name].cpu for one in found))
        for name in ("stub", "client")
    )
    wall = statistics.median(one["client"].wall / one["stub"].wall - 1 for one in found)
    cpu = statistics.median(one["client"].cpu / one["stub"].cpu - 1 for one in found)
    return Cost(stub, client, wall, cpu)


async def _serve(port: int) -> None:
    """Answers.Answer with an answer that is there already, until it is ended."""
    answer = await Instant().answer(Question(TEXT, "", Principal(), Policy.CASCADE, 3), Deadline.after(1.0))
    message = answer_to_proto(answer).SerializeToString()

    async def handle(request: bytes, _: object) -> bytes:
        return message

    handler: Any = grpc.unary_unary_rpc_method_handler(handle)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(ANSWERS, {"Answer": handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
