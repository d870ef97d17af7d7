"""The last step of the forge: graphs, calibration, certificate, golden answers, card and manifest, in one folder."""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from gateway.cascade.calibration import softmax
from gateway.forge import export, folders, golden, lineage, recalibrate
from gateway.forge.asking import Run
from gateway.forge.choose import Measured
from gateway.forge.data import Data
from gateway.forge.encoder import Student
from gateway.forge.fit import Fitted
from gateway.forge.knowledge import Knowledge
from gateway.forge.recipes import Recipe
from gateway.model import bundle as bundles
from gateway.model.bundle import (
    GoldenPart,
    LabelPart,
    Manifest,
    Precision,
)
from gateway.model.packing import Tokenization
from gateway.types import Matrix


def make(
    recipe: Recipe,
    data: Data,
    knowledge: Knowledge,
    student: Student,
    base: Path,
    measured: dict[str, Measured],
    work: Path,
    out: Path,
    console: Console,
) -> Path:
    """Write the bundle to `out`, replacing what is there only when the new one is whole. Returns `out`.

    The reference graph, too large to ship, stays in `work`. Raises ValueError if the graphs fail parity or `out` holds
    anything else than a bundle, InferenceFailed if the bundle does not answer as it was made to.
    """
    work.mkdir(parents=True, exist_ok=True)
    scratch = folders.scratch(out)
    try:
        export.graphs(student, scratch)
        shutil.copyfile(base / "tokenizer.json", scratch / "tokenizer.json")
        tokenization = Tokenization(scratch / "tokenizer.json", recipe.student.max_tokens)
        parity = _prove(recipe, data, student, base, scratch, console)
        shutil.move(scratch / export.REFERENCE, work / export.REFERENCE)
        runs = recalibrate.runners(scratch, export.PRECISIONS, tokenization)
        fitted = recalibrate.fit_all(scratch, runs, recipe, data, knowledge, console)
        metrics = {"students": measured, "parity": parity, "fitted": recalibrate.accuracies(fitted)}
        answers = _golden(data, fitted, recalibrate.runner(work / export.REFERENCE, tokenization), runs)
        if not answers:
            console.print("[yellow]warning:[/] no golden answers: the precisions agree on no label's name")
        manifest = _manifest(recipe, data, knowledge, student, fitted, metrics, answers, scratch)
        recalibrate.finish(scratch, manifest, fitted, recipe, data, knowledge)
        scratch.chmod(0o755)
        folders.put(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    size = sum(file.stat().st_size for file in out.iterdir()) / 2**20
    console.print(f"bundle {out} ({size:.1f} MiB)", highlight=False)
    return out


def _prove(
    recipe: Recipe, data: Data, student: Student, base: Path, folder: Path, console: Console
) -> dict[str, object]:
    """The graphs in `folder` measured against the student. ValueError if they differ too much."""
    console.print("parity of the graphs ...")
    texts = [row.text for row in (*data.dev, *data.calibrate, *data.certify)]
    parity = export.parity(student, base, folder, texts, recipe.student.max_tokens)
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
    student: Student,
    fitted: dict[Precision, Fitted],
    metrics: dict[str, Any],
    answers: tuple[GoldenPart, ...],
    folder: Path,
) -> Manifest:
    hashes = {document.id: document.content_hash for document in knowledge.documents}
    files = {path.name: bundles.sha256(path) for path in sorted(folder.iterdir())}
    groups = {label: name for name, some in recipe.confidence.groups.items() for label in some}
    teachers = dict.fromkeys(f"{one.name} sha256:{one.sha256}" for one in map(recipe.base_of, recipe.teachers))
    return Manifest(
        format=3,
        name=recipe.bundle.name,
        version=recipe.bundle.version,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        parent=lineage.parent(recipe),
        licence=recipe.bundle.licence,
        attribution=recipe.attribution,
        base=f"{recipe.student_base.name} sha256:{recipe.student_base.sha256}",
        teacher=", ".join(teachers),
        layers=student.shape.num_hidden_layers,
        dim=student.shape.hidden_size,
        max_tokens=recipe.student.max_tokens,
        labels=tuple(_label(label, knowledge.document_of, hashes, groups) for label in data.labels),
        variants={precision: recalibrate.variant(precision, one) for precision, one in fitted.items()},
        golden=answers,
        recipe=recipe.model_dump(mode="json", exclude={"source"}),
        data=data.hashes,
        metrics=metrics,
        files=files,
    )


def _label(label: str, document_of: dict[str, str], hashes: dict[str, str], groups: dict[str, str]) -> LabelPart:
    document_id, group = document_of.get(label, ""), groups.get(label, "")
    if document_id in hashes:
        return LabelPart(name=label, group=group, document_id=document_id, content_hash=hashes[document_id])
    return LabelPart(name=label, group=group, text=label)
