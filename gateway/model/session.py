"""The one home of ONNX Runtime: a session over a verified bundle, on the device that was asked for or not at all."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from gateway import failpoints
from gateway.errors import DeviceUnavailable, InferenceFailed
from gateway.model.binding import OUTPUTS, BoundRunner
from gateway.model.bundle import Bundle, Precision
from gateway.model.packing import Packed, Tokenization, Tokens, apart, pack

Device = Literal["auto", "cpu", "cuda"]
Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]
"""(logits [questions, labels], unit embeddings [questions, dim])"""

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
PROVIDER_OPTIONS: dict[str, dict[str, str]] = {
    "cpu": {},
    # By default memory grows by powers of two. Warm-up sees every shape, so that would be in vain, and other workers
    # share the device.
    "cuda": {"arena_extend_strategy": "kSameAsRequested"},
}
MEMORY = {"cuda": "cuda"}
"""Where a device's inputs are bound, for those that have a memory of their own."""
GPU_ROW_TOKENS = 256
KEEPS_APART = frozenset({"int8"})
"""Precisions whose questions have a row each. Rounding to 8 bits turns the last bit of a sum, which neighbours in a row
can change, into a whole step, and six layers amplify it: up to 0.016 in a probability was measured. In rows of their
own nothing reaches the rounding."""
SAME = 1e-4
"""Logits that differ no more are the same: far more than the heads' last bit, far less than one step of rounding."""
GOLDEN_TOLERANCE = 0.1
"""Of a probability: far more than a machine's rounding, far less than a saturated product is off."""

log = logging.getLogger(__name__)

onnxruntime.set_default_logger_severity(3)  # errors; its warnings about shapes are of no use to who runs a server


class Session:
    """One loaded graph. `run` releases the GIL while it computes; call it from one thread at a time."""

    def __init__(self, bundle: Bundle, precision: Precision, device: str, threads: int) -> None:
        """Raises DeviceUnavailable if the provider is not the active one, InferenceFailed if it does not load."""
        self.precision = precision
        self.device = device
        if device == "cuda":
            # CUDA and cuDNN as the [gpu] extra installs them lie where no loader looks. What is missing it prints to
            # stdout, where somebody may be reading JSON.
            with contextlib.redirect_stdout(sys.stderr):
                onnxruntime.preload_dlls()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A pool that spins while it waits takes the core from the event loop beside it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        wanted = [(PROVIDERS[device], PROVIDER_OPTIONS[device])]
        path = bundle.path(bundle.variant(precision).graph)
        try:
            failpoints.reached("model-load")
            # ONNX Runtime would otherwise load the same graph on the CPU when the device fails, also in the middle of
            # serving, and say so on stdout. Which device serves, by which graph, is ours to decide and to report.
            self._session = onnxruntime.InferenceSession(str(path), options, providers=wanted, enable_fallback=0)
        except Exception as error:  # ORT's exceptions share no base of their own
            raise InferenceFailed(f"{path} does not load: {error}") from error
        self.provider: str = self._session.get_providers()[0]
        if self.provider != PROVIDERS[device]:
            raise DeviceUnavailable(
                f"{device} was asked for, but ONNX Runtime runs on {self.provider}. "
                "Install the [gpu] extra, which brings CUDA and cuDNN as wheels, and a driver that is new enough for "
                "them; or use --device cpu."
            )
        self.keeps_apart = precision in KEEPS_APART
        has_few_shapes = device in MEMORY and not self.keeps_apart
        self._bound = BoundRunner(self._session, MEMORY[device]) if has_few_shapes else None
        self.runs_alone = False

    def run(self, questions: Sequence[Tokens]) -> Outputs:
        """Logits and embeddings of the questions, in order. Raises InferenceFailed."""
        if self.runs_alone and len(questions) > 1:
            each = [self.run([one]) for one in questions]
            return np.concatenate([one[0] for one in each]), np.concatenate([one[1] for one in each])
        rows = apart(questions) if self.keeps_apart else self._pack(questions)
        try:
            is_spoilt = failpoints.reached("model-run")
            logits, embedding = self._bound.run(rows) if self._bound else self._session.run(OUTPUTS, rows.inputs())
        except Exception as error:
            raise InferenceFailed(f"{self.provider} failed: {error}") from error
        if is_spoilt:
            logits[0] = np.nan
        return logits, embedding

    def close(self) -> None:
        """Give back the memory of the graph; `run` raises InferenceFailed from now on."""
        self._session = self._bound = None

    def _pack(self, questions: Sequence[Tokens]) -> Packed:
        """A device with a memory of its own wants few shapes, as its buffers stay."""
        return pack(questions, GPU_ROW_TOKENS, is_bucketed=True) if self._bound else pack(questions)


