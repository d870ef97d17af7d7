"""The ONNX graphs of a student: packed or padded layout, in 8-bit, half or full precision.

Every graph is written by hand, operator by operator: about 60 nodes a layer less than a traced one, no dynamic-shape
arithmetic, and the places where precision changes are where we put them.

8-bit means: weights as int8 with a scale for each output column; activations as uint8 with a scale for each token,
found on the fly. A scale for the whole tensor, which is what the usual dynamic quantisation takes, would make an answer
depend on its neighbours in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from gateway.forge.shape import Shape

Precision = Literal["int8", "fp16", "fp32"]
Layout = Literal["packed", "padded"]
Weights = dict[str, NDArray[np.float32]]

OPSET = 20  # the first with Gelu as an operator of its own
ORT_DOMAIN = "com.microsoft"  # ONNX Runtime's own operators
IR_VERSION = 9  # read by every ONNX Runtime since 1.17
LINEAR_PARTS = ("qkv", "attention_out", "up", "down")
SMALLEST_SCALE = 1e-8  # keeps a row of zeros from dividing by zero
GELU_LOWEST, GELU_ZERO = 0.17, 16  # Gelu's minimum is -0.16997; its zero point among the 256 steps
MASKED = -30000.0  # far below any score, and still a number in half precision


@dataclass(frozen=True, slots=True)
class Quantised:
    """int8 `values` with one float32 `scale` for each column, [columns] (weights), or row, [rows, 1] (embeddings)."""

    values: NDArray[np.int8]
    scale: NDArray[np.float32]

    @staticmethod
    def of(matrix: NDArray[np.float32], axis: int) -> Quantised:
        """`matrix` with the scale taken along `axis`, which keeps a length of 1. Symmetric, rounded to nearest."""
        scale = np.maximum(np.abs(matrix).max(axis=axis, keepdims=True) / 127, SMALLEST_SCALE).astype(np.float32)
        return Quantised(np.rint(matrix / scale).astype(np.int8), scale)

    def floats(self) -> NDArray[np.float32]:
        return np.asarray(self.values * self.scale, np.float32)


def merge(weights: Weights, layers: int) -> Weights:
    """Weights by graph name from a Student's state: linears as [in, out]; query, key and value side by side."""
    merged = {"tokens": weights["tokens.weight"], "places": weights["positions.weight"]}
    for name in ("norm", *(f"layers.{i}.{part}" for i in range(layers) for part in ("attention_norm", "norm"))):
        merged[f"{name}.weight"], merged[f"{name}.bias"] = weights[f"{name}.weight"], weights[f"{name}.bias"]
    for i in range(layers):
        at = f"layers.{i}"
        three = [f"{at}.{part}" for part in ("query", "key", "value")]
        merged[f"{at}.qkv.weight"] = np.concatenate([weights[f"{one}.weight"].T for one in three], axis=1)
        merged[f"{at}.qkv.bias"] = np.concatenate([weights[f"{one}.bias"] for one in three])
        for part in LINEAR_PARTS[1:]:
            merged[f"{at}.{part}.weight"] = weights[f"{at}.{part}.weight"].T
            merged[f"{at}.{part}.bias"] = weights[f"{at}.{part}.bias"]
    for part in ("widen", "answer"):
        merged[f"{part}.weight"], merged[f"{part}.bias"] = weights[f"{part}.weight"].T, weights[f"{part}.bias"]
    merged["retrieval.weight"] = weights["retrieval.weight"].T
    return {name: np.ascontiguousarray(value, np.float32) for name, value in merged.items()}


def quantise(merged: Weights) -> dict[str, Quantised]:
    """The large matrices in 8 bits: layers and tokens. Heads, positions, norms and biases stay as they are."""
    found = {}
    for name in filter(_is_layer_matrix, merged):
        columns = Quantised.of(merged[name], axis=0)
        found[name] = Quantised(columns.values, columns.scale.reshape(-1))
    found["tokens"] = Quantised.of(merged["tokens"], axis=1)
    return found


def _is_layer_matrix(name: str) -> bool:
    return name.startswith("layers.") and name.endswith(".weight") and name.split(".")[2] in LINEAR_PARTS


