"""Whole calls without a transport: bytes through the decoder, the one wrapper, validation and the router, to what the
caller would get. The cascade and the stored collections are real, the model's pass is made up."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import struct
import tempfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import numpy as np
from google.protobuf.message import Message

from gateway import assembly
from gateway.config import AuditSection, Config, KnowledgeSection, ModelSection
from gateway.deadline import Deadline
from gateway.rpc.inference.servicer import INFERENCE
from gateway.rpc.server import Server
from gateway.swapping import Swapping
from gateway.telemetry.metrics import Metrics
from gateway.types import Prediction
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import open_inference_pb2 as oip
from tests import tiny
from tests.fuzz.mutation import TEXTS, message

FORBIDDEN = frozenset({"UNKNOWN", "INTERNAL", "DATA_LOSS"})
OURS = re.compile(r"Traceback|<class|0x[0-9a-f]{6}|site-packages|\.py\b|/dev/shm|/tmp/|sqlite|object at|NoneType")
"""What no caller is to read."""
METADATA = {
    "x-tenant": ("acme", "", "a" * 64, "ü", "a b", "default"),
    "x-groups": ("staff", "a,b", ",", "a,,b", "*", "x" * 4000),
    "x-criticality": ("critical", "sheddable", "nonsense", ""),
    "x-timeout-ms": ("100", "-1", "1e3", "", "99999999999999999999", "nan"),
    "authorization": ("Bearer gw_abc", "Bearer", "Basic x", "Bearer \x7f"),
    "traceparent": ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "zz", ""),
    "x-unknown-bin": (b"\x00\xff",),
}
ENDLESS = frozenset({"Watch"})
"""It tells of changes for as long as its caller listens: what it says at once is enough."""


class Aborted(Exception):
    """What a context's `abort` raises."""


class Context:
    """As much of grpc.aio's as a method sees."""

    def __init__(self, metadata: tuple[tuple[str, Any], ...], seconds: float | None) -> None:
        self._metadata, self._seconds = metadata, seconds
        self.code, self.details, self.written = "OK", "", 0

    def invocation_metadata(self) -> tuple[tuple[str, Any], ...]:
        return self._metadata

    def time_remaining(self) -> float | None:
        return self._seconds

    def auth_context(self) -> dict[str, list[bytes]]:
        return {}

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def set_trailing_metadata(self, metadata: Any) -> None:
        pass

    async def send_initial_metadata(self, metadata: Any) -> None:
        pass

    async def write(self, response: Message) -> None:
        self.written += 1
        response.SerializeToString()

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        self.code, self.details = code.name, details
        raise Aborted


