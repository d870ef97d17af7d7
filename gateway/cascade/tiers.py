"""What the cascade needs of the two tiers. The engines fit these shapes without knowing of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.deadline import Deadline
from gateway.types import Hit, Lookup, Prediction, Principal, Ranking, Standing


class ModelTier(Protocol):
    """One forward pass for a question."""

    async def predict(self, text: str, deadline: Deadline, tenant: str = "default") -> Prediction:
        """Logits and embedding; tenants share the model fairly.

        Raises DeadlineExceeded (not computed), InferenceFailed, Overloaded, Unavailable.
        """
        ...


class KnowledgeTier(Protocol):
    """Documents of collections, as the caller may see them, by a prediction's embedding. A scan of 1,000
    passages takes 0.1 ms and is made for all questions of a pass by the first; searches run inline."""

    def rank(
        self, collection: str, prediction: Prediction, principal: Principal, least: int, also: Sequence[str] = ()
    ) -> Ranking:
        """The nearest documents that the principal may read, at least `least` if there are, and `also` these.

        Raises SearchFailed, UnknownCollection.
        """
        ...

    def look(self, collection: str, text: str, prediction: Prediction, principal: Principal) -> Lookup | None:
        """The best documents by meaning and words that the principal may read, and how sure that makes; None where the
        collection has no confidence of its own, and `rank` is all there is.

        Raises SearchFailed, UnknownCollection.
        """
        ...

    def standing(self, collection: str, document_id: str, known_hash: str, principal: Principal) -> Standing:
        """How that document is now; `known_hash` is its content hash when the model was trained."""
        ...

    def read(
        self, collection: str, document_id: str, prediction: Prediction, principal: Principal, citations: int
    ) -> Hit | None:
        """That document with its passages nearest to the question; None if it is gone or may not be read.

        Raises SearchFailed.
        """
        ...


class WordTier(Protocol):
    """Documents of collections, as the caller may see them, by words alone: all that is left without a prediction."""

    def rank_by_words(self, collection: str, text: str, principal: Principal, least: int) -> Ranking:
        """The documents that say most of what `text` says, with how much of it (coverage, 0 to 1).

        Raises SearchFailed, UnknownCollection.
        """
        ...

    def read_by_words(
        self, collection: str, document_id: str, text: str, principal: Principal, citations: int
    ) -> Hit | None:
        """As `read`, with the passages that say most of it; their similarities are 0."""
        ...


class SearchTier(KnowledgeTier, WordTier, Protocol):
    """Both."""