@dataclass
class Builder:
    """Nodes and initialisers of one graph. Weights stored in 8 bits are unpacked by the graph itself."""

    shape: Shape
    merged: Weights
    stored: dict[str, Quantised]
    precision: Precision
    layout: Layout
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)

    @property
    def dtype(self) -> type:
        return np.float16 if self.precision == "fp16" else np.float32

    @property
    def onnx_dtype(self) -> int:
        return int(TensorProto.FLOAT16 if self.precision == "fp16" else TensorProto.FLOAT)

    # -- primitives ---------------------------------------------------------------------------------------------------

    def node(self, kind: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, domain=domain, **attributes))
        return output

    def constant(self, name: str, value: NDArray[np.generic] | Sequence[int] | float) -> str:
        if isinstance(value, float):
            value = np.asarray(value, self.dtype)
        elif not isinstance(value, np.ndarray):
            value = np.asarray(value, np.int64)
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def small(self, name: str) -> str:
        """A weight that is kept in the graph's own precision."""
        if self.precision == "fp16":
            # stored once, in full, for all graphs of a bundle; ORT folds the cast at load
            return self.once("Cast", [self.constant(name, self.merged[name])], f"{name}.half", to=TensorProto.FLOAT16)
        return self.constant(name, self.merged[name])

    def once(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        if all(node.output[0] != output for node in self.nodes):
            self.node(kind, inputs, output, **attributes)
        return output

    def matrix(self, name: str) -> str:
        """A layer's matrix in the graph's float type."""
        if name not in self.stored:
            return self.small(name)
        values = self.constant(f"{name}.int8", self.stored[name].values)
        scale = self.constant(f"{name}.scale", self.stored[name].scale)
        wide = self.node("Cast", [values], f"{name}.wide", to=TensorProto.FLOAT)
        full = self.node("Mul", [wide, scale], f"{name}.full")
        if self.precision == "fp32":
            return full
        return self.node("Cast", [full], f"{name}.half", to=TensorProto.FLOAT16)

    # -- parts --------------------------------------------------------------------------------------------------------

    def linear(self, hidden: str, name: str, out: str) -> str:
        """`hidden` [tokens, in] times the layer's matrix plus its bias."""
        bias = self.small(f"{name}.bias")
        if self.precision != "int8":
            product = self.node("MatMul", [hidden, self.matrix(f"{name}.weight")], f"{out}.product")
            return self.node("Add", [product, bias], out)
        row_scale, zero = self.row_scale(hidden, out, positive=name.endswith(".down"))
        # One vector of zero points for all layers: QuantizeLinear wants as many as scales.
        zeros = self.once("Expand", [zero, self.once("Shape", ["ids.flat"], "tokens.count")], f"{zero}.all")
        flat_scale = self.node("Squeeze", [row_scale, self.constant("last", [-1])], f"{out}.scale")
        rounded = self.node("QuantizeLinear", [hidden, flat_scale, zeros], f"{out}.uint8", axis=0)
        values = self.constant(f"{name}.weight.int8", self.stored[f"{name}.weight"].values)
        columns = self.constant(f"{name}.weight.scale", self.stored[f"{name}.weight"].scale)
        # The product and the columns' scales in one kernel. Its scale of rows is a scalar: ours is a Mul of its own.
        product = self.node(
            "MatMulIntegerToFloat",
            [rounded, values, self.constant("unit", 1.0), columns, zero],
            f"{out}.columns",
            domain=ORT_DOMAIN,
        )
        return self.node("Add", [self.node("Mul", [product, row_scale], f"{out}.rows"), bias], out)

    def row_scale(self, hidden: str, out: str, positive: bool) -> tuple[str, str]:
        """(scale of each token [tokens, 1], zero point). uint8, because ORT multiplies int8 by int8 23 times slower.

        What comes out of Gelu is never under -0.17: there the zero point sits low, and twice the steps are left for the
        values above it.
        """
        last = self.constant("last", [-1])
        if positive:
            largest = self.node("ReduceMax", [hidden, last], f"{out}.max", keepdims=1)
            scaled = self.node("Mul", [largest, self.constant("step.gelu", 1 / (255 - GELU_ZERO))], f"{out}.step")
            lowest = self.constant("smallest.gelu", GELU_LOWEST / GELU_ZERO)
            zero = self.constant("zero.gelu", np.asarray(GELU_ZERO, np.uint8))
        else:
            largest = self.node("ReduceMax", [self.node("Abs", [hidden], f"{out}.abs"), last], f"{out}.max", keepdims=1)
            scaled = self.node("Mul", [largest, self.constant("step", 1 / 127)], f"{out}.step")
            lowest = self.constant("smallest", SMALLEST_SCALE)
            zero = self.constant("zero", np.asarray(128, np.uint8))
        return self.node("Max", [scaled, lowest], f"{out}.row"), zero

    def norm(self, hidden: str, name: str, out: str) -> str:
        return self.node(
            "LayerNormalization",
            [hidden, self.small(f"{name}.weight"), self.small(f"{name}.bias")],
            out,
            axis=-1,
            epsilon=self.shape.layer_norm_eps,
        )

    def tokens(self, ids: str) -> str:
        """Token embeddings of flat `ids` [tokens]; in 8 bits the rows are fetched before they are unpacked."""
        if "tokens" not in self.stored:
            return self.node("Gather", [self.small("tokens"), ids], "tokens.rows", axis=0)
        values = self.constant("tokens.int8", self.stored["tokens"].values)
        scales = self.constant("tokens.scale", self.stored["tokens"].scale)
        wide = self.node(
            "Cast", [self.node("Gather", [values, ids], "tokens.some", axis=0)], "tokens.wide", to=TensorProto.FLOAT
        )
        full = self.node("Mul", [wide, self.node("Gather", [scales, ids], "tokens.some.scale", axis=0)], "tokens.full")
        return full if self.precision != "fp16" else self.node("Cast", [full], "tokens.rows", to=TensorProto.FLOAT16)

    def heads(self, flat: str, shape: str, out: str, transposed: bool = False) -> str:
        """[tokens, hidden] as [rows, heads, tokens, width], or with the last two exchanged."""
        apart = self.node("Reshape", [flat, shape], f"{out}.apart")
        return self.node("Transpose", [apart], out, perm=[0, 2, 3, 1] if transposed else [0, 2, 1, 3])

    def layer(self, hidden: str, number: int, mask: str, split_shape: str) -> str:
        at = f"layers.{number}"
        width = self.shape.hidden_size // self.shape.num_attention_heads
        qkv = self.linear(hidden, f"{at}.qkv", f"{at}.qkv.out")
        sizes = self.constant("qkv.sizes", [self.shape.hidden_size] * 3)
        parts = [f"{at}.q", f"{at}.k", f"{at}.v"]
        self.nodes.append(helper.make_node("Split", [qkv, sizes], parts, name=f"{at}.split", axis=-1))
        query = self.heads(parts[0], split_shape, f"{at}.query")
        key = self.heads(parts[1], split_shape, f"{at}.key", transposed=True)
        value = self.heads(parts[2], split_shape, f"{at}.value")
        query = self.node("Mul", [query, self.constant("query.scale", width**-0.5)], f"{at}.query.scaled")
        scores = self.node("Add", [self.node("MatMul", [query, key], f"{at}.scores.raw"), mask], f"{at}.scores")
        mixed = self.node("MatMul", [self.node("Softmax", [scores], f"{at}.attention", axis=-1), value], f"{at}.mixed")
        together = self.node("Transpose", [mixed], f"{at}.together", perm=[0, 2, 1, 3])
        flat = self.node("Reshape", [together, self.constant("flat.shape", [-1, self.shape.hidden_size])], f"{at}.flat")
        out = self.linear(flat, f"{at}.attention_out", f"{at}.attention_out.out")
        hidden = self.norm(self.node("Add", [hidden, out], f"{at}.first"), f"{at}.attention_norm", f"{at}.attended")
        grown = self.node("Gelu", [self.linear(hidden, f"{at}.up", f"{at}.up.out")], f"{at}.grown")
        down = self.linear(grown, f"{at}.down", f"{at}.down.out")
        return self.norm(self.node("Add", [hidden, down], f"{at}.second"), f"{at}.norm", f"{at}.out")

    def attention_mask(self, owner: str) -> str:
        """[rows, 1, tokens, tokens]: 0 between tokens of the same question of a row, far below zero elsewhere."""
        across = self.node("Unsqueeze", [owner, self.constant("axes.across", [1, 2])], "owner.across")
        down = self.node("Unsqueeze", [owner, self.constant("axes.down", [1, 3])], "owner.down")
        same = self.node("Equal", [across, down], "owner.same")
        return self.node("Where", [same, self.constant("open", 0.0), self.constant("masked", MASKED)], "mask")

    def pool(self, hidden: str, owner: str, flat_positions: str) -> tuple[str, str]:
        """The mean and the first of the tokens of each question, [questions, hidden], as products with 0/1 matrices."""
        flat_owner = self.node("Reshape", [owner, self.constant("everything", [-1])], "owner.flat")
        last = self.node("ReduceMax", [flat_owner], "owner.last", keepdims=0)
        one, zero = self.constant("one", np.asarray(1)), self.constant("nought", np.asarray(0))
        count = self.node("Add", [last, one], "questions")
        numbers = self.node("Range", [zero, count, one], "numbers")
        column = self.node("Unsqueeze", [numbers, self.constant("last", [-1])], "numbers.column")
        belongs = self.node(
            "Cast", [self.node("Equal", [column, flat_owner], "belongs.bool")], "belongs", to=self.onnx_dtype
        )
        total = self.node("MatMul", [belongs, hidden], "pooled.sum")
        lengths = self.node("ReduceSum", [belongs, self.constant("last", [-1])], "lengths", keepdims=1)
        opens = self.node(
            "Cast", [self.node("Equal", [flat_positions, zero], "opens.bool")], "opens", to=self.onnx_dtype
        )
        first = self.node("MatMul", [self.node("Mul", [belongs, opens], "opening"), hidden], "first")
        return self.node("Div", [total, lengths], "pooled"), first

    def outputs(self, pooled: str, first: str) -> None:
        """float32 `logits` and unit-length float32 `embedding`."""
        both = self.node("Concat", [pooled, first], "pooled.both", axis=1)
        wide = self.node("MatMul", [both, self.small("widen.weight")], "widen.raw")
        wide = self.node("Gelu", [self.node("Add", [wide, self.small("widen.bias")], "widen.sum")], "widen.out")
        raw = self.node("MatMul", [wide, self.small("answer.weight")], "logits.raw")
        logits = self.node("Add", [raw, self.small("answer.bias")], "logits.own")
        projected = self.node("MatMul", [pooled, self.small("retrieval.weight")], "embedding.own")
        self.node("Cast", [logits], "logits", to=TensorProto.FLOAT)
        projected = self.node("Cast", [projected], "embedding.wide", to=TensorProto.FLOAT)
        self.node("LpNormalization", [projected], "embedding", axis=-1, p=2)

    # -- the whole ----------------------------------------------------------------------------------------------------

    def build(self) -> onnx.ModelProto:
        names = ["ids", "positions", "question"] if self.layout == "packed" else ["input_ids", "attention_mask"]
        ids = names[0]
        owner, positions = (names[2], names[1]) if self.layout == "packed" else self._padded_inputs()
        size = self.node("Shape", [ids], "size")
        tail = self.constant(
            "tail", [self.shape.num_attention_heads, self.shape.hidden_size // self.shape.num_attention_heads]
        )
        split_shape = self.node("Concat", [size, tail], "split.shape", axis=0)
        everything = self.constant("everything", [-1])
        flat_ids = self.node("Reshape", [ids, everything], "ids.flat")
        flat_positions = self.node("Reshape", [positions, everything], "positions.flat")
        placed = self.node("Gather", [self.small("places"), flat_positions], "positions.rows", axis=0)
        hidden = self.norm(self.node("Add", [self.tokens(flat_ids), placed], "embedded"), "norm", "normed")
        mask = self.attention_mask(owner)
        for number in range(self.shape.num_hidden_layers):
            hidden = self.layer(hidden, number, mask, split_shape)
        self.outputs(*self.pool(hidden, owner, flat_positions))
        first = ["rows", "tokens"] if self.layout == "packed" else ["batch", "sequence"]
        graph = helper.make_graph(
            self.nodes,
            f"student_{self.layout}_{self.precision}",
            [helper.make_tensor_value_info(name, TensorProto.INT64, first) for name in names],
            [
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["questions", None]),
                helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["questions", self.shape.hidden_size]),
            ],
            list(self.initializers.values()),
        )
        opsets = [helper.make_opsetid("", OPSET)]
        if self.precision == "int8":
            opsets.append(helper.make_opsetid(ORT_DOMAIN, 1))
        model = helper.make_model(graph, opset_imports=opsets, producer_name="cascade-gateway")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return model

    def _padded_inputs(self) -> tuple[str, str]:
        """(owner, positions) of a padded batch: each row is one question, and padding belongs to none."""
        size = self.node("Shape", ["input_ids"], "padded.size")
        one, zero = self.constant("one", np.asarray(1)), self.constant("nought", np.asarray(0))
        rows = self.node("Gather", [size, zero], "padded.rows")
        wide = self.node("Gather", [size, one], "padded.tokens")
        row = self.node(
            "Unsqueeze",
            [self.node("Range", [zero, rows, one], "row.numbers"), self.constant("last", [-1])],
            "row.column",
        )
        real = self.node("Cast", ["attention_mask"], "real", to=TensorProto.BOOL)
        owner = self.node("Where", [real, row, self.constant("filler", np.asarray(-1))], "owner")
        positions = self.node("Expand", [self.node("Range", [zero, wide, one], "position.numbers"), size], "position")
        return owner, positions


def build(
    shape: Shape, merged: Weights, precision: Precision, layout: Layout = "packed", eight_bit_weights: bool = True
) -> onnx.ModelProto:
    """A graph with its weights inside. `eight_bit_weights=False` keeps the trained ones: the reference, in fp32."""
    if precision == "int8" and not eight_bit_weights:
        raise ValueError("an 8-bit graph has 8-bit weights")
    return Builder(shape, merged, quantise(merged) if eight_bit_weights else {}, precision, layout).build()
