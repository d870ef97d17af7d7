"""An 8-bit graph whose sums of products cannot saturate: what a CPU with VNNI gives, on any CPU.

Weights are int8 and activations uint8, and where a CPU adds two of their products in 16 bits, what does not fit is cut
off without an error. For uint8 by uint8 there is no such short cut: with 128 added to the weights, and taken off again
as their zero point, every sum is the same number, and exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from gateway.forge.asking import Run
from gateway.model.packing import Tokenization, pack
from gateway.types import Matrix

PRODUCT = "MatMulIntegerToFloat"
WEIGHTS, WEIGHTS_ZERO = 1, 5
"""Places among the inputs of a PRODUCT."""
ZERO = "exact.zero"


def runner(path: Path, tokenization: Tokenization) -> Run:
    """texts -> (logits, embeddings), by the 8-bit graph in `path`, each question by itself."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(exact(path), options, providers=["CPUExecutionProvider"])

    def run(texts: Sequence[str]) -> tuple[Matrix, Matrix]:
        found = [
            session.run(["logits", "embedding"], pack([question]).inputs())
            for question in tokenization.encode_all(texts)
        ]
        logits, embeddings = (np.concatenate(some) for some in zip(*found, strict=True))
        return logits, embeddings

    return run


def exact(path: Path) -> bytes:
    """The graph in `path` with its weights inside, as uint8."""
    model = onnx.load(path)
    weights = {one.name: one for one in model.graph.initializer}
    made_by = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type == PRODUCT:
            source = node.input[WEIGHTS]
            while source not in weights:  # as they lie transposed in the file
                source = made_by[source].input[0]
            _shift(weights[source])
            inputs = [*node.input, *[""] * WEIGHTS_ZERO][: max(len(node.input), WEIGHTS_ZERO + 1)]
            inputs[WEIGHTS_ZERO] = ZERO
            del node.input[:]
            node.input.extend(inputs)
    model.graph.initializer.append(numpy_helper.from_array(np.array(128, np.uint8), ZERO))
    return bytes(model.SerializeToString())


def _shift(tensor: onnx.TensorProto) -> None:
    """From int8 to uint8, once: several products may share weights."""
    values = numpy_helper.to_array(tensor)
    if values.dtype == np.int8:
        tensor.CopyFrom(numpy_helper.from_array((values.astype(np.int16) + 128).astype(np.uint8), tensor.name))
