"""The collections' own confidences as one bundle's searches can use them: kept in the store, held by generations."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from gateway.cascade.confidence import FEATURES_VERSION, CollectionCalibration
from gateway.errors import InvalidQuestion
from gateway.knowledge.store import Store
from gateway.types import SearchConfidence

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A collection's confidence. `calibration` is None where it is not used: it was fitted on other scores."""

    fitted: SearchConfidence
    calibration: CollectionCalibration | None


class Confidences:
    """Of the collections in a store, where searches are `scored_by` that: the encoder, and how words are told apart."""

    def __init__(self, store: Store, scored_by: str) -> None:
        self._store = store
        self.scored_by = scored_by

    def held(self, tenant: str, collection: str) -> Held | None:
        """As it is in the store now. Called when it was changed, and so the log tells once of one that is not used."""
        fitted = self._store.confidence(tenant, collection)
        if fitted is None:
            return None
        wrong = self._wrong(fitted)
        if wrong:
            log.warning(
                "%s/%s: its confidence is not used, and retrieval goes by the bundle's: %s %s; `gateway knowledge "
                "calibrate` fits one anew",
                tenant,
                collection,
                *wrong,
            )
        return Held(fitted, None if wrong else CollectionCalibration(fitted))

    def check(self, fitted: SearchConfidence) -> None:
        """Raises InvalidQuestion for one that would not be used."""
        if wrong := self._wrong(fitted):
            raise InvalidQuestion(f"confidence.{wrong[0]}", f"{wrong[1]}; fit it anew")

    def _wrong(self, fitted: SearchConfidence) -> tuple[str, str] | None:
        """Which field does not fit, and why."""
        if fitted.features_version != FEATURES_VERSION:
            return "features_version", f"is {fitted.features_version}, and this version reads {FEATURES_VERSION}"
        if fitted.scored_by != self.scored_by:
            return "scored_by", "is another encoder, or another way to tell words apart, than searches go by now"
        return None
