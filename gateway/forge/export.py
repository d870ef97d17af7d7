"""Writing a student's graphs, and proving that they say what the student says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from gateway.forge import graph
from gateway.forge.encoder import Student
from gateway.forge.graph import Layout, Precision
from gateway.forge.measure import outputs
from gateway.model.bundle import WEIGHTS, Bundle
from gateway.model.packing import Tokenization, Tokens, pack
from gateway.model.session import RUNS_ALONE, Session

Matrix = NDArray[np.float32]
PRECISIONS: tuple[Precision, ...] = ("int8", "fp16", "fp32")
REFERENCE = "reference.onnx"
NEIGHBOURS = 32
MAX_DIFFERENCE = 1e-4
MIN_AGREEMENT = 0.995
MAX_DRIFT = 0.01


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the graphs are from the student, on questions that trained nothing.

    `reference_difference`: largest difference of logits, fp32 ONNX against torch. `agreement`: share of questions to
    which a precision gives the reference's label. `packed_drift`: largest change of a probability between a question
    alone and packed with 31 others; `packed_flips`: how many labels that changes. The 8-bit graph is not served packed.
    """

    questions: int
    reference_difference: float
    agreement: dict[str, float]
    packed_drift: dict[str, float]
    packed_flips: dict[str, int]

    def problems(self) -> list[str]:
        """What is worse than it may be."""
        found = []
        if self.reference_difference > MAX_DIFFERENCE:
            found.append(f"fp32 ONNX differs from torch by {self.reference_difference:.2g}, over {MAX_DIFFERENCE:g}")
        found += [
            f"{precision} gives the reference's label to {share:.2%} of questions, under {MIN_AGREEMENT:.1%}"
            for precision, share in self.agreement.items()
            if share < MIN_AGREEMENT
        ]
        found += [
            f"packing moves a probability of {precision} by {drift:.3f} and flips {self.packed_flips[precision]} labels"
            for precision, drift in self.packed_drift.items()
            if precision not in RUNS_ALONE and (drift > MAX_DRIFT or self.packed_flips[precision])
        ]
        return found

    def summary(self) -> dict[str, object]:
        return asdict(self)


def graphs(student: Student, folder: Path) -> None:
    """`int8.onnx`, `fp16.onnx`, `fp32.onnx` over one `weights.bin`, and `reference.onnx` with the trained weights."""
    merged = _merged(student)
    graph.save_sharing_weights({one: graph.build(student.shape, merged, one) for one in PRECISIONS}, folder, WEIGHTS)
    onnx.save(graph.build(student.shape, merged, "fp32", eight_bit_weights=False), folder / REFERENCE)


def single(student: Student, path: Path, precision: Precision, layout: Layout) -> None:
    """One graph with its weights inside, for other servers."""
    onnx.save(graph.build(student.shape, _merged(student), precision, layout), path)


def _merged(student: Student) -> graph.Weights:
    weights = {name: value.cpu().numpy() for name, value in student.state_dict().items()}
    return graph.merge(weights, student.shape.num_hidden_layers)


def parity(student: Student, base: Path, folder: Path, texts: Sequence[str], tokenization: Tokenization) -> Parity:
    """Measure the graphs of `graphs` on CPU."""
    torch_logits, _ = outputs(student, base, texts)
    questions = tokenization.encode_all(texts)
    reference = run_alone(session(folder / REFERENCE), questions)
    agreement: dict[str, float] = {}
    drift: dict[str, float] = {}
    flips: dict[str, int] = {}
    for precision in PRECISIONS:
        opened = session(folder / f"{precision}.onnx")
        alone = run_alone(opened, questions)
        agreement[precision] = agree(alone, reference)
        packed = in_batches(questions, partial(run_packed, opened))
        drift[precision], flips[precision] = difference(packed, alone)
    return Parity(len(texts), float(np.abs(reference - torch_logits).max()), agreement, drift, flips)


def fidelity(bundle: Bundle, reference: Path, texts: Sequence[str]) -> dict[str, object]:
    """How a bundle's graphs compare with the forge's reference: agreement of labels, drift among neighbours."""
    tokenization = Tokenization(bundle.path("tokenizer.json"), bundle.manifest.max_tokens)
    questions = tokenization.encode_all(texts)
    expected = run_alone(session(reference), questions)
    found: dict[str, object] = {"questions": len(texts)}
    for precision in bundle.manifest.variants:
        served = Session(bundle, precision, "cpu", 1)
        alone = np.concatenate([served.run([one])[0] for one in questions])
        drift, flips = difference(in_batches(questions, lambda some: served.run(some)[0]), alone)  # noqa: B023 - called here
        found[precision] = {
            "same_label_as_reference": agree(alone, expected),
            f"largest_change_in_batches_of_{NEIGHBOURS}": drift,
            "labels_changed": flips,
        }
    return found


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_alone(opened: onnxruntime.InferenceSession, questions: Sequence[Tokens]) -> Matrix:
    """Logits [questions, labels], each question by itself."""
    return np.concatenate([opened.run(["logits"], pack([one]).inputs())[0] for one in questions])


def run_packed(opened: onnxruntime.InferenceSession, questions: Sequence[Tokens]) -> Matrix:
    """Logits [questions, labels], all questions in one row."""
    return np.asarray(opened.run(["logits"], pack(questions).inputs())[0])


def agree(one: Matrix, other: Matrix) -> float:
    return float((one.argmax(axis=1) == other.argmax(axis=1)).mean())


def in_batches(questions: Sequence[Tokens], run: Callable[[Sequence[Tokens]], Matrix]) -> Matrix:
    """Logits of all questions, NEIGHBOURS at a time."""
    starts = range(0, len(questions), NEIGHBOURS)
    return np.concatenate([run(questions[at : at + NEIGHBOURS]) for at in starts])


def difference(batched: Matrix, alone: Matrix) -> tuple[float, int]:
    """(largest change of the best probability, labels that differ)."""
    drift = np.abs(_probability(batched) - _probability(alone)).max()
    return float(drift), int((batched.argmax(axis=1) != alone.argmax(axis=1)).sum())


def _probability(logits: Matrix) -> Matrix:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers.max(axis=1) / powers.sum(axis=1), np.float32)
