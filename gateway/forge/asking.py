"""Asking a graph all questions that trained nothing: what it is calibrated on, what certifies it, what it never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gateway.forge import inform
from gateway.forge.calibrate import Outputs
from gateway.forge.data import Data
from gateway.forge.inform import Scene
from gateway.forge.knowledge import Knowledge
from gateway.forge.outcomes import NO_LABEL, Outcomes, Part, rows
from gateway.forge.texts import Labelled
from gateway.knowledge.generation import Generation
from gateway.knowledge.library import Library
from gateway.model.bundle import Bundle, Precision
from gateway.types import Document, Matrix, Principal

Run = Callable[[Sequence[str]], tuple[Matrix, Matrix]]
"""(logits, embeddings) of texts, by the graph that is served."""
Sure = Callable[[Outputs], Matrix]
"""The confidence [n] about questions."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a graph gave for each part of the data; None where the part is empty, as parts of outliers may be."""

    dev: Outputs
    calibrate: Outputs
    certify: Outputs
    outliers_calibrate: Outputs | None
    outliers_certify: Outputs | None
    unseen: Outputs | None

    def outcomes(self, alone: Sure, both: Sure | None) -> Outcomes:
        """With these confidences; `both` is the one with a search, where there is one."""
        parts = (
            (Part.DEV, self.dev),
            (Part.CALIBRATE, self.calibrate),
            (Part.CALIBRATE, self.outliers_calibrate),
            (Part.CERTIFY, self.certify),
            (Part.CERTIFY, self.outliers_certify),
            (Part.UNSEEN, self.unseen),
        )
        found = [
            rows(part, some.labels, some.logits, alone(some), both(some) if both else None)
            for part, some in parts
            if some is not None
        ]
        return Outcomes(np.concatenate(found))


def ask(run: Run, data: Data) -> Heard:
    """All of them."""
    return Heard(
        dev=labelled(run, data, data.dev),
        calibrate=labelled(run, data, data.calibrate),
        certify=labelled(run, data, data.certify),
        outliers_calibrate=_strangers(run, data.outliers_calibrate),
        outliers_certify=_strangers(run, data.outliers_certify),
        unseen=_strangers(run, [row.text for row in data.unseen]),
    )


def labelled(run: Run, data: Data, questions: Sequence[Labelled]) -> Outputs:
    numbers = {label: number for number, label in enumerate(data.labels)}
    return Outputs(
        *run([row.text for row in questions]), np.array([numbers[row.category] for row in questions], np.int64)
    )


def _strangers(run: Run, texts: Sequence[str]) -> Outputs | None:
    return Outputs(*run(texts), np.full(len(texts), NO_LABEL, np.int64)) if texts else None


def searched(run: Run, documents: Sequence[Document]) -> tuple[Library, Principal]:
    """The documents, embedded by the same graph, and somebody who may read all of them."""
    library = Library({"": Generation.build(documents, lambda texts: run(texts)[1])})
    return library, Principal(groups=frozenset[str]().union(*(document.groups for document in documents)))


def again(run: Run, bundle: Bundle, precision: Precision, data: Data, knowledge: Knowledge) -> Outcomes:
    """What a bundle makes of the data, by its calibration of that precision and what `run` gives.

    The documents are those that there were before launch, as they are now.
    """
    profile = bundle.profile(precision)
    model, informed = profile.model, profile.informed

    def alone(some: Outputs) -> Matrix:
        return model.confidence(model.features(some.logits, some.embedding))

    documents = knowledge.documents_before_launch(data)
    if informed is None or not documents:
        return ask(run, data).outcomes(alone, None)
    stands_for = tuple(knowledge.document_of.get(label, "") for label in data.labels)
    scene = Scene(*searched(run, documents), stands_for, model.prototypes, model.temperature)
    return ask(run, data).outcomes(alone, lambda some: inform.confidences(scene, informed, some, alone(some)))
