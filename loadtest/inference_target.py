"""Servers of the Open Inference Protocol (v2) as targets: Triton and MLServer."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio

from gateway.v1 import open_inference_pb2 as pb
from loadtest.targets import NO_MESSAGE, OK, OPEN, Access, Metadata, Outcome, connect, disconnect, failed

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
MODEL = "m"
"""The name under which the peers serve their model."""


class OpenInferenceTarget:
    """`ModelInfer` of the Open Inference Protocol: one BYTES input `text` of shape [1, 1].

    `is_raw` chooses how its value travels: in `raw_input_contents`, which Triton reads, or in typed `contents`.
    """

    def __init__(self, address: str, channels: int, access: Access = OPEN, *, is_raw: bool) -> None:
        self._is_raw = is_raw
        self._channels = connect(address, channels, access)
        self._shown = access.metadata
        self._calls: Iterator[Any] = itertools.cycle(
            [
                channel.unary_unary(
                    MODEL_INFER,
                    request_serializer=pb.ModelInferRequest.SerializeToString,
                    response_deserializer=pb.ModelInferResponse.FromString,
                )
                for channel in self._channels
            ]
        )

    async def send(self, question: str, timeout: float, metadata: Metadata) -> Outcome:  # noqa: ASYNC109
        request = infer_request(question, is_raw=self._is_raw)
        try:
            response = await next(self._calls)(request, timeout=timeout, metadata=(*self._shown, *metadata))
        except grpc.aio.AioRpcError as error:
            return failed(error)
        if response is None:
            return NO_MESSAGE
        # An answer that holds nothing is none.
        return Outcome(OK if response.outputs else grpc.StatusCode.DATA_LOSS.name)

    async def close(self) -> None:
        await disconnect(self._channels)


def infer_request(question: str, *, is_raw: bool) -> pb.ModelInferRequest:
    """The request for one question, its text as a raw or as a typed element."""
    data = question.encode()
    tensor = pb.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=(1, 1))
    if is_raw:
        return pb.ModelInferRequest(
            model_name=MODEL, inputs=[tensor], raw_input_contents=[struct.pack("<I", len(data)) + data]
        )
    tensor.contents.bytes_contents.append(data)
    return pb.ModelInferRequest(model_name=MODEL, inputs=[tensor])
