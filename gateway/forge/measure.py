"""Measuring a student in torch: what its depth scores, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from gateway.forge import graph
from gateway.forge.choose import Measured
from gateway.forge.data import Data
from gateway.forge.distil import tokenizer
from gateway.forge.encoder import Student, pad
from gateway.forge.shape import Shape
from gateway.knowledge.generation import Generation
from gateway.knowledge.library import Library
from gateway.model.packing import pack
from gateway.types import Document, Pass, Prediction, Principal

TIMED_QUESTIONS = 300
STEP_VERSION = 1
"""Raised when a change of this code changes what it measures, so that kept measurements are made again."""


def all_layers(base: Path) -> int:
    return Shape.read(base).num_hidden_layers


@torch.inference_mode()
def outputs(
    student: Student, base: Path, texts: Sequence[str], max_tokens: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(logits, embeddings) in torch, full precision, of texts cut at `max_tokens`."""
    encode = tokenizer(base, max_tokens)
    ids = [encoding.ids for encoding in encode.encode_batch(list(texts))]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    logits = np.empty((len(ids), student.answer.out_features), np.float32)
    embeddings = np.empty((len(ids), student.retrieval.out_features), np.float32)
    device = next(student.parameters()).device
    for at in range(0, len(order), 64):
        rows = order[at : at + 64]
        some = student(*(part.to(device) for part in pad([ids[row] for row in rows])), len(rows))
        logits[rows], embeddings[rows] = (part.float().cpu().numpy() for part in some)
    return logits, embeddings


def measure(
    student: Student,
    base: Path,
    data: Data,
    documents: Sequence[Document],
    document_of: dict[str, str],
    max_tokens: int,
) -> Measured:
    """One student on what trained nothing: dev questions, and questions of unseen intents for retrieval."""

    def run(texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return outputs(student, base, texts, max_tokens)

    numbers = {label: number for number, label in enumerate(data.labels)}
    logits, _ = run([row.text for row in data.dev])
    found = {
        "accuracy": float(np.mean(logits.argmax(axis=1) == [numbers[row.category] for row in data.dev])),
        "per_second": _speed(student, base, [row.text for row in data.dev], max_tokens),
    }
    if documents:
        generation = Generation.build(documents, lambda texts: run(texts)[1])
        for name, rows in (("unseen_retrieval", data.unseen), ("seen_retrieval", data.dev)):
            pairs = [(row.text, document_of[row.category]) for row in rows if row.category in document_of]
            if pairs:
                found[name] = _first(generation, run([text for text, _ in pairs])[1], [wanted for _, wanted in pairs])
    return found


def _first(generation: Generation, embeddings: NDArray[np.float32], documents: Sequence[str]) -> float:
    """The share of questions, by their embeddings, whose document comes first."""
    library = Library({"measure": generation})
    forward = Pass(np.zeros((len(embeddings), 1), np.float32), embeddings)
    asked = [Prediction(forward, row, 0, {}) for row in range(len(forward))]
    ranked = [library.rank("measure", one, Principal(), 1).documents for one in asked]
    right = [bool(found) and found[0][0] == wanted for found, wanted in zip(ranked, documents, strict=True)]
    return float(np.mean(right))


def _speed(student: Student, base: Path, texts: Sequence[str], max_tokens: int) -> float:
    """Questions a second of the packed 8-bit graph, one at a time on one thread."""
    weights = {name: value.cpu().numpy() for name, value in student.state_dict().items()}
    model = graph.build(student.shape, graph.merge(weights, student.shape.num_hidden_layers), "int8")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    encode = tokenizer(base, max_tokens)
    inputs = [pack([encoding.ids]).inputs() for encoding in encode.encode_batch(list(texts[:TIMED_QUESTIONS]))]
    for one in inputs[:20]:
        session.run(None, one)
    started = time.perf_counter()
    for one in inputs:
        session.run(None, one)
    return len(inputs) / (time.perf_counter() - started)
