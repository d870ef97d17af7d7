"""`inference.GRPCInferenceService`: the gateway for unmodified clients of Triton, KServe and MLServer.

Every question goes the way of Answers.Answer: the same checks, permits, admission, metrics and audit log.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gateway.convert import REASON_FROM_PROTO, ROUTE_FROM_PROTO
from gateway.deadline import Clock
from gateway.errors import InvalidQuestion, PermissionDenied, Unavailable, UnknownModel
from gateway.rpc.admission import Admission
from gateway.rpc.handler import Call, Method
from gateway.rpc.inference.models import ANSWERS, ENCODER, MODELS, MOST, Model, version_of
from gateway.rpc.inference.parameters import Wanted, timeout_in, wanted_in
from gateway.rpc.inference.statistics import Statistics
from gateway.rpc.inference.tensors import Tensor, of_numbers, of_texts, response, texts_in
from gateway.rpc.service import Gateway
from gateway.rpc.status import Refusal
from gateway.rpc.streams import StreamMethod
from gateway.rpc.validate import NAME, check_text, is_request_id
from gateway.types import Denial, Prediction
from gateway.v1 import gateway_pb2
from gateway.v1 import open_inference_pb2 as pb

INFERENCE = "inference.GRPCInferenceService"
EXTENSIONS = ("statistics", "model_configuration", "parameters")

Answered = Callable[[gateway_pb2.AnswerRequest, Call, str], Awaitable[gateway_pb2.AnswerResponse]]
Computed = tuple[dict[str, Tensor], str, dict[str, float]]
"""The tensors, the bundle that made them, and the stages of one text."""


class Inference:
    """`answered` answers one question, as `Answers.answered`. `is_believed`: callers have no credentials, and say
    themselves whose tenant they are. `most_characters` of one text."""

    def __init__(
        self,
        gateway: Gateway,
        answered: Answered,
        admission: Admission,
        is_ready: Callable[[], bool],
        *,
        most_characters: int,
        is_believed: bool,
        clock: Clock = time.monotonic,
    ) -> None:
        self._gateway = gateway
        self._answered = answered
        self._admission = admission
        self._is_ready = is_ready
        self._most_characters = most_characters
        self._is_believed = is_believed
        self._clock = clock
        self._statistics = {name: Statistics() for name in MODELS}
        self._compute = {ANSWERS.name: self._answers, ENCODER.name: self._encodings}

    def methods(self) -> list[Method[Any, Any]]:
        def method(name: str, request: type[Any], behaviour: Any, questions: Any = lambda _: 0) -> Method[Any, Any]:
            return Method(INFERENCE, name, request, behaviour, questions)

        return [
            method("ServerLive", pb.ServerLiveRequest, self.server_live),
            method("ServerReady", pb.ServerReadyRequest, self.server_ready),
            method("ModelReady", pb.ModelReadyRequest, self.model_ready),
            method("ServerMetadata", pb.ServerMetadataRequest, self.server_metadata),
            method("ModelMetadata", pb.ModelMetadataRequest, self.model_metadata),
            method("ModelConfig", pb.ModelConfigRequest, self.model_config),
            method("ModelInfer", pb.ModelInferRequest, self.infer, _rows),
            method("ModelStatistics", pb.ModelStatisticsRequest, self.model_statistics),
            method("RepositoryIndex", pb.RepositoryIndexRequest, self.repository_index),
            method("RepositoryModelLoad", pb.RepositoryModelLoadRequest, self.load),
            method("RepositoryModelUnload", pb.RepositoryModelUnloadRequest, self.load),
        ]

    def streams(self) -> list[StreamMethod[Any, Any]]:
        return [
            StreamMethod(
                INFERENCE,
                "ModelStreamInfer",
                pb.ModelInferRequest,
                self.infer_streamed,
                timeout_in,
                _failed,
                questions=_rows,
            )
        ]

    # -- what is told of models ---------------------------------------------------------------------------------------

    async def server_live(self, _: pb.ServerLiveRequest, call: Call) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _: pb.ServerReadyRequest, call: Call) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._is_ready())

    async def model_ready(self, request: pb.ModelReadyRequest, call: Call) -> pb.ModelReadyResponse:
        """False, and no error, for a model that nobody knows."""
        try:
            self._model(request.name, request.version)
        except UnknownModel:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=self._is_ready())

    async def server_metadata(self, _: pb.ServerMetadataRequest, call: Call) -> pb.ServerMetadataResponse:
        version = importlib.metadata.version("cascade-gateway")
        return pb.ServerMetadataResponse(name="cascade-gateway", version=version, extensions=EXTENSIONS)

    async def model_metadata(self, request: pb.ModelMetadataRequest, call: Call) -> pb.ModelMetadataResponse:
        return self._model(request.name, request.version).metadata(self._version())

    async def model_config(self, request: pb.ModelConfigRequest, call: Call) -> pb.ModelConfigResponse:
        return pb.ModelConfigResponse(config=self._model(request.name, request.version).config())

    async def model_statistics(self, request: pb.ModelStatisticsRequest, call: Call) -> pb.ModelStatisticsResponse:
        named = [self._model(request.name, request.version)] if request.name else list(MODELS.values())
        version = self._version()
        found = [self._statistics[one.name].to_proto(one.name, version) for one in named]
        return pb.ModelStatisticsResponse(model_stats=found)

    async def repository_index(self, request: pb.RepositoryIndexRequest, call: Call) -> pb.RepositoryIndexResponse:
        is_ready, version = self._is_ready(), self._version()
        if request.ready and not is_ready:
            return pb.RepositoryIndexResponse()
        index, state = pb.RepositoryIndexResponse.ModelIndex, "READY" if is_ready else "UNAVAILABLE"
        return pb.RepositoryIndexResponse(models=[index(name=name, version=version, state=state) for name in MODELS])

    async def load(self, request: object, call: Call) -> Any:
        raise Unavailable("explicit model load / unload is not allowed: `gateway swap` serves another bundle")

    def _version(self) -> str:
        return version_of(self._gateway.describe().bundle)

    def _model(self, name: str, version: str) -> Model:
        """Raises UnknownModel, and InvalidQuestion for a version that is no number."""
        if version and not (version.isascii() and version.isdigit()):
            raise InvalidQuestion("version", "must be a number, or empty")
        if name not in MODELS or (version and version != self._version()):
            raise UnknownModel(
                f"Request for unknown model: there are {', '.join(MODELS)}, at version {self._version()}"
            )
        return MODELS[name]

    # -- inference ----------------------------------------------------------------------------------------------------

    async def infer(self, request: pb.ModelInferRequest, call: Call) -> pb.ModelInferResponse:
        started = self._clock()
        model = self._model(request.model_name, request.model_version)
        statistics = self._statistics[model.name]
        try:
            texts = texts_in(request, model.input, model.name, MOST)
            wanted = wanted_in(request.parameters)
            tensors, bundle, stages = await self._compute[model.name](texts, wanted, self._as(call, wanted), request.id)
            made = response(request, version_of(bundle), tensors, model.name)
        except Exception:
            statistics.failed(self._clock() - started)
            raise
        statistics.succeeded(len(texts), self._clock() - started, stages)
        return made

    async def infer_streamed(self, request: pb.ModelInferRequest, call: Call) -> pb.ModelStreamInferResponse:
        return pb.ModelStreamInferResponse(infer_response=await self.infer(request, call))

    def _as(self, call: Call, wanted: Wanted) -> Call:
        """The call with the deadline and the tenant of its parameters. Raises PermissionDenied, InvalidQuestion."""
        if wanted.timeout is not None:
            at = min(call.deadline.at, call.deadline.clock() + wanted.timeout)
            call = replace(call, deadline=replace(call.deadline, at=at))
        if wanted.tenant and wanted.tenant != call.caller.principal.tenant:
            if not self._is_believed:
                raise PermissionDenied(
                    Denial.TENANT, "parameters.tenant: is not the credentials'; x-tenant chooses among theirs"
                )
            if not NAME.fullmatch(wanted.tenant):
                raise InvalidQuestion("parameters.tenant", "is no name of a tenant")
            principal = replace(call.caller.principal, tenant=wanted.tenant)
            call = replace(call, caller=replace(call.caller, principal=principal))
        return call

    async def _answers(self, texts: Sequence[str], wanted: Wanted, call: Call, request_id: str) -> Computed:
        known_id = request_id if is_request_id(request_id) else ""

        def answer(at: int, text: str) -> Awaitable[gateway_pb2.AnswerResponse]:
            request = gateway_pb2.AnswerRequest(
                question=text,
                collection=wanted.collection,
                policy=wanted.policy,  # type: ignore[arg-type]
                max_citations=wanted.max_citations,
                request_id=known_id,
            )
            return self._answered(request, call, f"inputs[0][{at}].")

        made = await _each([answer(at, text) for at, text in enumerate(texts)])
        tensors = {
            "text": of_texts(one.text for one in made),
            "route": of_texts(ROUTE_FROM_PROTO[one.route].value for one in made),
            "reason": of_texts(REASON_FROM_PROTO[one.reason].value for one in made),
            "confidence": of_numbers(np.array([[one.confidence] for one in made], np.float32)),
            "label": of_texts(one.label for one in made),
            "document_id": of_texts(one.document_id for one in made),
            "citations": of_texts(_citations(one) for one in made),
        }
        return tensors, made[0].bundle, {stage.name: stage.seconds for stage in made[0].timings}

    async def _encodings(self, texts: Sequence[str], wanted: Wanted, call: Call, request_id: str) -> Computed:
        async def predict(at: int, text: str) -> Prediction:
            check_text(f"inputs[0][{at}]", text, self._most_characters)
            with self._admission.admit(call.caller, len(text), call.deadline):
                return await self._gateway.predict(text, call.deadline, call.caller.principal.tenant)

        made = await _each([predict(at, text) for at, text in enumerate(texts)])
        tensors = {
            "embedding": of_numbers([one.embedding for one in made]),
            "logits": of_numbers([one.logits for one in made]),
        }
        return tensors, self._gateway.describe().bundle, made[0].timings


async def _each(work: Sequence[Awaitable[Any]]) -> list[Any]:
    """All of them, or the first error: there is no way to say that one of a batch failed."""
    if len(work) == 1:
        return [await work[0]]
    made = await asyncio.gather(*work, return_exceptions=True)
    for one in made:
        if isinstance(one, BaseException):
            raise one
    return made


def _citations(answer: gateway_pb2.AnswerResponse) -> str:
    """A JSON array."""
    return json.dumps(
        [
            {
                "document_id": one.document_id,
                "title": one.title,
                "uri": one.uri,
                "start": one.start,
                "end": one.end,
                "quote": one.quote,
            }
            for one in answer.citations
        ],
        ensure_ascii=False,
    )


def _rows(request: pb.ModelInferRequest) -> int:
    """How many texts it says that it holds; that is checked later."""
    shape = request.inputs[0].shape if request.inputs else ()
    return max(1, min(shape[0], MOST)) if shape else 1


def _failed(request: pb.ModelInferRequest, refusal: Refusal, _: int) -> pb.ModelStreamInferResponse:
    return pb.ModelStreamInferResponse(
        error_message=refusal.message, infer_response=pb.ModelInferResponse(id=getattr(request, "id", ""))
    )
