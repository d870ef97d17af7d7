"""The Open Inference Protocol, by the client that its users have: NVIDIA's tritonclient, unmodified."""

from __future__ import annotations

import asyncio
import json
import queue
import struct
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from gateway.config import AccessSection, Config
from gateway.deadline import Deadline
from gateway.errors import Overloaded
from gateway.rpc.inference import models, tensors
from gateway.rpc.inference.servicer import INFERENCE
from gateway.rpc.inference.statistics import Statistics
from gateway.rpc.permissions import NEEDS
from gateway.rpc.server import Ports
from gateway.types import Answer, Policy, Question
from gateway.v1 import open_inference_pb2 as pb
from tests.callers import created
from tests.fakes import ABSTENTION, ANSWER, CITATION, FakeGateway

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the client's own


@pytest.fixture
async def client(ports: Ports) -> AsyncIterator[Any]:
    made = triton_aio.InferenceServerClient(f"127.0.0.1:{ports.grpc}")
    yield made
    await made.close()


def texts(*given: str, name: str = "question", shape: tuple[int, ...] | None = None) -> list[Any]:
    array = np.array([one.encode() for one in given], np.object_).reshape(shape or (len(given), 1))
    tensor = triton.InferInput(name, list(array.shape), "BYTES")
    tensor.set_data_from_numpy(array)
    return [tensor]


def rows(result: Any, name: str) -> list[Any]:
    found: list[Any] = result.as_numpy(name).reshape(-1).tolist()
    return [one.decode() if isinstance(one, bytes) else one for one in found]


# What clients ask before they ask anything.


async def test_it_is_live_and_ready(client: Any) -> None:
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert [await client.is_model_ready(name) for name in ("answers", "encoder", "nobody")] == [True, True, False]
    assert [await client.is_model_ready("answers", version) for version in ("1", "2")] == [True, False]


async def test_what_cannot_answer_is_not_ready(client: Any, gateway: FakeGateway) -> None:
    gateway.can_answer = False
    assert await client.is_server_live()
    assert not await client.is_server_ready()
    assert not await client.is_model_ready("answers")
    assert [one.state for one in (await client.get_model_repository_index()).models] == ["UNAVAILABLE"] * 2


async def test_metadata_and_config_name_the_same_tensors(client: Any) -> None:
    """perf_analyzer ends itself where they do not."""
    server = await client.get_server_metadata()
    assert (server.name, list(server.extensions)) == (
        "cascade-gateway",
        ["statistics", "model_configuration", "parameters"],
    )
    for model in models.MODELS.values():
        said = await client.get_model_metadata(model.name)
        config = (await client.get_model_config(model.name)).config
        assert (said.name, list(said.versions), config.name) == (model.name, ["1"], model.name)
        assert [one.name for one in said.inputs] == [one.name for one in config.input]
        assert [one.name for one in said.outputs] == [one.name for one in config.output]
        assert [list(one.shape)[1:] for one in said.outputs] == [list(one.dims) for one in config.output]
        assert config.max_batch_size == models.MOST
        assert not config.HasField("ensemble_scheduling")


@pytest.mark.parametrize("ask", ["get_model_metadata", "get_model_config", "get_inference_statistics"])
async def test_a_model_that_nobody_knows_is_not_found(client: Any, ask: str) -> None:
    with pytest.raises(InferenceServerException, match="unknown model") as error:
        await getattr(client, ask)("nobody")
    assert error.value.status() == "StatusCode.NOT_FOUND"


async def test_a_version_is_a_number(client: Any) -> None:
    with pytest.raises(InferenceServerException) as error:
        await client.is_model_ready("answers", "latest")
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"


async def test_both_models_are_in_the_repository_and_stay_there(client: Any) -> None:
    index = await client.get_model_repository_index()
    assert [(one.name, one.version, one.state) for one in index.models] == [
        ("answers", "1", "READY"),
        ("encoder", "1", "READY"),
    ]
    for change in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="gateway swap") as error:
            await change("answers")
        assert error.value.status() == "StatusCode.UNAVAILABLE"


async def test_what_is_not_served_says_so(client: Any) -> None:
    for ask in (client.get_trace_settings, client.get_log_settings, client.get_system_shared_memory_status):
        with pytest.raises(InferenceServerException) as error:
            await ask()
        assert error.value.status() == "StatusCode.UNIMPLEMENTED"


# Inference.


