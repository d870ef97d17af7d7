"""What comparisons are made on: a recipe's questions by purpose, as a bundle's graph sees them. No test split's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gateway.forge.calibrate import Outputs
from gateway.forge.confidences import NEAR, OUTLIERS, Asked, Scenery
from gateway.forge.data import Data
from gateway.forge.evaluate import IN_SCOPE
from gateway.forge.head import Head
from gateway.forge.inform import Scene
from gateway.forge.knowledge import Knowledge
from gateway.forge.scores import Trained
from gateway.forge.texts import Labelled
from gateway.knowledge.generation import Generation
from gateway.knowledge.library import Library
from gateway.types import Document, Matrix, Principal

Run = Callable[[Sequence[str]], tuple[Matrix, Matrix]]
"""(logits [n, labels], unit embeddings [n, dim]) of texts."""


@dataclass(frozen=True, slots=True)
class Material:
    """`asked` are development and calibration questions, with those of held-out intents and texts of other subjects
    beside them; `has_head` says that the logits are a linear head's. `scenery` is None where no label stands for a
    document."""

    trained: Trained
    asked: Asked
    scenery: Scenery | None
    has_head: bool


def gather(
    run: Run, labels: Sequence[str], data: Data, knowledge: Knowledge, far: Mapping[str, Sequence[str]]
) -> Material:
    """`labels` are the bundle's; where the data's are others, a head for those is fitted on the training questions.

    `far` are groups of texts of other subjects. Raises ValueError where the data holds no intents out.
    """
    if not data.unseen:
        raise ValueError("the recipe holds no intents out (exclude_intents), so there is nothing near to compare on")
    numbers = {label: number for number, label in enumerate(data.labels)}
    _, embedding = run([row.text for row in data.train])
    wanted = np.array([numbers[row.category] for row in data.train], np.int64)
    has_head = set(labels) != set(data.labels)
    head = Head.fit(embedding, wanted, len(data.labels)) if has_head else None
    columns = [] if has_head else [labels.index(label) for label in data.labels]

    def outputs(texts: Sequence[str], categories: Sequence[str]) -> Outputs:
        logits, embedding = run(texts)
        known = np.array([numbers.get(one, -1) for one in categories], np.int64)
        return Outputs(head(embedding) if head else logits[:, columns], embedding, known)

    def rows(some: Sequence[Labelled]) -> Outputs:
        return outputs([row.text for row in some], [row.category for row in some])

    def strangers(texts: Sequence[str]) -> Outputs:
        return outputs(texts, [""] * len(texts))

    groups = {
        IN_SCOPE: rows((*data.dev, *data.calibrate)),
        NEAR: rows(data.unseen),
        OUTLIERS: strangers(data.outliers_calibrate),
        **{name: strangers(texts) for name, texts in far.items()},
    }
    seed = 7
    trained = Trained.of(embedding, wanted, len(data.labels), seed)
    asked = Asked.of(groups, {NEAR: [row.category for row in data.unseen]}, seed)
    return Material(trained, asked, _scenery(run, data, knowledge, trained), has_head)


def _scenery(run: Run, data: Data, knowledge: Knowledge, trained: Trained) -> Scenery | None:
    if not knowledge.document_of:
        return None
    reader = Principal(groups=frozenset[str]().union(*(document.groups for document in knowledge.documents)))
    documents = tuple(knowledge.document_of.get(label, "") for label in data.labels)

    def scene(searched: Sequence[Document]) -> Scene:
        library = Library({"": Generation.build(searched, lambda texts: run(texts)[1])})
        return Scene(library, reader, documents, trained.centres, 1.0)

    return Scenery(scene(knowledge.documents_before_launch(data)), scene(knowledge.documents))
