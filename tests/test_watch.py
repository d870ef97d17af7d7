"""A device that is lost is told from a question that is bad, whatever the error says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from gateway.errors import DeviceLost, InferenceFailed
from gateway.model.packing import Tokens
from gateway.model.session import Outputs
from gateway.model.watch import MOST_REFUSED, Watch
from gateway.types import Degradation

PROBE = [[1, 2]]
GOOD: Tokens = [7]
BAD: Tokens = [13]


class Device:
    """Fails as it is told to."""

    def __init__(self) -> None:
        self.is_lost = False
        self.is_full = False
        """Without memory for batches."""

    def run(self, questions: Sequence[Tokens]) -> Outputs:
        if self.is_lost or BAD in questions or (self.is_full and len(questions) > 1):
            raise InferenceFailed("an error")
        return np.zeros((len(questions), 1), np.float32), np.ones((len(questions), 1), np.float32)


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def watch(device: Device) -> Watch:
    return Watch(device.run, PROBE)


def served(watch: Watch, batch: Sequence[Tokens]) -> int:
    """As the batcher does it: where the batch fails, each alone. How many were answered."""
    try:
        watch(batch)
    except DeviceLost:
        raise
    except InferenceFailed:
        answered = 0
        for one in batch:
            try:
                watch([one])
                answered += 1
            except DeviceLost:
                raise
            except InferenceFailed:
                pass
        return answered
    return len(batch)


def test_what_passes_passes(watch: Watch) -> None:
    logits, _ = watch([GOOD, GOOD])
    assert logits.shape == (2, 1)


def test_a_device_that_fails_at_what_it_could_do_is_lost(device: Device, watch: Watch) -> None:
    device.is_lost = True
    with pytest.raises(DeviceLost, match="an error") as lost:
        watch([GOOD])
    assert lost.value.reason == Degradation.DEVICE_LOST


def test_a_bad_question_is_no_fault_of_the_device_however_often_it_comes(watch: Watch) -> None:
    for _ in range(5 * MOST_REFUSED):
        assert served(watch, [BAD]) == 0
        assert served(watch, [GOOD, BAD, GOOD]) == 2


def test_a_device_that_takes_no_batches_any_more_is_given_up(device: Device, watch: Watch) -> None:
    device.is_full = True
    for _ in range(MOST_REFUSED - 1):
        assert served(watch, [GOOD, GOOD]) == 2
    with pytest.raises(DeviceLost, match="batches in a row") as lost:
        served(watch, [GOOD, GOOD])
    assert lost.value.reason == Degradation.BATCHES_FAIL


def test_a_batch_that_passes_makes_up_for_those_that_failed(device: Device, watch: Watch) -> None:
    for _ in range(3 * MOST_REFUSED):
        device.is_full = True
        assert served(watch, [GOOD, GOOD]) == 2
        device.is_full = False
        assert served(watch, [GOOD, GOOD]) == 2
