"""A graph that cannot saturate: exact on every CPU, and the same as the 8-bit one where that is exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gateway.cascade.calibration import softmax
from gateway.forge import exact
from gateway.model import arithmetic
from gateway.model.packing import Tokenization
from gateway.types import Matrix
from tests import tiny

TEXTS = tiny.questions(200, seed=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def tokenization(folder: Path) -> Tokenization:
    return Tokenization(folder / "tokenizer.json", tiny.MAX_TOKENS)


@pytest.fixture(scope="module")
def unsaturated(folder: Path, tokenization: Tokenization) -> tuple[Matrix, Matrix]:
    return exact.runner(folder / "int8.onnx", tokenization)(TEXTS)


def alone(path: Path, tokenization: Tokenization) -> tuple[Matrix, Matrix]:
    found = [tiny.run(path, [one]) for one in tokenization.encode_all(TEXTS)]
    return np.concatenate([one[0] for one in found]), np.concatenate([one[1] for one in found])


def test_it_is_as_near_to_the_float_graph_as_8_bits_can_be(
    folder: Path, tokenization: Tokenization, unsaturated: tuple[Matrix, Matrix]
) -> None:
    logits, embeddings = unsaturated
    whole, directions = alone(folder / "fp32.onnx", tokenization)
    assert np.abs(softmax(logits) - softmax(whole)).max() < 0.05
    assert (embeddings * directions).sum(axis=1).min() > 0.99


def test_it_is_the_8_bit_graph_where_that_is_exact(
    folder: Path, tokenization: Tokenization, unsaturated: tuple[Matrix, Matrix]
) -> None:
    logits, _ = alone(folder / "int8.onnx", tokenization)
    difference = np.abs(logits - unsaturated[0]).max()
    assert (difference < 1e-3) == arithmetic.products_are_exact()


def test_the_file_stays_as_it_is(folder: Path) -> None:
    before = (folder / "weights.bin").read_bytes()
    assert exact.exact(folder / "int8.onnx") == exact.exact(folder / "int8.onnx")
    assert (folder / "weights.bin").read_bytes() == before