async def test_an_answer_comes_with_all_that_is_known_of_it(client: Any, gateway: FakeGateway) -> None:
    result = await client.infer("answers", texts("Where is my card?"), request_id="id-7", headers={"x-tenant": "acme"})
    assert result.get_response().id == "id-7"
    assert (result.get_response().model_name, result.get_response().model_version) == ("answers", "1")
    assert rows(result, "text") == [ANSWER.text]
    assert (rows(result, "route"), rows(result, "reason")) == (["model"], ["confident"])
    assert result.as_numpy("confidence").tolist() == [[0.9375]]
    assert (rows(result, "label"), rows(result, "document_id")) == (["card_arrival"], ["card-arrival"])
    (cited,) = json.loads(rows(result, "citations")[0])
    assert (cited["document_id"], cited["quote"]) == (CITATION.document_id, CITATION.quote)
    assert gateway.questions[0].text == "Where is my card?"
    assert gateway.questions[0].principal.tenant == "acme"


async def test_a_batch_is_answered_in_its_order(client: Any, gateway: FakeGateway) -> None:
    async def later(question: Question, deadline: Deadline) -> Answer:
        await asyncio.sleep(0.02 if question.text == "one" else 0)
        return ANSWER if question.text != "two" else ABSTENTION

    gateway.behaviour = later
    asked = [triton.InferRequestedOutput(name) for name in ("route", "confidence")]
    result = await client.infer("answers", texts("one", "two", "three"), outputs=asked)
    assert [one.name for one in result.get_response().outputs] == ["route", "confidence"]
    assert rows(result, "route") == ["model", "abstain", "model"]
    assert result.as_numpy("confidence").shape == (3, 1)
    assert result.as_numpy("text") is None


async def test_the_encoder_gives_embeddings_and_logits(client: Any) -> None:
    for shape in ((2, 1), (2,)):
        result = await client.infer("encoder", texts("ab", "abcd", name="text", shape=shape))
        assert result.as_numpy("embedding").tolist() == [[0, 1, 2, 3]] * 2
        assert result.as_numpy("logits").tolist() == [[2, 2, 2], [4, 4, 4]]
        assert result.as_numpy("logits").dtype == np.float32


async def test_parameters_say_what_the_api_has_fields_for(client: Any, gateway: FakeGateway) -> None:
    parameters = {"collection": "legal", "policy": "ensemble", "max_citations": 7, "tenant": "globex", "mine": 3.5}
    await client.infer("answers", texts("why?"), parameters=parameters, timeout=1_500_000, priority=2)
    question, deadline = gateway.questions[0], gateway.deadlines[0]
    assert (question.collection, question.policy, question.max_citations) == ("legal", Policy.ENSEMBLE, 7)
    assert question.principal.tenant == "globex"
    assert 0 < deadline.remaining() <= 1.5


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"policy": "guess"}, "parameters.policy: has no such value"),
        ({"policy": 3}, "parameters.policy: must be a string"),
        ({"max_citations": "3"}, "parameters.max_citations: must be a whole number"),
        ({"max_citations": 99}, "max_citations: is 99"),
        ({"tenant": "no tenant"}, "parameters.tenant: is no name"),
    ],
)
async def test_a_parameter_that_is_wrong_is_named(client: Any, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(InferenceServerException, match=words) as error:
        await client.infer("answers", texts("why?"), parameters=parameters)
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "expected 1 inputs but got 0 inputs"),
        (texts("why?") * 2, "expected 1 inputs but got 2 inputs"),
        (texts("why?", name="text"), "unexpected inference input"),
        (texts("a", "b", shape=(1, 2)), r"unexpected shape for input 'question': expected \[-1,1\], got \[1,2\]"),
        (texts(*["a"] * 257), "batch-size must be <= 256"),
        (texts(" "), "is blank"),
        (texts("a" * 2001), "has 2001 characters"),
    ],
    ids=["none", "two", "name", "shape", "many", "blank", "long"],
)
async def test_an_input_that_is_wrong_is_named(client: Any, inputs: list[Any], words: str) -> None:
    with pytest.raises(InferenceServerException, match=words) as error:
        await client.infer("answers", inputs)
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"


async def test_another_datatype_and_another_output_are_refused(client: Any) -> None:
    number = triton.InferInput("question", [1, 1], "INT64")
    number.set_data_from_numpy(np.zeros((1, 1), np.int64))
    with pytest.raises(InferenceServerException, match="model 'answers' expects 'BYTES'"):
        await client.infer("answers", [number])
    with pytest.raises(InferenceServerException, match="unexpected inference output"):
        await client.infer("answers", texts("why?"), outputs=[triton.InferRequestedOutput("nothing")])


