"""The knowledge tier behind a circuit breaker: whatever goes wrong in it is a failed search, and no failed question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from gateway.cascade.breaker import Breaker
from gateway.cascade.tiers import SearchTier
from gateway.errors import SearchFailed, SearchSuspended, UnknownCollection
from gateway.types import Hit, Lookup, Prediction, Principal, Ranking, Standing

Found = TypeVar("Found")


class GuardedKnowledge:
    """A `SearchTier` before another one. Raises SearchFailed for all that goes wrong there but UnknownCollection, and
    SearchSuspended for searches while `breaker` leaves it alone. What is read is no search: a model's answer needs it
    where searches fail, and that it can be read says nothing of them."""

    def __init__(self, tier: SearchTier, breaker: Breaker) -> None:
        self._tier, self._breaker = tier, breaker

    def rank(
        self, collection: str, prediction: Prediction, principal: Principal, least: int, also: Sequence[str] = ()
    ) -> Ranking:
        return self._searched(lambda: self._tier.rank(collection, prediction, principal, least, also))

    def look(self, collection: str, text: str, prediction: Prediction, principal: Principal) -> Lookup | None:
        return self._searched(lambda: self._tier.look(collection, text, prediction, principal))

    def standing(self, collection: str, document_id: str, known_hash: str, principal: Principal) -> Standing:
        return self._tier.standing(collection, document_id, known_hash, principal)

    def read(
        self, collection: str, document_id: str, prediction: Prediction, principal: Principal, citations: int
    ) -> Hit | None:
        return _tried(lambda: self._tier.read(collection, document_id, prediction, principal, citations))

    def rank_by_words(self, collection: str, text: str, principal: Principal, least: int) -> Ranking:
        return self._searched(lambda: self._tier.rank_by_words(collection, text, principal, least))

    def read_by_words(
        self, collection: str, document_id: str, text: str, principal: Principal, citations: int
    ) -> Hit | None:
        return _tried(lambda: self._tier.read_by_words(collection, document_id, text, principal, citations))

    def _searched(self, search: Callable[[], Found]) -> Found:
        if not self._breaker.allows():
            raise SearchSuspended("searches failed again and again, and are not made for now")
        try:
            found = _tried(search)
        except SearchFailed:
            self._breaker.failed()
            raise
        if found is None:  # no collection's own confidence, so no search
            self._breaker.untold()
        else:
            self._breaker.succeeded()
        return found


def _tried(ask: Callable[[], Found]) -> Found:
    try:
        return ask()
    except (SearchFailed, UnknownCollection):
        raise
    except Exception as error:
        raise SearchFailed(repr(error)) from error
