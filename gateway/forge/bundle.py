"""The last step of the forge: graphs, calibration, certificate, golden answers, card and manifest, in one folder."""

from __future__ import annotations

import datetime
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from gateway.cascade.calibration import Logistic, Matrix, softmax
from gateway.forge import card, export
from gateway.forge.choose import Measured
from gateway.forge.data import Data
from gateway.forge.encoder import Student
from gateway.forge.fit import Fitted, fit
from gateway.forge.recipes import Recipe
from gateway.model import bundle as bundles
from gateway.model.bundle import (
    CalibrationPart,
    CertificatePart,
    ConfidencePart,
    GoldenPart,
    LabelPart,
    LogisticPart,
    Manifest,
    ThresholdsPart,
    VariantPart,
)
from gateway.model.packing import Tokenization, pack
from gateway.model.session import RUNS_ALONE
from gateway.types import CertificateStatus, Document

GOLDEN_TEXTS = 8
PACKED_TOKENS = 256


def make(
    recipe: Recipe,
    data: Data,
    documents: Sequence[Document],
    document_of: dict[str, str],
    student: Student,
    base: Path,
    measured: dict[str, Measured],
    work: Path,
    out: Path,
    console: Console,
) -> Path:
    """Write the bundle to `out`, replacing what is there only when the new one is whole. Returns `out`.

    The reference graph, too large to ship, stays in `work`. Raises ValueError if the graphs fail parity.
    """
    work.mkdir(parents=True, exist_ok=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=out.parent, prefix=".making-"))
    try:
        export.graphs(student, scratch)
        shutil.copyfile(base / "tokenizer.json", scratch / "tokenizer.json")
        tokenization = Tokenization(scratch / "tokenizer.json", recipe.student.max_tokens)
        texts = [row.text for row in (*data.dev, *data.calibrate, *data.certify)]
        console.print("parity of the graphs ...")
        parity = export.parity(student, base, scratch, texts, tokenization)
        console.print_json(json.dumps(parity.summary()))
        if parity.problems():
            raise ValueError("the exported graphs are not what was trained: " + "; ".join(parity.problems()))
        shutil.move(scratch / export.REFERENCE, work / export.REFERENCE)
        fitted = {}
        for precision in export.PRECISIONS:
            console.print(f"calibrating and certifying {precision} ...")
            run = _runner(scratch / f"{precision}.onnx", tokenization, precision in RUNS_ALONE)
            fitted[precision] = fit(run, data, documents, document_of, recipe.confidence, recipe.data.seed)
            np.save(scratch / f"prototypes.{precision}.npy", fitted[precision].prototypes.astype(np.float16))
        metrics = {"students": measured, "parity": parity.summary(), "fitted": _summaries(fitted)}
        golden = _golden(data, fitted["fp32"], _runner(work / export.REFERENCE, tokenization))
        manifest = _manifest(recipe, data, documents, document_of, student, fitted, metrics, golden, scratch)
        (scratch / "CARD.md").write_text(card.write(manifest))
        files = manifest.files | {"CARD.md": bundles.sha256(scratch / "CARD.md")}
        manifest = manifest.model_copy(update={"files": files})
        (scratch / bundles.MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
        bundles.load(scratch)
        scratch.chmod(0o755)
        shutil.rmtree(out, ignore_errors=True)
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    size = sum(file.stat().st_size for file in out.iterdir()) / 2**20
    console.print(f"bundle {out} ({size:.1f} MiB)", highlight=False)
    return out


def _runner(path: Path, tokenization: Tokenization, alone: bool = False) -> Any:
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


def _golden(data: Data, fitted: Fitted, run: Any) -> tuple[GoldenPart, ...]:
    """Texts that every machine must answer alike: label names, which say what they are about and quote no data set."""
    texts = [label.replace("_", " ") for label in data.labels]
    logits, _ = run(texts)
    probabilities = softmax(logits / np.float32(fitted.temperature))
    surest = np.argsort(-probabilities.max(axis=1))[:GOLDEN_TEXTS]
    return tuple(
        GoldenPart(
            text=texts[row],
            label=data.labels[int(probabilities[row].argmax())],
            probability=round(float(probabilities[row].max()), 4),
        )
        for row in surest
    )


def _manifest(
    recipe: Recipe,
    data: Data,
    documents: Sequence[Document],
    document_of: dict[str, str],
    student: Student,
    fitted: dict[Any, Fitted],
    metrics: dict[str, Any],
    golden: tuple[GoldenPart, ...],
    folder: Path,
) -> Manifest:
    hashes = {document.id: document.content_hash for document in documents}
    files = {path.name: bundles.sha256(path) for path in sorted(folder.iterdir())}
    return Manifest(
        format=1,
        name=recipe.bundle.name,
        version=recipe.bundle.version,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        licence=recipe.bundle.licence,
        attribution=recipe.bundle.attribution,
        base=f"{recipe.student_base.name} sha256:{recipe.student_base.sha256}",
        teacher=f"{recipe.teacher_base.name} sha256:{recipe.teacher_base.sha256}",
        layers=student.shape.num_hidden_layers,
        dim=student.shape.hidden_size,
        max_tokens=recipe.student.max_tokens,
        labels=tuple(_label(label, document_of, hashes) for label in data.labels),
        variants={precision: _variant(precision, one, data, recipe, files) for precision, one in fitted.items()},
        golden=golden,
        recipe=recipe.model_dump(mode="json", exclude={"source"}),
        data=data.hashes,
        metrics=metrics,
        files=files,
    )


def _label(label: str, document_of: dict[str, str], hashes: dict[str, str]) -> LabelPart:
    document_id = document_of.get(label, "")
    if document_id in hashes:
        return LabelPart(name=label, document_id=document_id, content_hash=hashes[document_id])
    return LabelPart(name=label, text=label)


def _variant(precision: str, fitted: Fitted, data: Data, recipe: Recipe, files: dict[str, str]) -> VariantPart:
    graph = f"{precision}.onnx"
    status = CertificateStatus.VALID if fitted.certified.holds else CertificateStatus.INSUFFICIENT
    return VariantPart(
        graph=graph,
        calibration=CalibrationPart(
            temperature=fitted.temperature,
            scope_floor=fitted.scope_floor,
            confidence=ConfidencePart(
                right=_part(fitted.confidence.right),
                scope=_part(fitted.confidence.scope),
                joint=_part(fitted.confidence.joint),
            ),
            evidence=_part(fitted.evidence),
        ),
        certificate=CertificatePart(
            status=status,
            threshold=fitted.certified.threshold,
            risk=recipe.confidence.risk,
            assurance=recipe.confidence.assurance,
            oos_share=recipe.confidence.oos_share,
            accepted=fitted.certified.accepted,
            wrong=fitted.certified.wrong,
            upper_bound=fitted.certified.upper_bound,
            encoder_sha256=bundles.encoder_sha256(files, graph),
            data_sha256=data.hashes[Path(recipe.data.questions).name],
        ),
        thresholds=ThresholdsPart(
            evidence=fitted.evidence_threshold,
            ensemble=fitted.ensemble_threshold,
            ensemble_weight=fitted.ensemble_weight,
        ),
    )


def _part(logistic: Logistic) -> LogisticPart:
    return LogisticPart(weights=logistic.weights, bias=logistic.bias, centre=logistic.centre, scale=logistic.scale)


def _summaries(fitted: dict[Any, Fitted]) -> dict[str, dict[str, float]]:
    return {
        precision: {"accuracy": one.accuracy, "coverage": one.coverage, "threshold": one.certified.threshold}
        for precision, one in fitted.items()
    }
