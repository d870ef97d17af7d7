"""Tensors on the wire of the Open Inference Protocol: texts in, and what goes out."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.errors import InvalidQuestion
from gateway.v1 import open_inference_pb2 as pb

LENGTH = struct.Struct("<I")
"""Before each element of BYTES."""
BYTES, FP32 = "BYTES", "FP32"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One that goes out; `data` is as it travels."""

    datatype: str
    shape: tuple[int, ...]
    data: bytes


def of_texts(texts: Iterable[str]) -> Tensor:
    """BYTES [n, 1]."""
    encoded = [text.encode() for text in texts]
    return Tensor(BYTES, (len(encoded), 1), b"".join(LENGTH.pack(len(one)) + one for one in encoded))


def of_numbers(rows: Sequence[NDArray[np.float32]] | NDArray[np.float32]) -> Tensor:
    """FP32 [n, size]."""
    matrix = np.ascontiguousarray(rows, "<f4")
    return Tensor(FP32, (len(matrix), matrix.shape[1]), matrix.tobytes())


def texts_in(request: pb.ModelInferRequest, name: str, model: str, most: int) -> list[str]:
    """The texts of the one input, `name`, which is BYTES [n, 1] or [n]. Raises InvalidQuestion; the words are near to
    Triton's, as clients look for some of them."""
    if len(request.inputs) != 1:
        raise InvalidQuestion("inputs", f"expected 1 inputs but got {len(request.inputs)} inputs for model '{model}'")
    tensor = request.inputs[0]
    if tensor.name != name:
        raise InvalidQuestion("inputs[0].name", f"unexpected inference input for model '{model}': it has '{name}'")
    if tensor.datatype != BYTES:
        raise InvalidQuestion("inputs[0].datatype", f"inference input '{name}': model '{model}' expects '{BYTES}'")
    count = _count(tensor.shape, name, most)
    if request.raw_input_contents:
        if tensor.HasField("contents"):
            raise InvalidQuestion(
                "inputs[0].contents",
                f"contents field must not be specified when using raw_input_contents for '{name}' for model '{model}'",
            )
        if len(request.raw_input_contents) != 1:
            raise InvalidQuestion("raw_input_contents", f"{len(request.raw_input_contents)} entries for 1 inputs")
        elements: Sequence[bytes] = list(_elements(request.raw_input_contents[0], name))
    else:
        elements = tensor.contents.bytes_contents
    if len(elements) != count:
        raise InvalidQuestion(
            "inputs[0]", f"unexpected number of string elements {len(elements)} for '{name}', expecting {count}"
        )
    try:
        return [element.decode() for element in elements]
    except UnicodeDecodeError:
        raise InvalidQuestion("inputs[0]", "is not UTF-8") from None


def _count(shape: Sequence[int], name: str, most: int) -> int:
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1) or shape[0] < 1:
        shown = ",".join(map(str, shape[:4]))
        raise InvalidQuestion("inputs[0].shape", f"unexpected shape for input '{name}': expected [-1,1], got [{shown}]")
    if shape[0] > most:
        raise InvalidQuestion("inputs[0].shape", f"inference request batch-size must be <= {most}")
    return math.prod(shape)


def _elements(data: bytes, name: str) -> Iterable[bytes]:
    at = 0
    while at < len(data):
        if at + LENGTH.size > len(data):
            raise InvalidQuestion("raw_input_contents[0]", f"incomplete string length indicator for input '{name}'")
        (length,) = LENGTH.unpack_from(data, at)
        at += LENGTH.size
        if at + length > len(data):
            raise InvalidQuestion("raw_input_contents[0]", f"incomplete string data for input '{name}'")
        yield data[at : at + length]
        at += length


def response(
    request: pb.ModelInferRequest, version: str, tensors: dict[str, Tensor], model: str
) -> pb.ModelInferResponse:
    """With the outputs that were asked for, always raw: clients read values nowhere else. Raises InvalidQuestion."""
    asked = [output.name for output in request.outputs] or list(tensors)
    made = pb.ModelInferResponse(model_name=model, model_version=version, id=request.id)
    for name in asked:
        if name not in tensors:
            raise InvalidQuestion("outputs", f"unexpected inference output for model '{model}': it has {list(tensors)}")
        tensor = tensors[name]
        made.outputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
        made.raw_output_contents.append(tensor.data)
    return made
