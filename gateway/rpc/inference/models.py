"""The two models that clients of the Open Inference Protocol see: `answers`, the whole cascade, and `encoder`."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.rpc.inference.tensors import BYTES, FP32
from gateway.v1 import open_inference_pb2 as pb

MOST = 256
"""Texts of one request."""
TYPES = {BYTES: pb.TYPE_STRING, FP32: pb.TYPE_FP32}


@dataclass(frozen=True, slots=True)
class Output:
    """`size` of each row; -1: it depends on the bundle."""

    name: str
    datatype: str
    size: int = 1


@dataclass(frozen=True, slots=True)
class Model:
    """One text in for each row, under the name of `input`."""

    name: str
    platform: str
    input: str
    outputs: tuple[Output, ...]

    def metadata(self, version: str) -> pb.ModelMetadataResponse:
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=self.name,
            versions=[version],
            platform=self.platform,
            inputs=[tensor(name=self.input, datatype=BYTES, shape=(-1, 1))],
            outputs=[tensor(name=one.name, datatype=one.datatype, shape=(-1, one.size)) for one in self.outputs],
        )

    def config(self) -> pb.ModelConfig:
        return pb.ModelConfig(
            name=self.name,
            platform=self.platform,
            backend="gateway",
            max_batch_size=MOST,
            input=[pb.ModelInput(name=self.input, data_type=pb.TYPE_STRING, dims=[1])],
            output=[
                pb.ModelOutput(name=one.name, data_type=TYPES[one.datatype], dims=[one.size]) for one in self.outputs
            ],
            dynamic_batching=pb.ModelDynamicBatching(),
        )


ANSWERS = Model(
    "answers",
    "gateway_cascade",
    "question",
    (
        Output("text", BYTES),
        Output("route", BYTES),
        Output("reason", BYTES),
        Output("confidence", FP32),
        Output("label", BYTES),
        Output("document_id", BYTES),
        Output("citations", BYTES),
    ),
)
"""One model and no ensemble: what the cascade skips would be missing from an ensemble's statistics."""
ENCODER = Model("encoder", "gateway_encoder", "text", (Output("embedding", FP32, -1), Output("logits", FP32, -1)))
MODELS = {one.name: one for one in (ANSWERS, ENCODER)}


def version_of(bundle: str) -> str:
    """Of name/version. Clients want a number."""
    version = bundle.rpartition("/")[2]
    return version if version.isascii() and version.isdigit() else "1"
