"""8-bit products: what is asked of this machine is what the model would be asked of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from gateway import assembly
from gateway.config import Config, KnowledgeSection, ModelSection
from gateway.model import arithmetic
from tests import tiny


def test_the_model_is_a_product_that_does_not_fit_into_16_bits() -> None:
    model = onnx.load_from_string(arithmetic.MODEL)
    onnx.checker.check_model(model)
    (node,), (weights,) = model.graph.node, model.graph.initializer
    assert (node.op_type, model.graph.input[0].type.tensor_type.elem_type) == ("MatMulInteger", onnx.TensorProto.UINT8)
    assert numpy_helper.to_array(weights).astype(np.int64).sum() * 255 == arithmetic.EXACT > np.iinfo(np.int16).max


def test_this_machine_is_exact_or_saturates() -> None:
    """One of the two: what it gives is no third thing, as a broken model would be."""
    session = onnxruntime.InferenceSession(arithmetic.MODEL, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"a": np.full((1, 2), 255, np.uint8)})
    assert int(found[0, 0]) in (arithmetic.EXACT, np.iinfo(np.int16).max)
    assert arithmetic.products_are_exact() == (int(found[0, 0]) == arithmetic.EXACT)


@pytest.mark.parametrize("exact", [True, False])
def test_a_start_says_that_products_saturate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, exact: bool
) -> None:
    monkeypatch.setattr(arithmetic, "products_are_exact", lambda: exact)
    folder = tiny.write(tmp_path / "tiny")
    assembly.load_engine(Config(model=ModelSection(bundle=folder), knowledge=KnowledgeSection(collections={})))
    assert ("saturate" in caplog.text) == (not exact)