async def test_a_refusal_has_the_status_that_it_has_elsewhere(client: Any, gateway: FakeGateway) -> None:
    async def full(question: Question, deadline: Deadline) -> Answer:
        raise Overloaded("full")

    gateway.behaviour = full
    for asked in (texts("one"), texts("one", "two")):
        with pytest.raises(InferenceServerException) as error:
            await client.infer("answers", asked)
        assert error.value.status() == "StatusCode.UNAVAILABLE"


async def test_the_client_without_asyncio_asks_as_well(ports: Ports) -> None:
    def ask() -> list[Any]:
        with triton.InferenceServerClient(f"127.0.0.1:{ports.grpc}") as client:
            done: queue.Queue[Any] = queue.Queue()
            client.async_infer("answers", texts("why?"), lambda result, error: done.put((result, error)))
            result, error = done.get(timeout=10)
            assert error is None
            return [*rows(client.infer("answers", texts("why?")), "route"), *rows(result, "route")]

    assert await asyncio.to_thread(ask) == ["model", "model"]


# Streams.


async def test_a_stream_answers_each_and_outlives_what_fails(ports: Ports) -> None:
    def ask() -> dict[str, Any]:
        with triton.InferenceServerClient(f"127.0.0.1:{ports.grpc}") as client:
            done: queue.Queue[Any] = queue.Queue()
            client.start_stream(lambda result, error: done.put((result, error)))
            client.async_stream_infer("answers", texts("one"), request_id="a")
            client.async_stream_infer("nobody", texts("two"), request_id="b")
            client.async_stream_infer("encoder", texts("three", name="text"), request_id="c")
            came = [done.get(timeout=10) for _ in range(3)]
            client.stop_stream()
        return {
            ("error" if error else result.get_response().id): (str(error) if error else result)
            for result, error in came
        }

    found = await asyncio.to_thread(ask)
    assert rows(found["a"], "route") == ["model"]
    assert "unknown model" in found["error"]
    assert found["c"].as_numpy("logits").tolist() == [[5, 5, 5]]


async def test_a_stream_of_the_asynchronous_client(client: Any) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for number in range(5):
            yield {"model_name": "answers", "inputs": texts(f"question {number}"), "request_id": str(number)}

    found = {}
    async for result, error in client.stream_infer(requests()):
        assert error is None
        found[result.get_response().id] = rows(result, "route")
    assert found == {str(number): ["model"] for number in range(5)}


# Statistics, and what perf_analyzer makes of them.


async def test_perf_analyzers_calls_come_to_what_it_needs(client: Any) -> None:
    """Its order of calls; and a window in which every count but the failures' grows by as many."""
    await client.get_model_metadata("answers")
    await client.get_model_config("answers")
    assert "statistics" in (await client.get_server_metadata()).extensions
    before = (await client.get_inference_statistics("answers")).model_stats[0]
    for _ in range(3):
        await client.infer("answers", texts("one", "two"))
    after = (await client.get_inference_statistics("answers")).model_stats[0]
    int(after.version)
    assert after.inference_count - before.inference_count == 6
    assert after.execution_count - before.execution_count == 3
    for name in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        grown = [getattr(one.inference_stats, name).count for one in (before, after)]
        assert grown[1] - grown[0] == 3, name
    assert after.inference_stats.compute_infer.ns == 3 * 2_000_000
    assert after.last_inference > 1_700_000_000_000
    assert [one.name for one in (await client.get_inference_statistics()).model_stats] == ["answers", "encoder"]


async def test_failures_are_counted_apart(client: Any) -> None:
    with pytest.raises(InferenceServerException):
        await client.infer("answers", texts(" "))
    (found,) = (await client.get_inference_statistics("answers")).model_stats
    assert (found.inference_stats.fail.count, found.inference_stats.success.count) == (1, 0)


def test_what_is_left_of_a_call_is_its_output() -> None:
    statistics = Statistics(lambda: 5.0)
    statistics.succeeded(2, 0.010, {"queue": 0.001, "tokenize": 0.002, "infer": 0.003, "search": 0.001})
    found = statistics.to_proto("answers", "1")
    assert (found.inference_count, found.execution_count, found.last_inference) == (2, 1, 5000)
    assert found.inference_stats.compute_output.ns == 4_000_000


# The wire.


