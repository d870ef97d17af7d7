"""The graphs: both layouts and every number of neighbours give the same, and 8 bits are close to all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.cascade.calibration import softmax
from gateway.forge import graph, sharing
from gateway.forge.graph import Layout, Precision, Quantised
from gateway.model.packing import pack
from gateway.types import Matrix
from tests import tiny

TOKENS = [encoding.ids for encoding in tiny.tokenizer().encode_batch(tiny.questions(16, seed=2))]


def built(precision: Precision, layout: Layout = "packed") -> onnxruntime.InferenceSession:
    content = graph.build(tiny.SHAPE, tiny.merged(), precision, layout).SerializeToString()
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def packed() -> dict[Precision, onnxruntime.InferenceSession]:
    return {precision: built(precision) for precision in tiny.PRECISIONS}


def ask(session: onnxruntime.InferenceSession, tokens: list[list[int]], row_tokens: int = 0) -> tuple[Matrix, Matrix]:
    logits, embedding = session.run(["logits", "embedding"], pack(tokens, row_tokens).inputs())
    return logits, embedding


def padded_inputs(tokens: list[list[int]]) -> dict[str, NDArray[np.int64]]:
    longest = max(map(len, tokens))
    ids = np.array([one + [0] * (longest - len(one)) for one in tokens], np.int64)
    mask = np.array([[1] * len(one) + [0] * (longest - len(one)) for one in tokens], np.int64)
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize(("precision", "tolerance"), [("int8", 1e-4), ("fp16", 2e-2), ("fp32", 1e-4)])
def test_the_padded_layout_equals_the_packed(
    packed: dict[Precision, onnxruntime.InferenceSession], precision: Precision, tolerance: float
) -> None:
    logits, embedding = built(precision, "padded").run(["logits", "embedding"], padded_inputs(TOKENS))
    expected = ask(packed[precision], TOKENS)
    assert np.abs(logits - expected[0]).max() < tolerance
    assert np.abs(embedding - expected[1]).max() < tolerance


@pytest.mark.parametrize("row_tokens", [1, 16, 40])
def test_rows_change_nothing(packed: dict[Precision, onnxruntime.InferenceSession], row_tokens: int) -> None:
    expected, found = ask(packed["fp32"], TOKENS), ask(packed["fp32"], TOKENS, row_tokens)
    assert np.abs(found[0] - expected[0]).max() < 1e-4
    assert np.abs(found[1] - expected[1]).max() < 1e-4


@pytest.mark.parametrize("precision", tiny.PRECISIONS)
def test_neighbours_change_nothing(packed: dict[Precision, onnxruntime.InferenceSession], precision: Precision) -> None:
    together = softmax(ask(packed[precision], TOKENS)[0])
    alone = softmax(np.concatenate([ask(packed[precision], [one])[0] for one in TOKENS]))
    assert np.abs(together - alone).max() < 0.005


def test_the_order_of_words_matters(packed: dict[Precision, onnxruntime.InferenceSession]) -> None:
    one, other = ask(packed["fp32"], [[2, 10, 20, 30, 3], [2, 30, 20, 10, 3]])[0]
    assert np.abs(one - other).max() > 1e-3


def test_the_reference_keeps_the_trained_weights(packed: dict[Precision, onnxruntime.InferenceSession]) -> None:
    content = graph.build(tiny.SHAPE, tiny.merged(), "fp32", eight_bit_weights=False).SerializeToString()
    expected = tiny.run(content, TOKENS)[0]
    found = ask(packed["fp32"], TOKENS)[0]
    assert 0 < np.abs(found - expected).max() < 0.5
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()


def test_an_8_bit_graph_without_8_bit_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="8-bit"):
        graph.build(tiny.SHAPE, tiny.merged(), "int8", eight_bit_weights=False)


def test_shared_weights_give_what_weights_inside_give(
    tmp_path: Path, packed: dict[Precision, onnxruntime.InferenceSession]
) -> None:
    models = {str(one): graph.build(tiny.SHAPE, tiny.merged(), one) for one in tiny.PRECISIONS}
    sharing.save(models, tmp_path)
    for precision in tiny.PRECISIONS:
        assert np.array_equal(tiny.run(tmp_path / f"{precision}.onnx", TOKENS)[0], ask(packed[precision], TOKENS)[0])


def test_two_weights_of_one_name_are_not_shared(tmp_path: Path) -> None:
    other = graph.merge(tiny.weights(seed=1), tiny.SHAPE.num_hidden_layers)
    models = {
        "one": graph.build(tiny.SHAPE, tiny.merged(), "int8"),
        "other": graph.build(tiny.SHAPE, other, "int8"),
    }
    with pytest.raises(ValueError, match="two different weights called"):
        sharing.save(models, tmp_path)


@given(st.integers(0, 10_000), st.sampled_from([0, 1]), st.floats(1e-6, 1e6))
def test_quantising_is_off_by_half_a_step_at_most(seed: int, axis: int, size: float) -> None:
    matrix = (size * np.random.default_rng(seed).normal(size=(5, 7))).astype(np.float32)
    found = Quantised.of(matrix, axis)
    assert found.values.dtype == np.int8
    assert found.scale.shape == ((1, 7) if axis == 0 else (5, 1))
    assert (np.abs(found.floats() - matrix) <= found.scale * 0.5001 + 1e-7).all()


def test_a_column_of_zeros_is_quantised_to_zeros() -> None:
    assert not Quantised.of(np.zeros((3, 2), np.float32), 0).floats().any()