class Calls:
    """Every method of the server, each with the stored collection `help` and an audit log to work on."""

    name = "calls"

    def __init__(self) -> None:
        # In memory: what is fuzzed is no disk, and a sync of each write would be most of the time.
        base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
        self._folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=base))
        self._loop = asyncio.new_event_loop()
        self._methods: dict[str, tuple[str, Any, type[Message]]] = {}
        self._gateway: Swapping = self._loop.run_until_complete(self._made())
        self._names = sorted(self._methods)

    async def _made(self) -> Swapping:
        config = Config(
            model=ModelSection(bundle=tiny.write(self._folder / "tiny")),
            knowledge=KnowledgeSection(collections={}, data=self._folder / "data"),
            audit=AuditSection(folder=self._folder / "audit"),
        )
        gateway = await assembly.build(config)
        gateway._current.gateway.engine.predict = _predict  # type: ignore[attr-defined]
        captured: dict[str, dict[str, Any]] = {}

        def capture(service: str, methods: dict[str, Any]) -> Any:
            if service.startswith(("gateway.", INFERENCE)):
                captured[service] = methods
            return generic(service, methods)

        generic = grpc.method_handlers_generic_handler
        with mock.patch.object(grpc, "method_handlers_generic_handler", capture):
            Server(gateway, config, Metrics(), gateway, edited=gateway)
        for service, methods in captured.items():
            for name, handler in methods.items():
                self._methods[f"{service}/{name}"] = (name, handler, _request_of(service, name))
        await self._call("gateway.v1.Knowledge/CreateCollection", pb.CreateCollectionRequest(collection="help"))
        document = pb.Document(id="a", title="word1", answer="It is word2.", body="word3 word4")
        await self._call("gateway.v1.Knowledge/Upsert", pb.UpsertRequest(collection="help", documents=[document]))
        return gateway

    async def _call(self, name: str, request: Message) -> None:
        context = Context((("x-tenant", "acme"),), 30.0)
        await self._methods[name][1].unary_unary(request, context)

    def corpus(self, chance: random.Random) -> bytes:
        """The number of a method, how its metadata is chosen, and a request of its kind."""
        at = chance.randrange(len(self._names))
        request = message(self._methods[self._names[at]][2], chance)
        if isinstance(request, oip.ModelInferRequest) and chance.random() < 0.7:
            _make_sense(request, chance)
        return bytes([at]) + chance.randbytes(4) + request.SerializeToString()

    def run(self, data: bytes) -> str:
        at, seed, body = (data[:1] or b"\0")[0], data[1:5], data[5:]
        chance = random.Random(seed)
        tenant = (("x-tenant", "acme"),) if chance.random() < 0.8 else ()  # else hardly any call gets far
        others = ((key, chance.choice(some)) for key, some in METADATA.items() if chance.random() < 0.05)
        metadata = (*tenant, *others)
        context = Context(metadata, chance.choice((None, 5.0, 5.0, 5.0, 5.0, 5.0, 0.0, -1.0, 1e9)))
        name = self._names[at % len(self._names)]
        self._loop.run_until_complete(self._served(name, body, context, chance))
        if context.code in FORBIDDEN or OURS.search(context.details):
            raise AssertionError(f"{name}: {context.code}: {context.details}")
        return context.code

    async def _served(self, name: str, body: bytes, context: Context, chance: random.Random) -> None:
        method, handler, _ = self._methods[name]
        request = handler.request_deserializer(body)
        with _may_abort():
            if handler.request_streaming:
                await handler.stream_stream(_stream([request] * chance.choice((0, 1, 1, 3))), context)
            elif handler.response_streaming:
                task = asyncio.ensure_future(handler.unary_stream(request, context))
                if method in ENDLESS:
                    await asyncio.wait({task}, timeout=0.001)
                    task.cancel()
                await asyncio.wait({task})
                if not task.cancelled():
                    task.result()
            else:
                (await handler.unary_unary(request, context)).SerializeToString()

    def close(self) -> None:
        self._loop.run_until_complete(self._gateway.close())
        self._loop.close()
        shutil.rmtree(self._folder)


def _request_of(service: str, method: str) -> type[Message]:
    if service == INFERENCE:
        found: type[Message] = getattr(oip, f"{method.replace('Stream', '')}Request")
    else:
        described = pb.DESCRIPTOR.services_by_name[service.rpartition(".")[2]]
        found = getattr(pb, described.methods_by_name[method].input_type.name)
    return found


def _make_sense(request: oip.ModelInferRequest, chance: random.Random) -> None:
    """Tensors that fit together, which no chance brings about."""
    texts = chance.choices(TEXTS, k=chance.choice((1, 1, 2, 5)))
    del request.inputs[:], request.raw_input_contents[:]
    request.model_name, name = chance.choice((("answers", "question"), ("encoder", "text")))
    request.model_version = ""
    tensor = request.inputs.add(name=name, datatype="BYTES", shape=[len(texts), 1])
    encoded = [text.encode() for text in texts]
    if chance.random() < 0.5:
        tensor.contents.bytes_contents.extend(encoded)
    else:
        request.raw_input_contents.append(b"".join(struct.pack("<I", len(one)) + one for one in encoded))


class _may_abort:  # noqa: N801 - a context manager
    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return kind is Aborted


async def _stream(requests: list[Any]) -> AsyncIterator[Any]:
    for one in requests:
        yield one


async def _predict(text: str, deadline: Deadline, tenant: str = "default") -> Prediction:
    """Made up of the text, at once."""
    deadline.check("inference")
    numbers = np.random.default_rng(zlib.crc32(text.encode("utf-8", "surrogatepass")))
    embedding = numbers.standard_normal(tiny.SHAPE.hidden_size).astype(np.float32)
    logits = 4 * numbers.standard_normal(len(tiny.LABELS)).astype(np.float32)
    return Prediction.alone(logits, embedding / np.linalg.norm(embedding))