@pytest.fixture
def infer(channel: grpc.aio.Channel) -> Any:
    call: Any = channel.unary_unary(f"/{INFERENCE}/ModelInfer")
    return partial(call, timeout=10)


def message(raw: bytes | None, contents: bytes | None = None, shape: bytes = b"\x01\x01") -> bytes:
    """By hand, field number << 3 | 2 before each length: a proto with other numbers would agree with itself."""
    tensor = b"\x0a\x08question\x12\x05BYTES\x1a" + bytes([len(shape)]) + shape
    if contents is not None:
        tensor += b"\x2a" + bytes([len(contents) + 2]) + b"\x42" + bytes([len(contents)]) + contents
    sent = b"\x0a\x07answers\x1a\x02id\x2a" + bytes([len(tensor)]) + tensor
    return sent + (b"" if raw is None else b"\x3a" + bytes([len(raw)]) + raw)


@pytest.mark.parametrize("sent", [message(b"\x02\x00\x00\x00hi"), message(None, b"hi")], ids=["raw", "typed"])
async def test_the_bytes_of_an_answer_are_those_of_the_protocol(infer: Any, gateway: FakeGateway, sent: bytes) -> None:
    came = await infer(sent)
    assert gateway.questions[0].text == "hi"
    assert came.startswith(b"\x0a\x07answers\x12\x011\x1a\x02id")
    route = b"\x0a\x05route\x12\x05BYTES\x1a\x02\x01\x01"
    assert b"\x2a" + bytes([len(route)]) + route in came
    text = ANSWER.text.encode()
    assert b"\x32" + bytes([len(text) + 4]) + struct.pack("<I", len(text)) + text in came
    assert struct.pack("<f", 0.9375) in came


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (message(b"\x02\x00\x00\x00hi", b"hi"), "contents field must not be specified"),
        (message(b"\x02\x00"), "incomplete string length indicator"),
        (message(b"\x09\x00\x00\x00hi"), "incomplete string data"),
        (message(b"\x01\x00\x00\x00h\x01\x00\x00\x00i"), "unexpected number of string elements 2"),
        (message(None), "unexpected number of string elements 0"),
        (message(b"\x01\x00\x00\x00\xff"), "is not UTF-8"),
        (message(b"", b"x", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01"), "unexpected shape"),
        (b"\xff", "is not a valid ModelInferRequest"),
    ],
)
async def test_bytes_that_are_wrong_are_the_callers_fault(infer: Any, sent: bytes, words: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=words) as error:
        await infer(sent)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_numbers_are_little_endian_rows() -> None:
    tensor = tensors.of_numbers(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32).T)
    assert (tensor.shape, tensor.data) == ((2, 2), struct.pack("<4f", 1, 3, 2, 4))
    assert pb.ModelInferResponse.DESCRIPTOR.full_name == "gateway.v1.ModelInferResponse"


# Who may.


class TestKeys:
    @pytest.fixture
    def config(self, config: Config, tmp_path: Any) -> Config:
        file = tmp_path / "callers.json"
        self.key = created(file, "--scope", "ask", "--tenant", "acme")
        return config.model_copy(update={"access": AccessSection(keys=file)})

    async def test_probes_have_no_keys_and_questions_need_one(self, client: Any, gateway: FakeGateway) -> None:
        assert await client.is_server_live()
        assert await client.is_model_ready("answers")
        assert (await client.get_model_config("answers")).config.name == "answers"
        for ask in (partial(client.infer, "answers", texts("why?")), client.get_inference_statistics):
            with pytest.raises(InferenceServerException) as error:
                await ask()
            assert error.value.status() == "StatusCode.UNAUTHENTICATED"
        shown = {"authorization": f"Bearer {self.key}"}
        await client.infer("answers", texts("why?"), headers=shown)
        assert gateway.questions[0].principal.tenant == "acme"
        with pytest.raises(InferenceServerException) as error:
            await client.infer("answers", texts("why?"), headers=shown, parameters={"tenant": "globex"})
        assert error.value.status() == "StatusCode.PERMISSION_DENIED"
        with pytest.raises(InferenceServerException) as error:
            await client.load_model("answers", headers=shown)
        assert error.value.status() == "StatusCode.PERMISSION_DENIED"


@pytest.mark.parametrize("path", [path for path in NEEDS if INFERENCE in path and "Stream" not in path])
async def test_every_method_of_the_table_is_served(channel: grpc.aio.Channel, path: str) -> None:
    call: Any = channel.unary_unary(path)
    code = await call(b"", timeout=10).code()
    assert code in (grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE)
