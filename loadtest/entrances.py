"""The same questions by each way in, in turn: what a client, another protocol and JSON cost beside a bare gRPC stub."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import aiohttp
import grpc
import grpc.aio
import numpy as np

from gateway.client import AsyncClient
from gateway.rpc.inference.models import ANSWERS
from gateway.rpc.inference.servicer import INFERENCE
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from gateway.v1 import open_inference_pb2 as oip
from loadtest import subjects
from loadtest.subjects import opened

STUB, CLIENT, INFER, JSON = "stub", "client", "inference", "json"
WAYS: Mapping[str, str] = {
    STUB: "gRPC, a bare stub",
    CLIENT: "gRPC, gateway.client",
    INFER: "Open Inference Protocol, ModelInfer",
    JSON: "JSON over HTTP",
}
CROWDED = (STUB, INFER)
"""Those whose capacity is compared."""
CROWD = 16
"""Callers at once, each of whom asks on and on."""
TIMEOUT = 10.0

Ask = Callable[[str], Awaitable[object]]


@dataclass(slots=True)
class Found:
    """`seconds` of each call, and the CPU time of this process for each block of them, by way; `rates` of answers a
    second and server's CPU seconds an answer, by way, one for each round of the crowd."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})
    own_cpu: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})
    rates: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in CROWDED})
    server_cpu: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in CROWDED})

    def p50(self, way: str) -> float:
        """In milliseconds."""
        return 1e3 * float(np.median(self.seconds[way]))

    def cpu(self, way: str) -> float:
        """Of this process, in milliseconds a call: the median block."""
        return 1e3 * float(np.median(self.own_cpu[way]))

    def capacity(self) -> float:
        """Of INFER to STUB, in the median round."""
        return float(np.median(np.array(self.rates[INFER]) / np.array(self.rates[STUB])))

    def server(self, way: str) -> float:
        """CPU of the server, in milliseconds an answer: the median round."""
        return 1e3 * float(np.median(self.server_cpu[way]))


async def measured(texts: Sequence[str], blocks: int, calls: int, rounds: int, seconds: float) -> Found:
    """`blocks` of so many `calls`, one at a time; then `rounds` of a crowd, for so many seconds each."""
    found = Found()
    async with opened(subjects.gateway(()), 1) as server, AsyncExitStack() as stack:
        ways = await _ways(stack, server.subject.address, server.subject.admin)
        asked = itertools.cycle(texts)
        for ask in ways.values():
            await _block(ask, asked, calls)
        for number in range(blocks):
            for way in _turned(WAYS, number):
                began = time.process_time()
                found.seconds[way] += await _block(ways[way], asked, calls)
                found.own_cpu[way].append((time.process_time() - began) / calls)
        assert server.process is not None
        for number in range(rounds):
            for way in _turned(CROWDED, number):
                before = server.process.use().cpu_seconds
                answers, took = await _crowd(ways[way], asked, seconds)
                found.rates[way].append(answers / took)
                found.server_cpu[way].append((server.process.use().cpu_seconds - before) / answers)
    return found


def _turned(ways: Sequence[str] | Mapping[str, str], number: int) -> list[str]:
    """Each round begins with another one."""
    names, at = list(ways), number % len(ways)
    return names[at:] + names[:at]


async def _block(ask: Ask, texts: Iterator[str], calls: int) -> list[float]:
    taken = []
    for text in itertools.islice(texts, calls):
        began = time.perf_counter()
        await ask(text)
        taken.append(time.perf_counter() - began)
    return taken


async def _crowd(ask: Ask, texts: Iterator[str], seconds: float) -> tuple[int, float]:
    """How many answers came, and in how many seconds."""
    began, answers = time.perf_counter(), 0

    async def caller() -> None:
        nonlocal answers
        while time.perf_counter() - began < seconds:
            await ask(next(texts))
            answers += 1

    await asyncio.gather(*(caller() for _ in range(CROWD)))
    return answers, time.perf_counter() - began


async def _ways(stack: AsyncExitStack, address: str, admin: str) -> dict[str, Ask]:
    """Each with a connection of its own."""
    bare = await stack.enter_async_context(grpc.aio.insecure_channel(address))
    other = await stack.enter_async_context(grpc.aio.insecure_channel(address))
    client = await stack.enter_async_context(AsyncClient(address, timeout=TIMEOUT))
    session = await stack.enter_async_context(aiohttp.ClientSession(f"http://{admin}"))
    stub = gateway_pb2_grpc.AnswersStub(bare)
    infer = other.unary_unary(
        f"/{INFERENCE}/ModelInfer",
        request_serializer=oip.ModelInferRequest.SerializeToString,
        response_deserializer=oip.ModelInferResponse.FromString,
    )

    async def as_json(text: str) -> object:
        async with session.post("/gateway.v1.Answers/Answer", json={"question": text}) as response:
            response.raise_for_status()
            return await response.json()

    return {
        STUB: lambda text: stub.Answer(pb.AnswerRequest(question=text), timeout=TIMEOUT),
        CLIENT: client.answer,
        INFER: lambda text: infer(_infer_request(text), timeout=TIMEOUT),
        JSON: as_json,
    }


def _infer_request(text: str) -> oip.ModelInferRequest:
    data = text.encode()
    tensor = oip.ModelInferRequest.InferInputTensor(name=ANSWERS.input, datatype="BYTES", shape=(1, 1))
    raw = len(data).to_bytes(4, "little") + data
    return oip.ModelInferRequest(model_name=ANSWERS.name, inputs=[tensor], raw_input_contents=[raw])
