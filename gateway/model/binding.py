"""Runs a graph from buffers that stay on the device, instead of having ONNX Runtime copy each input at each run.

There is one buffer for each shape of a packed batch, and shapes are buckets (`packing.bucket`), so after warm-up
nothing is allocated for inputs any more, and one copy to the device takes all three of them. Outputs come to the host,
where the cascade reads them: some kB, whose number of rows is known only when the graph has run.

No CUDA graphs. They would save the launches of kernels, which are most of a small batch's time on a GPU. But one can be
captured (`enable_cuda_graph`) only where all nodes run on the GPU and no shape changes between runs, and here the
outputs have as many rows as there are questions, which a `Range` counts on the host in the middle of the graph. It
would take a graph that pads the number of questions too, and one more axis of buckets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from gateway.model.packing import Packed

OUTPUTS = ("logits", "embedding")


@dataclass(frozen=True, slots=True)
class _Place:
    """The buffer of one shape, [inputs, rows, tokens], and the binding that reads each input from its part of it."""

    buffer: Any
    binding: Any


class BoundRunner:
    """Over one session, on one thread at a time. `memory` is ONNX Runtime's name of where inputs go, such as cuda."""

    def __init__(self, session: onnxruntime.InferenceSession, memory: str) -> None:
        self._session = session
        self._memory = memory
        self._places: dict[tuple[int, ...], _Place] = {}

    @property
    def shapes(self) -> frozenset[tuple[int, ...]]:
        """[rows, tokens] of all buffers."""
        return frozenset(self._places)

    def run(self, packed: Packed) -> list[NDArray[np.float32]]:
        """OUTPUTS. Raises whatever ONNX Runtime does, and never takes to another provider by itself."""
        shape = packed.ids.shape
        place = self._places.get(shape) or self._new_place(packed)
        # Waits until it is there: the graph's own stream does not wait for this copy.
        place.buffer.update_inplace(np.stack(list(packed.inputs().values())))
        for name in OUTPUTS:
            # At each run, or the last run's output would be taken for a buffer, of perhaps another number of rows.
            place.binding.bind_output(name)
        self._session.run_with_iobinding(place.binding)
        found: list[NDArray[np.float32]] = place.binding.copy_outputs_to_cpu()
        return found

    def _new_place(self, packed: Packed) -> _Place:
        inputs, shape = packed.inputs(), packed.ids.shape
        buffer = onnxruntime.OrtValue.ortvalue_from_shape_and_type([len(inputs), *shape], np.int64, self._memory, 0)
        binding = self._session.io_binding()
        for at, name in enumerate(inputs):
            pointer = buffer.data_ptr() + at * packed.ids.nbytes
            binding.bind_input(name, self._memory, 0, np.int64, list(shape), pointer)
        place = self._places[shape] = _Place(buffer, binding)
        return place
