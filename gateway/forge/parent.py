"""A bundle read back: the shape and the weights of the student that it was made from, out of its fp32 graph.

Layers' matrices and token embeddings come back as they are served, on the 8-bit grid that training has put them on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from gateway.errors import BundleInvalid
from gateway.forge.graph import LINEAR_PARTS, Weights
from gateway.forge.recalibrate import outputs
from gateway.forge.shape import Shape
from gateway.model.bundle import TOKENIZER, Bundle, Precision
from gateway.model.packing import Tokenization
from gateway.types import Matrix

GRAPH: Precision = "fp32"
POOLED = "pooled.both"
"""In the graph: the mean and the first of a question's last hidden states, which the answer head reads."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A student as its bundle has it: `weights` by their names in torch, `labels` in the order of its logits."""

    id: str
    sha256: str
    """Of the manifest, which vouches for everything else."""
    shape: Shape
    labels: tuple[str, ...]
    weights: Weights


def read(bundle: Bundle) -> Parent:
    """What the verified `bundle` was made from. BundleInvalid if it has no fp32 graph of ours."""
    model = _graph(bundle)
    stored = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    try:
        shape = _shape(model, stored, bundle.manifest.layers)
        weights = unmerge(_floats(stored), shape.num_hidden_layers)
    except KeyError as error:
        raise BundleInvalid(f"{bundle.folder}: its {GRAPH} graph lacks {error}: the forge did not write it") from None
    labels = tuple(label.name for label in bundle.manifest.labels)
    return Parent(bundle.id, bundle.manifest_sha256, shape, labels, weights)


def pooled(bundle: Bundle) -> Callable[[Sequence[str]], Matrix]:
    """texts -> what its answer head reads [texts, 2 * hidden], by the fp32 graph on CPU."""
    model = _graph(bundle)
    width = 2 * bundle.manifest.dim
    model.graph.output.append(helper.make_tensor_value_info(POOLED, TensorProto.FLOAT, ["questions", width]))
    tokenization = Tokenization(bundle.path(TOKENIZER), bundle.manifest.max_tokens)
    run = outputs(model.SerializeToString(), tokenization, (POOLED,))
    return lambda texts: run(texts)[0]


def _graph(bundle: Bundle) -> onnx.ModelProto:
    variant = bundle.manifest.variants.get(GRAPH)
    if variant is None:
        raise BundleInvalid(f"{bundle.folder}: has no {GRAPH} graph, which a student can be read from")
    return onnx.load(bundle.path(variant.graph))


def unmerge(merged: Mapping[str, NDArray[np.float32]], layers: int) -> Weights:
    """A Student's state from weights by graph name: the inverse of `graph.merge`. KeyError for what is missing."""
    found = {"tokens.weight": merged["tokens"], "positions.weight": merged["places"]}
    for name in ("norm", *(f"layers.{i}.{part}" for i in range(layers) for part in ("attention_norm", "norm"))):
        found[f"{name}.weight"], found[f"{name}.bias"] = merged[f"{name}.weight"], merged[f"{name}.bias"]
    for i in range(layers):
        at = f"layers.{i}"
        three = (f"{at}.query", f"{at}.key", f"{at}.value")
        matrices = np.split(merged[f"{at}.qkv.weight"], len(three), axis=1)
        biases = np.split(merged[f"{at}.qkv.bias"], len(three))
        for name, matrix, bias in zip(three, matrices, biases, strict=True):
            found[f"{name}.weight"], found[f"{name}.bias"] = matrix.T, bias
        for name in (f"{at}.{part}" for part in LINEAR_PARTS[1:]):
            found[f"{name}.weight"], found[f"{name}.bias"] = merged[f"{name}.weight"].T, merged[f"{name}.bias"]
    for name in ("widen", "answer"):
        found[f"{name}.weight"], found[f"{name}.bias"] = merged[f"{name}.weight"].T, merged[f"{name}.bias"]
    found["retrieval.weight"] = merged["retrieval.weight"].T
    return {name: np.ascontiguousarray(value, np.float32) for name, value in found.items()}


def _floats(stored: Mapping[str, NDArray[Any]]) -> Weights:
    """With the matrices that are stored in 8 bits unpacked: `NAME.int8` times `NAME.scale`."""
    packed = {name.removesuffix(".int8") for name in stored if name.endswith(".int8")}
    found = {name: value for name, value in stored.items() if value.dtype == np.float32}
    return found | {name: np.float32(stored[f"{name}.int8"]) * stored[f"{name}.scale"] for name in packed}


def _shape(model: onnx.ModelProto, stored: Mapping[str, NDArray[Any]], layers: int) -> Shape:
    vocabulary, hidden = stored["tokens.int8"].shape
    norm = next(node for node in model.graph.node if node.op_type == "LayerNormalization")
    return Shape(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=int(stored["tail"][0]),
        intermediate_size=len(stored["layers.0.up.bias"]),
        max_position_embeddings=len(stored["places"]),
        layer_norm_eps=next(one.f for one in norm.attribute if one.name == "epsilon"),
    )
