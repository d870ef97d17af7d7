"""The documents that a recipe's labels stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.forge.data import Data
from gateway.forge.recipes import Recipe
from gateway.knowledge.documents import passages, read_folder, slug
from gateway.types import Document, Passage


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The documents that labels stand for, divided; `document_of` maps labels to document ids."""

    documents: tuple[Document, ...]
    passages: tuple[Passage, ...]
    document_of: dict[str, str]

    def before_launch(self, data: Data) -> list[Passage]:
        """The passages that existed when the model was trained: not those of intents that it must not know."""
        later = self._later(data)
        return [passage for passage in self.passages if passage.document_id not in later]

    def _later(self, data: Data) -> set[str]:
        return {self.document_of.get(row.category, "") for row in data.unseen}

    def documents_before_launch(self, data: Data) -> list[Document]:
        """The documents that existed when the model was trained."""
        later = self._later(data)
        return [document for document in self.documents if document.id not in later]

    def numbers(self, labels: Sequence[str]) -> dict[str, int]:
        """{document: number} for those that `labels` stand for; several labels may stand for the same one."""
        wanted = dict.fromkeys(self.document_of[label] for label in labels if label in self.document_of)
        return {document_id: number for number, document_id in enumerate(wanted)}

    def numbers_by_label(self, labels: Sequence[str]) -> NDArray[np.int64]:
        """[labels]: the number of the document that each label stands for, -1 for none."""
        numbers = self.numbers(labels)
        return np.array([numbers.get(self.document_of.get(label, ""), -1) for label in labels], np.int64)


def of(recipe: Recipe, seen: Data) -> Knowledge:
    """The recipe's documents, and which label stands for which: the one that its slug names, unless the recipe says."""
    if not recipe.knowledge.collection:
        return Knowledge((), (), {})
    documents = read_folder(recipe.locate(recipe.knowledge.collection))
    ids = {document.id for document in documents}
    intents = {*seen.labels, *(row.category for row in seen.unseen)}
    stands_for = {intent: recipe.knowledge.documents.get(intent, slug(intent)) for intent in sorted(intents)}
    unknown = [stated for stated in recipe.knowledge.documents.values() if stated not in ids]
    if unknown:
        raise ValueError(
            f"{recipe.source}: [knowledge.documents] names {unknown[0]!r}, which the collection does not have"
        )
    return Knowledge(
        tuple(documents),
        tuple(passage for document in documents for passage in passages(document)),
        {intent: document_id for intent, document_id in stands_for.items() if document_id in ids},
    )
