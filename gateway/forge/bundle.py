"""The last step of the forge: graphs, calibration, certificate, golden answers, card and manifest, in one folder."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from gateway.cascade.calibration import Confidence, InformedCalibration, Logistic, softmax
from gateway.forge import certificates, export, folders, golden, outcomes, references
from gateway.forge.certify import Asked
from gateway.forge.choose import Measured
from gateway.forge.data import Data
from gateway.forge.encoder import Student
from gateway.forge.fit import Fitted, fit
from gateway.forge.knowledge import Knowledge
from gateway.forge.recipes import Recipe
from gateway.model import bundle as bundles
from gateway.model.bundle import (
    CalibrationPart,
    ConfidencePart,
    GoldenPart,
    InformedPart,
    LabelPart,
    LogisticPart,
    Manifest,
    Precision,
    ThresholdsPart,
    VariantPart,
)
from gateway.model.packing import Tokenization, pack
from gateway.model.session import KEEPS_APART
from gateway.types import Matrix

PACKED_TOKENS = 256
Run = Callable[[Sequence[str]], tuple[Matrix, Matrix]]


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
        runs = {one: _runner(scratch / f"{one}.onnx", tokenization, one in KEEPS_APART) for one in export.PRECISIONS}
        fitted: dict[Precision, Fitted] = {}
        for precision in export.PRECISIONS:
            console.print(f"calibrating {precision} ...")
            fitted[precision] = fit(
                runs[precision],
                data,
                knowledge.documents_before_launch(data),
                knowledge.document_of,
                recipe.confidence,
                recipe.data.seed,
            )
            np.save(scratch / bundles.prototypes_name(precision), fitted[precision].prototypes.astype(np.float16))
            outcomes.write(scratch / bundles.outcomes_name(precision), fitted[precision].outcomes)
        accuracies = {precision: {"accuracy": one.accuracy} for precision, one in fitted.items()}
        metrics = {"students": measured, "parity": parity, "fitted": accuracies}
        answers = _golden(data, fitted, _runner(work / export.REFERENCE, tokenization), runs)
        if not answers:
            console.print("[yellow]warning:[/] no golden answers: the precisions agree on no label's name")
        manifest = _manifest(recipe, data, knowledge, student, fitted, metrics, answers, scratch)
        asked = Asked(recipe.confidence.risk, recipe.confidence.assurance, recipe.confidence.oos_share)
        certificates.put(scratch, manifest, {one: fitted[one].outcomes for one in fitted}, asked)
        golden.check(scratch)
        references.write(scratch, data, knowledge)
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


def _runner(path: Path, tokenization: Tokenization, alone: bool = False) -> Run:
    """texts -> (logits, embeddings), by the graph in `path` on CPU: `alone`, or in packed rows of like length."""
    session = export.session(path)
    row_tokens = 1 if alone else PACKED_TOKENS

    def run(texts: Sequence[str]) -> tuple[Matrix, Matrix]:
        questions = tokenization.encode_all(texts)
        found: dict[int, tuple[Matrix, Matrix]] = {}
        batch: list[int] = []
        order = sorted(range(len(questions)), key=lambda row: len(questions[row]))
        for place, row in enumerate(order):
            batch.append(row)
            full = sum(len(questions[one]) for one in batch) >= row_tokens
            if full or place + 1 == len(order):
                logits, embedding = session.run(
                    ["logits", "embedding"], pack([questions[one] for one in batch]).inputs()
                )
                found |= {one: (logits[at], embedding[at]) for at, one in enumerate(batch)}
                batch = []
        rows = range(len(questions))
        return np.stack([found[row][0] for row in rows]), np.stack([found[row][1] for row in rows])

    return run


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
        licence=recipe.bundle.licence,
        attribution=recipe.attribution,
        base=f"{recipe.student_base.name} sha256:{recipe.student_base.sha256}",
        teacher=", ".join(teachers),
        layers=student.shape.num_hidden_layers,
        dim=student.shape.hidden_size,
        max_tokens=recipe.student.max_tokens,
        labels=tuple(_label(label, knowledge.document_of, hashes, groups) for label in data.labels),
        variants={precision: _variant(precision, one) for precision, one in fitted.items()},
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


def _variant(precision: str, fitted: Fitted) -> VariantPart:
    return VariantPart(
        graph=f"{precision}.onnx",
        calibration=CalibrationPart(
            temperature=fitted.temperature,
            scope_floor=fitted.scope_floor,
            confidence=_confidence(fitted.confidence),
            informed=_informed(fitted.informed) if fitted.informed else None,
            evidence=_part(fitted.evidence),
        ),
        thresholds=ThresholdsPart(
            evidence=fitted.evidence_threshold,
            ensemble=fitted.ensemble_threshold,
            ensemble_weight=fitted.ensemble_weight,
        ),
    )


def _confidence(fitted: Confidence) -> ConfidencePart:
    return ConfidencePart(
        right=_part(fitted.right),
        scope=_part(fitted.scope),
        joint=_part(fitted.joint),
        leading=_part(fitted.leading) if fitted.leading else None,
    )


def _informed(fitted: InformedCalibration) -> InformedPart:
    return InformedPart(
        confidence=_confidence(fitted.confidence), sharpness=fitted.sharpness, blend=_part(fitted.blend)
    )


def _part(logistic: Logistic) -> LogisticPart:
    return LogisticPart(weights=logistic.weights, bias=logistic.bias, centre=logistic.centre, scale=logistic.scale)
