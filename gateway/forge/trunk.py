"""What of a graph makes embeddings, apart from the answer head that stands on the same trunk.

A turn of the flywheel fits the head's last layer anew and leaves the rest, to the bit. So stored vectors stay good for
as long as that rest is the same, which a hash of the whole graph cannot tell.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
from onnx import numpy_helper

from gateway.errors import BundleInvalid
from gateway.forge.references import rewrite
from gateway.model import bundle as bundles
from gateway.model.bundle import WEIGHTS, EncoderPart

EMBEDDING = "embedding"
"""The graph's output."""


def write(folder: Path) -> None:
    """Say in the manifest of the bundle in `folder` what makes its embeddings, for each precision: nothing else of it
    changes. Raises BundleInvalid."""
    manifest = bundles.load(folder).manifest
    variants = {
        precision: variant.model_copy(update={"encoder": encoder(folder, variant.graph)})
        for precision, variant in manifest.variants.items()
    }
    rewrite(folder, manifest.model_copy(update={"variants": variants}))


def encoder(folder: Path, graph: str) -> EncoderPart:
    """Of that graph, over the weights in `folder`. BundleInvalid where it gives no embedding."""
    return EncoderPart(
        sha256=_sha256(onnx.load(folder / graph), folder / graph),
        graph=bundles.sha256(folder / graph),
        weights=bundles.sha256(folder / WEIGHTS),
    )


def _sha256(model: onnx.ModelProto, path: Path) -> str:
    """Of the operators that the embedding comes from, in their order, of the constants that they take, and of the
    versions of the operators."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    if EMBEDDING not in made_by:
        raise BundleInvalid(f"{path}: has no output {EMBEDDING!r}: the forge did not write it")
    wanted, needed = [EMBEDDING], {EMBEDDING}
    while wanted:
        node = made_by.get(wanted.pop())
        fresh = {name for name in node.input if name} - needed if node else set()
        needed |= fresh
        wanted += fresh
    found = hashlib.sha256()
    for one in sorted(model.opset_import, key=lambda one: str(one.domain)):
        found.update(f"{one.domain} {one.version}\n".encode())
    for node in model.graph.node:
        if needed.intersection(node.output):
            found.update(node.SerializeToString(deterministic=True))
    for tensor in sorted(model.graph.initializer, key=lambda one: str(one.name)):
        if tensor.name in needed:
            values = numpy_helper.to_array(tensor)
            found.update(f"{tensor.name} {values.dtype} {values.shape}\n".encode() + values.tobytes())
    return found.hexdigest()
