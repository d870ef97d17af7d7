"""The last step of the forge: graphs, calibration, certificate, golden answers, card and manifest, in one folder."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from gateway.cascade.calibration import softmax
from gateway.forge import export, folders, golden, lineage, recalibrate, trunk
from gateway.forge.asking import Run
from gateway.forge.choose import Measured
from gateway.forge.data import Data
from gateway.forge.fit import Fitted
from gateway.forge.graph import Weights
from gateway.forge.knowledge import Knowledge
from gateway.forge.recipes import Recipe
from gateway.forge.shape import Shape
from gateway.model import bundle as bundles
from gateway.model.bundle import (
    GoldenPart,
    LabelPart,
    Manifest,
    Precision,
)
from gateway.model.packing import Tokenization
from gateway.types import Matrix


@dataclass(frozen=True, slots=True)
class Trained:
    """What a bundle is made of: a student's `weights` by graph name, its `tokenizer` file, and where it comes from.

    `logits` [texts, labels] are its own, as what trained it computes them; the graphs are held against them.
    """

    shape: Shape
    weights: Weights
    tokenizer: Path
    logits: Callable[[Sequence[str]], Matrix]
    base: str
    teacher: str
    attribution: tuple[str, ...]


def make(
    recipe: Recipe,
    data: Data,
    knowledge: Knowledge,
    trained: Trained,
    measured: dict[str, Measured],
    checked: dict[str, Any],
    work: Path,
    out: Path,
    console: Console,
) -> Path:
    """Write the bundle to `out`, replacing what is there only when the new one is whole. Returns `out`.

    `checked` is what `data_checks` found. The reference graph, too large to ship, stays in `work`.

    Raises ValueError if the graphs fail parity or `out` holds anything else than a bundle, InferenceFailed if the
    bundle does not answer as it was made to.
    """
    work.mkdir(parents=True, exist_ok=True)
    scratch = folders.scratch(out)
    try:
        export.graphs(trained.shape, trained.weights, scratch)
        shutil.copyfile(trained.tokenizer, scratch / bundles.TOKENIZER)
        tokenization = Tokenization(scratch / bundles.TOKENIZER, recipe.student.max_tokens)
        parity = _prove(trained, data, tokenization, scratch, console)
        shutil.move(scratch / export.REFERENCE, work / export.REFERENCE)
        runs = recalibrate.runners(scratch, export.PRECISIONS, tokenization)
        fitted = recalibrate.fit_all(scratch, runs, recipe, data, knowledge, console)
        metrics = {"students": measured, "parity": parity, "fitted": recalibrate.accuracies(fitted), "checks": checked}
        answers = _golden(data, fitted, recalibrate.runner(work / export.REFERENCE, tokenization), runs)
        if not answers:
            console.print("[yellow]warning:[/] no golden answers: the precisions agree on no label's name")
        manifest = _manifest(recipe, data, knowledge, trained, fitted, metrics, answers, scratch)
        recalibrate.finish(scratch, manifest, fitted, recipe, data, knowledge)
        scratch.chmod(0o755)
        folders.put(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    size = sum(file.stat().st_size for file in out.iterdir()) / 2**20
    console.print(f"bundle {out} ({size:.1f} MiB)", highlight=False)
    return out


def _prove(
    trained: Trained, data: Data, tokenization: Tokenization, folder: Path, console: Console
) -> dict[str, object]:
    """The graphs in `folder` measured against the student. ValueError if they differ too much."""
    console.print("parity of the graphs ...")
    texts = [row.text for row in (*data.dev, *data.calibrate, *data.certify)]
    parity = export.parity(trained.logits(texts), tokenization.encode_all(texts), folder)
    console.print_json(json.dumps(parity.summary()))
    if parity.problems():
        raise ValueError("the exported graphs are not what was trained: " + "; ".join(parity.problems()))
    return parity.summary()


def _golden(
    data: Data, fitted: dict[Precision, Fitted], reference: Run, runs: dict[Precision, Run]
) -> tuple[GoldenPart, ...]:
    """Label names: they say what they are about and quote no data set."""
    texts = [label.replace("_", " ") for label in data.labels]

    def probabilities(run: Run, precision: Precision) -> Matrix:
        return softmax(run(texts)[0] / np.float32(fitted[precision].temperature))

    served = {precision: probabilities(run, precision) for precision, run in runs.items()}
    return golden.choose(texts, data.labels, probabilities(reference, "fp32"), served)


def _manifest(
    recipe: Recipe,
    data: Data,
    knowledge: Knowledge,
    trained: Trained,
    fitted: dict[Precision, Fitted],
    metrics: dict[str, Any],
    answers: tuple[GoldenPart, ...],
    folder: Path,
) -> Manifest:
    hashes = {document.id: document.content_hash for document in knowledge.documents}
    files = {path.name: bundles.sha256(path) for path in sorted(folder.iterdir())}
    groups = {label: name for name, some in recipe.confidence.groups.items() for label in some}
    return Manifest(
        format=3,
        name=recipe.bundle.name,
        version=recipe.bundle.version,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        parent=lineage.parent(recipe),
        licence=recipe.bundle.licence,
        attribution=trained.attribution,
        base=trained.base,
        teacher=trained.teacher,
        layers=trained.shape.num_hidden_layers,
        dim=trained.shape.hidden_size,
        max_tokens=recipe.student.max_tokens,
        labels=tuple(_label(label, knowledge.document_of, hashes, groups) for label in data.labels),
        variants={
            precision: recalibrate.variant(precision, one, trunk.encoder(folder, f"{precision}.onnx"))
            for precision, one in fitted.items()
        },
        golden=answers,
        metrics=metrics,
        files=files,
        **lineage.said(recipe, data.hashes),
    )


def _label(label: str, document_of: dict[str, str], hashes: dict[str, str], groups: dict[str, str]) -> LabelPart:
    document_id, group = document_of.get(label, ""), groups.get(label, "")
    if document_id in hashes:
        return LabelPart(name=label, group=group, document_id=document_id, content_hash=hashes[document_id])
    return LabelPart(name=label, group=group, text=label)
