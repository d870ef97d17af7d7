"""What is sent: to a real gateway server, to a small Open Inference server, and never to somebody else's machine."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from gateway.deadline import Deadline
from gateway.errors import Overloaded
from gateway.rpc.server import Ports, Server
from gateway.types import Answer, Question
from gateway.v1 import open_inference_pb2 as pb
from loadtest.gateway_targets import GatewayTarget, StreamTarget
from loadtest.inference_target import OpenInferenceTarget, infer_request
from loadtest.ports import free_port
from loadtest.protocols import PROTOCOLS
from loadtest.targets import NO_MESSAGE, OPEN, NotOurs, Outcome, Target, checked
from tests.fakes import ABSTENTION, ANSWER, FakeGateway


@pytest.fixture
async def target(ports: Ports) -> AsyncIterator[GatewayTarget]:
    made = GatewayTarget(f"127.0.0.1:{ports.grpc}", 2)
    yield made
    await made.close()


async def test_an_answer_is_an_outcome_with_its_route(target: GatewayTarget, gateway: FakeGateway) -> None:
    outcome = await target.send("why?", 5, (("x-tenant", "acme"), ("x-criticality", "sheddable")))
    assert outcome == Outcome("OK", "model", "confident", sum(ANSWER.timings.values()))
    assert gateway.questions[0].text == "why?"
    assert gateway.questions[0].principal.tenant == "acme"


async def test_abstaining_is_ok(target: GatewayTarget, gateway: FakeGateway) -> None:
    async def abstain(question: Question, deadline: Deadline) -> Answer:
        return ABSTENTION

    gateway.behaviour = abstain
    assert await target.send("why?", 5, ()) == Outcome("OK", "abstain", "no_evidence", 0)


async def test_a_refusal_is_an_outcome_and_is_not_asked_again(target: GatewayTarget, gateway: FakeGateway) -> None:
    async def full(question: Question, deadline: Deadline) -> Answer:
        raise Overloaded("full")

    gateway.behaviour = full
    assert await target.send("why?", 5, ()) == Outcome("UNAVAILABLE", reason="OVERLOADED")
    assert len(gateway.questions) == 1


async def test_a_deadline_is_the_calls_own(target: GatewayTarget, gateway: FakeGateway) -> None:
    async def never(question: Question, deadline: Deadline) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    gateway.behaviour = never
    assert (await target.send("why?", 0.05, ())).status == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("kind", [GatewayTarget, StreamTarget])
async def test_nobody_there_is_an_outcome_too(kind: Callable[[str, int], Target]) -> None:
    nobody = kind(f"127.0.0.1:{free_port()}", 1)
    for _ in range(2):
        assert await nobody.send("why?", 5, ()) == Outcome("UNAVAILABLE", reason="NOT_CONNECTED")
    await nobody.close()


@pytest.fixture
async def stream(ports: Ports) -> AsyncIterator[StreamTarget]:
    made = StreamTarget(f"127.0.0.1:{ports.grpc}", 1)
    yield made
    await made.close()


async def test_each_question_of_a_stream_gets_its_own_end(stream: StreamTarget, gateway: FakeGateway) -> None:
    release = asyncio.Event()

    async def by_name(question: Question, deadline: Deadline) -> Answer:
        if question.text == "slow":
            await release.wait()
        if question.text == "refused":
            raise Overloaded("full")
        return ABSTENTION if question.text == "unknown" else ANSWER

    gateway.behaviour = by_name
    slow = asyncio.create_task(stream.send("slow", 20, ()))
    quick = [await stream.send(text, 20, (("x-tenant", "acme"),)) for text in ("known", "refused", "unknown")]
    assert not slow.done()
    release.set()
    assert [(one.status, one.route, one.reason) for one in (*quick, await slow)] == [
        ("OK", "model", "confident"),
        ("UNAVAILABLE", "", "OVERLOADED"),
        ("OK", "abstain", "no_evidence"),
        ("OK", "model", "confident"),
    ]
    tenants = {asked.text: asked.principal.tenant for asked in gateway.questions}
    assert (tenants["slow"], tenants["known"]) == ("default", "acme")


async def test_a_question_of_a_stream_has_its_own_deadline(stream: StreamTarget, gateway: FakeGateway) -> None:
    async def never(question: Question, deadline: Deadline) -> Answer:
        if question.text == "never":
            await asyncio.Event().wait()
        return ANSWER

    gateway.behaviour = never
    late, fine = await asyncio.gather(stream.send("never", 0.05, ()), stream.send("why?", 20, ()))
    assert (late.status, fine.status) == ("DEADLINE_EXCEEDED", "OK")
    assert (await stream.send("why?", 20, ())).status == "OK"


async def test_a_stream_that_has_ended_is_opened_again(
    stream: StreamTarget, gateway: FakeGateway, server: Server
) -> None:
    assert (await stream.send("why?", 20, ())).status == "OK"
    waiting = asyncio.Event()

    async def never(question: Question, deadline: Deadline) -> Answer:
        waiting.set()
        await asyncio.Event().wait()
        return ANSWER

    gateway.behaviour = never
    cut_off = asyncio.create_task(stream.send("why?", 20, ()))
    await waiting.wait()
    await server.stop()
    assert (await cut_off).status == "UNAVAILABLE"
    assert (await stream.send("why?", 20, ())).status == "UNAVAILABLE"


async def test_channels_are_connections_of_their_own(ports: Ports, gateway: FakeGateway) -> None:
    """As many calls at once as the server takes on a single connection would wait for each other otherwise."""
    peers: set[str] = set()
    server = grpc.aio.server()

    async def infer(request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
        peers.add(context.peer())
        return answered(7)

    async with serving(server, infer) as address:
        target = OpenInferenceTarget(address, 3, is_raw=True)
        for _ in range(6):
            await target.send("why?", 5, ())
        await target.close()
    assert len(peers) == 3


class serving:  # noqa: N801  # reads as what it does
    """An Open Inference server in this process, with `infer` as ModelInfer. Enters to its address."""

    def __init__(self, server: Any, infer: Callable[[Any, Any], Awaitable[Any]]) -> None:
        self._server = server
        handler = grpc.unary_unary_rpc_method_handler(
            infer,
            request_deserializer=pb.ModelInferRequest.FromString,
            response_serializer=pb.ModelInferResponse.SerializeToString,
        )
        service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler})
        server.add_generic_rpc_handlers((service,))

    async def __aenter__(self) -> str:
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return f"127.0.0.1:{port}"

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)


def answered(label: int) -> pb.ModelInferResponse:
    output = pb.ModelInferResponse.InferOutputTensor(name="label", datatype="INT64", shape=(1, 1))
    return pb.ModelInferResponse(model_name="m", outputs=[output], raw_output_contents=[struct.pack("<q", label)])


@pytest.mark.parametrize("protocol", ["triton", "mlserver"])
async def test_an_inference_server_gets_the_text_as_it_reads_it(protocol: str) -> None:
    requests: list[pb.ModelInferRequest] = []

    async def infer(request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
        requests.append(request)
        return answered(7)

    text = "Wo bleibt meine Karte, für die ich 5 € gezahlt habe?"
    async with serving(grpc.aio.server(), infer) as address:
        target: Target = PROTOCOLS[protocol](address, 1, OPEN)
        assert await target.send(text, 5, ()) == Outcome("OK")
        await target.close()
    (request,) = requests
    (tensor,) = request.inputs
    assert (request.model_name, tensor.name, tensor.datatype, list(tensor.shape)) == ("m", "text", "BYTES", [1, 1])
    data = text.encode()
    if protocol == "triton":
        (raw,) = request.raw_input_contents
        assert struct.unpack("<I", raw[:4]) == (len(data),)
        assert raw[4:] == data
        assert not tensor.contents.bytes_contents
    else:
        assert list(tensor.contents.bytes_contents) == [data]
        assert not request.raw_input_contents


async def test_what_an_inference_server_refuses_is_an_outcome() -> None:
    async def infer(request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        raise AssertionError

    async with serving(grpc.aio.server(), infer) as address:
        target = OpenInferenceTarget(address, 1, is_raw=False)
        assert await target.send("why?", 5, ()) == Outcome("NOT_FOUND")
        await target.close()


async def test_an_answer_without_outputs_is_none() -> None:
    async def infer(request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
        return pb.ModelInferResponse(model_name="m")

    async with serving(grpc.aio.server(), infer) as address:
        target = OpenInferenceTarget(address, 1, is_raw=True)
        assert (await target.send("why?", 5, ())).status == "DATA_LOSS"
        await target.close()


@pytest.mark.parametrize("kind", [GatewayTarget, lambda address, n: OpenInferenceTarget(address, n, is_raw=True)])
async def test_a_call_that_ends_without_a_message_is_no_answer(kind: Callable[[str, int], Any]) -> None:
    target = kind("127.0.0.1:1", 1)

    async def nothing(*_: object, **__: object) -> None:
        return None

    class Stub:
        Answer = staticmethod(nothing)

    target._stubs = iter([Stub])
    target._calls = iter([nothing])
    assert await target.send("why?", 5, ()) == NO_MESSAGE
    await target.close()


def test_the_bytes_are_those_of_the_protocol() -> None:
    """By hand, field number << 3 | 2 before each length: a proto with other numbers would agree with itself."""
    model, version = b"\x0a\x01m", b"\x0a\x04text\x12\x05BYTES\x1a\x02\x01\x01"
    raw = model + b"\x2a" + bytes([len(version)]) + version + b"\x3a\x06\x02\x00\x00\x00hi"
    assert infer_request("hi", is_raw=True).SerializeToString(deterministic=True) == raw
    tensor = version + b"\x2a\x04\x42\x02hi"
    assert infer_request("hi", is_raw=False).SerializeToString() == model + b"\x2a" + bytes([len(tensor)]) + tensor
    assert pb.ModelInferResponse.FromString(b"\x2a\x07\x0a\x05label").outputs[0].name == "label"


@pytest.mark.parametrize("address", ["127.0.0.1:50051", "127.9.9.9:1", "localhost:50051", "[::1]:50051"])
def test_loopback_may_be_loaded(address: str) -> None:
    assert checked(address, is_owned=False) == address


@pytest.mark.parametrize(
    "address", ["10.0.0.1:50051", "0.0.0.0:50051", "gateway.example:443", "localhost.example:80", "[::2]:1", "dns:x:80"]
)
def test_anything_else_needs_an_owner(address: str) -> None:
    with pytest.raises(NotOurs, match="--i-own-this-target"):
        checked(address, is_owned=False)
    assert checked(address, is_owned=True) == address


@pytest.mark.parametrize(
    "address", ["", "localhost", ":50051", "localhost:0", "localhost:x", "dns:///a/b:1", "h:70000"]
)
def test_what_is_no_address_is_refused_whoever_owns_it(address: str) -> None:
    for is_owned in (False, True):
        with pytest.raises(ValueError, match="is not HOST:PORT"):
            checked(address, is_owned=is_owned)
