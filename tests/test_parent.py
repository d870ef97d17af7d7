"""Reading a bundle back: what comes out is what went in, on the grid of 8 bits, and says what the bundle says."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from gateway.errors import BundleInvalid
from gateway.forge import graph, incremental, parent
from gateway.forge.head import Head
from gateway.model import bundle as bundles
from gateway.model.packing import Tokenization
from tests import tiny


def test_weights_survive_being_merged() -> None:
    whole = tiny.weights()
    again = parent.unmerge(graph.merge(whole, tiny.SHAPE.num_hidden_layers), tiny.SHAPE.num_hidden_layers)
    assert again.keys() == whole.keys()
    assert all(np.array_equal(again[name], value) for name, value in whole.items())


def test_a_bundle_is_read_as_it_is_served(tmp_path: Path) -> None:
    bundle = bundles.load(tiny.write(tmp_path / "1"))
    found = parent.read(bundle)
    assert asdict(found.shape) == pytest.approx(asdict(tiny.SHAPE))
    assert (found.id, found.labels) == ("tiny/1", tiny.LABELS)
    stored = graph.quantise(tiny.merged())["layers.1.up.weight"].floats()
    assert np.allclose(found.weights["layers.1.up.weight"], stored.T, atol=1e-7)
    rebuilt = graph.build(found.shape, graph.merge(found.weights, 2), "fp32")
    tokens = Tokenization(tmp_path / "1" / "tokenizer.json", tiny.MAX_TOKENS).encode_all(tiny.questions(20))
    for ours, theirs in zip(
        tiny.run(rebuilt.SerializeToString(), tokens), tiny.run(tmp_path / "1" / "fp32.onnx", tokens), strict=True
    ):
        assert np.allclose(ours, theirs, atol=1e-5)


def test_what_its_head_reads_gives_its_logits(tmp_path: Path) -> None:
    bundle = bundles.load(tiny.write(tmp_path / "1"))
    found, texts = parent.read(bundle), tiny.questions(20)
    head = Head(found.weights["answer.weight"].T, found.weights["answer.bias"])
    given = head(incremental.hidden(found.weights, parent.pooled(bundle)(texts)))
    tokens = Tokenization(tmp_path / "1" / "tokenizer.json", tiny.MAX_TOKENS).encode_all(texts)
    assert np.allclose(given, tiny.run(tmp_path / "1" / "fp32.onnx", tokens)[0], atol=1e-4)


def test_a_bundle_without_floats_is_no_parent(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "1")
    now = tiny.manifest(folder)
    tiny.rewrite(folder, now.model_copy(update={"variants": {"int8": now.variants["int8"]}}))
    with pytest.raises(BundleInvalid, match="has no fp32 graph"):
        parent.read(bundles.load(folder))
