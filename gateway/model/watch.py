"""Tells a lost device from a bad question, when a pass on an accelerator fails.

The words of the error do not decide: they differ between drivers and versions. A known good batch does, asked right
after: CUDA's errors are sticky, so where the device is at fault that fails too, and everything after it until the
process ends. What remains is a device that answers single questions and no batches, as one whose memory has run out
because others took it; that shows in batches that fail although each of their questions passes alone.

An output that is not finite is no failure here: the batcher lets that question fail alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.errors import DeviceLost, InferenceFailed
from gateway.model.packing import Tokens
from gateway.model.session import Outputs
from gateway.types import Degradation

MOST_REFUSED = 3
"""Batches in a row that fail through no fault of a question, until the device is given up."""


class Watch:
    """Calls `run`, and raises DeviceLost in the place of InferenceFailed where its device is at fault. One thread."""

    def __init__(self, run: Callable[[Sequence[Tokens]], Outputs], probe: Sequence[Tokens]) -> None:
        """`probe` is a batch that has passed before."""
        self._run = run
        self._probe = probe
        self._refused = 0

    def __call__(self, questions: Sequence[Tokens]) -> Outputs:
        """As `run`. The batcher asks the questions of a batch that fails again, one by one."""
        is_batch = len(questions) > 1
        try:
            outputs = self._run(questions)
        except InferenceFailed as error:
            self._check_device(error)
            # A question that fails alone too is why its batch did.
            self._refused = self._refused + 1 if is_batch else max(0, self._refused - 1)
            if self._refused >= MOST_REFUSED:
                raise DeviceLost(
                    f"{self._refused} batches in a row failed: {error}", Degradation.BATCHES_FAIL
                ) from error
            raise
        if is_batch:
            self._refused = 0
        return outputs

    def _check_device(self, error: InferenceFailed) -> None:
        try:
            self._run(self._probe)
        except InferenceFailed:
            raise DeviceLost(str(error), Degradation.DEVICE_LOST) from error
