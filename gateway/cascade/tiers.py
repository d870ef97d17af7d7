"""What the cascade needs of the two tiers. The engines fit these shapes without knowing of them."""

from __future__ import annotations

from typing import Protocol

from gateway.deadline import Deadline
from gateway.types import Evidence, Hit, Prediction, Principal, Standing, Vector


class ModelTier(Protocol):
    """One forward pass for a question."""

    async def predict(self, text: str, deadline: Deadline) -> Prediction:
        """Logits and embedding. Raises DeadlineExceeded (not computed), InferenceFailed, Unavailable."""
        ...


class KnowledgeTier(Protocol):
    """Documents of collections, as the caller may see them. Searches take 0.1 - 0.5 ms and run inline."""

    def search(self, collection: str, embedding: Vector, principal: Principal, limit: int, citations: int) -> Evidence:
        """The nearest `limit` documents that the principal may read, each with up to `citations` passages.

        Raises SearchFailed, UnknownCollection.
        """
        ...

    def standing(self, collection: str, document_id: str, known_hash: str, principal: Principal) -> Standing:
        """How that document is now; `known_hash` is its content hash when the model was trained."""
        ...

    def read(
        self, collection: str, document_id: str, embedding: Vector, principal: Principal, citations: int
    ) -> Hit | None:
        """That document with its passages nearest to the question; None if it is gone or may not be read.

        Raises SearchFailed.
        """
        ...
