"""What of a bundle is fitted on its graphs' outputs, and what follows from that: calibration, outcomes, certificate,
references. Made by a run of the forge, and anew by `gateway forge recalibrate`, which trains nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from rich.console import Console

from gateway.cascade.calibration import Confidence, InformedCalibration, Logistic
from gateway.cascade.outlook import Outlook
from gateway.forge import certificates, folders, golden, lineage, outcomes, references
from gateway.forge.asking import Run
from gateway.forge.certify import Asked
from gateway.forge.data import Data
from gateway.forge.fit import Fitted, fit
from gateway.forge.knowledge import Knowledge
from gateway.forge.recipes import Recipe
from gateway.model import bundle as bundles
from gateway.model.bundle import (
    CalibrationPart,
    ConfidencePart,
    EncoderPart,
    InformedPart,
    LogisticPart,
    Manifest,
    OutlookPart,
    Precision,
    ThresholdsPart,
    VariantPart,
)
from gateway.model.packing import Tokenization, pack
from gateway.model.session import KEEPS_APART
from gateway.types import Matrix

PACKED_TOKENS = 256


def again(folder: Path, recipe: Recipe, data: Data, knowledge: Knowledge, console: Console) -> Manifest:
    """Fit everything of the bundle in `folder` anew, and put it in the place of what is there once it is whole.

    Raises FileNotFoundError, ValueError where the bundle was made of other data, BundleInvalid, InferenceFailed.
    """
    loaded = bundles.load(folder)
    lineage.check_made_of(loaded, data)
    lineage.check_never(loaded, recipe)
    manifest = loaded.manifest
    scratch = folders.scratch(folder)
    try:
        shutil.copytree(folder, scratch, dirs_exist_ok=True)
        tokenization = Tokenization(scratch / bundles.TOKENIZER, manifest.max_tokens)
        runs = runners(scratch, tuple(manifest.variants), tokenization)
        fitted = fit_all(scratch, runs, recipe, data, knowledge, console)
        files = {name: bundles.sha256(scratch / name) for name in manifest.files}
        manifest = manifest.model_copy(
            update={
                "variants": {
                    precision: variant(precision, one, manifest.variants[precision].encoder)
                    for precision, one in fitted.items()
                },
                "metrics": manifest.metrics | {"fitted": accuracies(fitted)},
                "files": files,
            }
            | lineage.said(recipe, data.hashes)
        )
        finish(scratch, manifest, fitted, recipe, data, knowledge)
        scratch.chmod(folder.stat().st_mode)
        folders.put(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return manifest


def fit_all(
    folder: Path, runs: Mapping[Precision, Run], recipe: Recipe, data: Data, knowledge: Knowledge, console: Console
) -> dict[Precision, Fitted]:
    """Fit each precision on what its graph gives; prototypes and outcomes go into `folder`."""
    fitted: dict[Precision, Fitted] = {}
    documents = knowledge.documents_before_launch(data)
    for precision, run in runs.items():
        console.print(f"calibrating {precision} ...")
        found = fit(run, data, documents, knowledge.document_of, recipe.confidence, recipe.data.seed)
        np.save(folder / bundles.prototypes_name(precision), found.prototypes.astype(np.float16))
        outcomes.write(folder / bundles.outcomes_name(precision), found.outcomes)
        fitted[precision] = found
    return fitted


def finish(
    folder: Path,
    manifest: Manifest,
    fitted: Mapping[Precision, Fitted],
    recipe: Recipe,
    data: Data,
    knowledge: Knowledge,
) -> None:
    """Certificate, card, manifest and references, for the other files that are in `folder`; and ask it once."""
    asked = Asked(recipe.confidence.risk, recipe.confidence.assurance, recipe.confidence.oos_share)
    certificates.put(folder, manifest, {precision: one.outcomes for precision, one in fitted.items()}, asked)
    golden.check(folder)
    references.write(folder, data, knowledge)


def accuracies(fitted: Mapping[Precision, Fitted]) -> dict[Precision, dict[str, float]]:
    return {precision: {"accuracy": one.accuracy} for precision, one in fitted.items()}


def runners(folder: Path, precisions: Sequence[Precision], tokenization: Tokenization) -> dict[Precision, Run]:
    """Of the graphs in `folder`: each question in a row of its own where that is how it is served."""
    return {one: runner(folder / f"{one}.onnx", tokenization, one in KEEPS_APART) for one in precisions}


def runner(path: Path, tokenization: Tokenization, alone: bool = False) -> Run:
    """texts -> (logits, embeddings), by the graph in `path` on CPU: `alone`, or in packed rows of like length."""
    run = outputs(str(path), tokenization, ("logits", "embedding"), 1 if alone else PACKED_TOKENS)

    def both(texts: Sequence[str]) -> tuple[Matrix, Matrix]:
        logits, embedding = run(texts)
        return logits, embedding

    return both


def outputs(
    model: str | bytes, tokenization: Tokenization, names: Sequence[str], row_tokens: int = PACKED_TOKENS
) -> Callable[[Sequence[str]], list[Matrix]]:
    """texts -> what the graph (a path, or its bytes) gives under `names`, [texts, any] each, on CPU, in packed rows of
    `row_tokens`."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(texts: Sequence[str]) -> list[Matrix]:
        questions = tokenization.encode_all(texts)
        found: dict[int, list[Matrix]] = {}
        batch: list[int] = []
        order = sorted(range(len(questions)), key=lambda row: len(questions[row]))
        for place, row in enumerate(order):
            batch.append(row)
            full = sum(len(questions[one]) for one in batch) >= row_tokens
            if full or place + 1 == len(order):
                given = session.run(list(names), pack([questions[one] for one in batch]).inputs())
                found |= {one: [part[at] for part in given] for at, one in enumerate(batch)}
                batch = []
        return [np.stack([found[row][at] for row in range(len(questions))]) for at in range(len(names))]

    return run


def variant(precision: str, fitted: Fitted, encoder: EncoderPart | None) -> VariantPart:
    return VariantPart(
        graph=f"{precision}.onnx",
        encoder=encoder,
        calibration=CalibrationPart(
            temperature=fitted.temperature,
            scope_floor=fitted.scope_floor,
            confidence=_confidence(fitted.confidence),
            informed=_informed(fitted.informed) if fitted.informed else None,
            evidence=_part(fitted.evidence),
        ),
        outlook=outlook_part(fitted.outlook) if fitted.outlook else None,
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


def outlook_part(fitted: Outlook) -> OutlookPart:
    return OutlookPart(
        right=_part(fitted.right),
        model_doubt=fitted.model_doubt,
        search_doubt=fitted.search_doubt,
        correlation=fitted.correlation,
    )