def candidates(device: Device) -> tuple[str, ...]:
    return ("cuda", "cpu") if device == "auto" else (device,)


def open_session(
    bundle: Bundle, tokenization: Tokenization, device: Device, threads: int, precision: Precision | None = None
) -> Session:
    """The first device of `device` that works, at its own precision, checked against the bundle's golden answers.

    A CPU whose 8-bit products saturate (AVX2 without VNNI) fails that check and gets the float graph, which shares its
    weights: whatever was tried before is logged. Raises DeviceUnavailable, naming why, if nothing is left.
    """
    reasons: list[str] = []
    failures: list[str] = []
    for one in candidates(device):
        if PROVIDERS[one] not in onnxruntime.get_available_providers():
            fix = "" if one == "cpu" else " (install the [gpu] extra in the place of [cpu], or use --device cpu)"
            reasons.append(f"{one}: this onnxruntime has no {PROVIDERS[one]}{fix}")
            continue
        for wanted in [precision] if precision else _precisions(one, bundle):
            try:
                session = Session(bundle, wanted, one, threads)
                verify(session, bundle, tokenization)
            except (InferenceFailed, DeviceUnavailable) as error:
                reasons.append(f"{one} {wanted}: {error}")
                failures.append(reasons[-1])
                continue
            # A runtime without the provider is no failure: `auto` means that.
            for failure in failures:
                log.warning("%s runs on %s instead: %s", session.precision, session.provider, failure)
            return session
    raise DeviceUnavailable(f"no session for device {device!r}: " + "; ".join(reasons))


def verify(session: Session, bundle: Bundle, tokenization: Tokenization) -> None:
    """Ask the golden questions, alone and together. Raises InferenceFailed where a label or probability is off.

    Where company changes what it must not on this machine, the session runs questions one by one from then on.
    """
    questions = tokenization.encode_all([one.text for one in bundle.manifest.golden])
    if not questions:
        return
    calibration = bundle.profile(session.precision).model
    together, _ = session.run(questions)
    alone = np.concatenate([session.run([one])[0] for one in questions])
    if session.keeps_apart and not np.abs(together - alone).max() <= SAME:  # also where one is not a number
        log.warning("on this machine the %s graph answers differently in company: one by one it is", session.precision)
        session.runs_alone = True
    for logits in (alone,) if session.runs_alone else (together, alone):
        probabilities = calibration.probabilities(logits)
        for golden, row in zip(bundle.manifest.golden, probabilities, strict=True):
            label = bundle.manifest.labels[int(row.argmax())].name
            if label != golden.label or not abs(float(row.max()) - golden.probability) <= GOLDEN_TOLERANCE:
                raise InferenceFailed(
                    f"the {session.precision} graph gives {label} at {row.max():.3f} on this machine "
                    f"where {golden.label} at {golden.probability:.3f} is right"
                )


def _precisions(device: str, bundle: Bundle) -> list[Precision]:
    preferred: tuple[Precision, ...] = ("int8", "fp32") if device == "cpu" else ("fp16", "fp32")
    return [precision for precision in preferred if precision in bundle.manifest.variants]
