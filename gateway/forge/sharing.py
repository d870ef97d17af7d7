"""Writing several graphs beside one file of weights that all of them point into."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto


def save(models: dict[str, onnx.ModelProto], folder: Path, weights_name: str = "weights.bin") -> None:
    """Write each model as `<name>.onnx` beside one file of weights that all of them point into.

    The same 8-bit weights serve every precision, so a bundle carries them once.
    """
    offsets: dict[str, tuple[int, int]] = {}
    contents: dict[str, bytes] = {}
    with (folder / weights_name).open("wb") as file:
        for model in models.values():
            for tensor in model.graph.initializer:
                if len(tensor.raw_data) < 1024:
                    continue
                if tensor.name not in offsets:
                    file.write(b"\0" * (-file.tell() % 4096))  # page-aligned, so that it can be mapped
                    offsets[tensor.name] = (file.tell(), len(tensor.raw_data))
                    contents[tensor.name] = tensor.raw_data
                    file.write(tensor.raw_data)
                if contents[tensor.name] != tensor.raw_data:
                    raise ValueError(f"two different weights called {tensor.name}")
                _point_outside(tensor, weights_name, *offsets[tensor.name])
    for name, model in models.items():
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())


def _point_outside(tensor: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
