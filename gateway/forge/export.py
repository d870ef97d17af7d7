"""Writing a student's graphs, and proving that they say what the student says; free of torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from gateway.forge import graph, sharing
from gateway.forge.graph import Precision, Weights
from gateway.forge.parity import Matrix, Parity, clear_differences
from gateway.forge.shape import Shape
from gateway.model.bundle import WEIGHTS, Bundle
from gateway.model.packing import Tokenization, Tokens, pack
from gateway.model.session import Session

PRECISIONS: tuple[Precision, ...] = ("int8", "fp16", "fp32")
REFERENCE = "reference.onnx"
NEIGHBOURS = 32


def graphs(shape: Shape, merged: Weights, folder: Path) -> None:
    """`int8.onnx`, `fp16.onnx`, `fp32.onnx` over one `weights.bin`, and `reference.onnx` with the trained weights."""
    sharing.save({one: graph.build(shape, merged, one) for one in PRECISIONS}, folder, WEIGHTS)
    onnx.save(graph.build(shape, merged, "fp32", eight_bit_weights=False), folder / REFERENCE)


def parity(expected: Matrix, questions: Sequence[Tokens], folder: Path) -> Parity:
    """Measure the graphs of `graphs` on CPU; `expected` [questions, labels] are the logits of what was trained."""
    reference = run_alone(session(folder / REFERENCE), questions)
    agreement: dict[str, float] = {}
    differences: dict[str, int] = {}
    drift: dict[str, float] = {}
    flips: dict[str, int] = {}
    clear_flips: dict[str, int] = {}
    for precision in PRECISIONS:
        opened = session(folder / f"{precision}.onnx")
        alone = run_alone(opened, questions)
        agreement[precision], differences[precision] = agree(alone, reference), clear_differences(alone, reference)
        packed = in_batches(questions, partial(run_packed, opened))
        drift[precision], flips[precision] = difference(packed, alone)
        clear_flips[precision] = clear_differences(packed, alone)
    return Parity(
        questions=len(questions),
        reference_difference=float(np.abs(reference - expected).max()),
        agreement=agreement,
        clear_differences=differences,
        packed_drift=drift,
        packed_flips=flips,
        clear_flips=clear_flips,
    )


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
