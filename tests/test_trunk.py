"""What makes embeddings: the same under another answer head, another with any other part of it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

from gateway.cli.main import cli
from gateway.errors import BundleInvalid
from gateway.forge import trunk
from gateway.model import bundle as bundles
from gateway.model.bundle import Precision
from tests import tiny


def change(graph: Path, name: str) -> None:
    """One number of a constant of that name, which comes into the graph's file."""
    model = onnx.load(graph)
    (tensor,) = (one for one in model.graph.initializer if one.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += 1
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, graph)


@pytest.mark.parametrize("precision", tiny.PRECISIONS)
def test_the_head_is_no_part_of_it(tmp_path: Path, precision: Precision) -> None:
    folder = tiny.write(tmp_path / "tiny")
    graph = f"{precision}.onnx"
    first = trunk.encoder(folder, graph)
    for name in ("answer.bias", "widen.weight"):
        change(folder / graph, name)
    other = trunk.encoder(folder, graph)
    assert (other.sha256, other.weights) == (first.sha256, first.weights)
    assert other.graph == bundles.sha256(folder / graph) != first.graph
    names = {one.name for one in onnx.load(folder / graph, load_external_data=False).graph.initializer}
    for name in ("retrieval.weight", "places", "norm.bias"):
        if name not in names:
            continue
        before = trunk.encoder(folder, graph).sha256
        change(folder / graph, name)
        assert trunk.encoder(folder, graph).sha256 != before, name


def test_an_operator_is_part_of_it(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "tiny")
    first = trunk.encoder(folder, "fp32.onnx").sha256
    model = onnx.load(folder / "fp32.onnx")
    norm = next(node for node in model.graph.node if node.op_type == "LayerNormalization")
    next(one for one in norm.attribute if one.name == "epsilon").f *= 2
    onnx.save(model, folder / "fp32.onnx")
    assert trunk.encoder(folder, "fp32.onnx").sha256 != first


def test_a_bundle_is_told_what_of_it_makes_embeddings(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "tiny")
    before = bundles.load(folder)
    done = CliRunner().invoke(cli, ["forge", "encoder", str(folder)])
    assert done.exit_code == 0, done.output
    after = bundles.load(folder)
    for precision in tiny.PRECISIONS:
        part = after.manifest.variants[precision].encoder
        assert part == trunk.encoder(folder, f"{precision}.onnx")
        assert after.encoder_sha256(precision) != after.outputs_sha256(precision)
        assert after.outputs_sha256(precision) == before.outputs_sha256(precision)
    assert after.uncertified == before.uncertified


def test_a_graph_without_an_embedding_is_none_of_ours(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "tiny")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["logits"])
    out = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [out])), folder / "int8.onnx")
    with pytest.raises(BundleInvalid, match="has no output 'embedding'"):
        trunk.encoder(folder, "int8.onnx")
