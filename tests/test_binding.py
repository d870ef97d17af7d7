"""Graphs that run from bound buffers give what they give otherwise, batch after batch of any shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from gateway.model.binding import OUTPUTS, BoundRunner
from gateway.model.packing import Tokenization, pack
from tests import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


def test_batches_of_all_sizes_give_what_they_give_otherwise(folder: Path) -> None:
    session = onnxruntime.InferenceSession(str(folder / "fp32.onnx"), providers=["CPUExecutionProvider"])
    runner = BoundRunner(session, "cpu")
    asked = Tokenization(folder / "tokenizer.json", tiny.MAX_TOKENS).encode_all(tiny.questions(80))
    # Larger and smaller ones in turn: neither the last input nor the last output may be seen again.
    for first, count in ((0, 3), (3, 60), (63, 1), (64, 2), (0, 60), (70, 3)):
        packed = pack(asked[first : first + count], 64, is_bucketed=True)
        found = runner.run(packed)
        expected = session.run(OUTPUTS, packed.inputs())
        for one, other in zip(found, expected, strict=True):
            assert one.shape == other.shape
            assert np.array_equal(one, other)


def test_a_shape_that_comes_again_takes_no_new_buffer(folder: Path) -> None:
    session = onnxruntime.InferenceSession(str(folder / "fp32.onnx"), providers=["CPUExecutionProvider"])
    runner = BoundRunner(session, "cpu")
    for length in (3, 9, 16, 17, 24):
        runner.run(pack([[5] * length], 64, is_bucketed=True))
    assert runner.shapes == {(1, 16), (1, 24)}
