"""What serving compares its questions with: written into a bundle from questions that trained nothing.

The calibration and the certification questions: the certificate holds for what is like the latter, and of the former
only a few numbers were fitted that any question's scores depend on. Together they tell a change sooner.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gateway.cascade.calibration import PROTOTYPE
from gateway.cascade.cascade import Cascade
from gateway.deadline import Deadline
from gateway.forge.data import Data
from gateway.forge.evaluate import Replay
from gateway.forge.knowledge import Knowledge
from gateway.forge.lineage import check_made_of
from gateway.knowledge.generation import Generation
from gateway.knowledge.library import Library
from gateway.model import bundle as bundles
from gateway.model.bundle import MANIFEST, Bundle, Manifest, Precision
from gateway.model.engine import Engine
from gateway.telemetry.drift.reference import ROUTES, Reference, file_name
from gateway.types import Document, Prediction, Principal, Question

COLLECTION = "reference"
PATIENCE = 3600.0
"""Seconds for all of them: nothing is shed here."""


def write(folder: Path, data: Data, knowledge: Knowledge) -> None:
    """Put a reference of each precision into the bundle in `folder`, and its hash into the manifest.

    Raises ValueError where the bundle was made of other data, or the data is too little; errors.GatewayError where the
    bundle is not whole.
    """
    bundle = bundles.load(folder)
    check_made_of(bundle, data)
    texts = [row.text for row in (*data.calibrate, *data.certify)]
    documents = knowledge.documents_before_launch(data)
    files = dict(bundle.manifest.files)
    for precision in bundle.manifest.variants:
        path = folder / file_name(precision)
        path.write_bytes(of(bundle, precision, texts, documents).dump())
        files[path.name] = bundles.sha256(path)
    rewrite(folder, bundle.manifest.model_copy(update={"files": files}))


def of(bundle: Bundle, precision: Precision, texts: Sequence[str], documents: Sequence[Document]) -> Reference:
    """Of questions as this precision sees them, asked by somebody who may read all documents."""
    engine = Engine(bundle, "cpu", 1, precision=precision)
    profile = bundle.profile(precision)
    logits, embeddings = engine.outputs(texts)
    read = profile.model.features(logits, embeddings)
    predictions = [Prediction.alone(*pair) for pair in zip(logits, embeddings, strict=True)]
    library = Library({COLLECTION: Generation.build(documents, engine.embed)}) if documents else None
    cascade = Cascade(Replay([]), library, profile)
    reader = Principal(groups=frozenset[str]().union(*(document.groups for document in documents)))
    deadline = Deadline.after(PATIENCE)
    taken = [
        cascade.decide(one, Question(text, COLLECTION, reader), deadline).route
        for text, one in zip(texts, predictions, strict=True)
    ]
    return Reference.of(
        profile.model.confidence(read),
        read[:, PROTOTYPE],
        np.bincount(logits.argmax(axis=1), minlength=len(profile.labels)),
        np.array([taken.count(route) for route in ROUTES]),
        embeddings,
    )


def rewrite(folder: Path, manifest: Manifest) -> None:
    """The manifest of the bundle in `folder`, at once or not at all."""
    scratch = folder / f".{MANIFEST}"
    scratch.write_text(manifest.model_dump_json(indent=1) + "\n")
    scratch.replace(folder / MANIFEST)
