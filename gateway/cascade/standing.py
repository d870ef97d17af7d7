"""Whether the certificate of what serves still stands: the one thing about it that changes while it serves."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from gateway.cascade.policy import Thresholds
from gateway.types import CertificateStatus, Question

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """Of the questions: those of one tenant, or those about one collection."""

    tenant: str = ""
    collection: str = ""


class CertificateStanding:
    """Of one loaded bundle. It is fresh until a monitor marks it stale, for all questions or for a part of them.

    The next decision already goes by the stricter thresholds that were certified beforehand. Tightening is safe to do
    by itself; loosening takes a new certificate, so the way back is another load: a swap or a start. Or the word of an
    operator who has looked at what a monitor found, and renews what that one has marked. Reading costs a question one
    attribute. Any thread may mark and read.
    """

    __slots__ = ("_lock", "_marks", "is_stale", "parts", "reason")

    def __init__(self) -> None:
        self.is_stale = False
        """For all questions."""
        self.parts: dict[Part, str] = {}
        """Of the questions for which it is stale, with the reasons."""
        self.reason = ""
        self._marks: dict[tuple[str, Part | None], str] = {}
        self._lock = threading.Lock()

    def mark_stale(self, reason: str, by: str = "", part: Part | None = None) -> None:
        """`reason` is for people: what has moved, and where it was seen. The first one of each monitor, `by`, stays.
        None: all questions."""
        with self._lock:
            if (by, part) in self._marks:
                return
            self._marks[by, part] = reason
            self._update()
        where = (
            "" if part is None else f" for {'tenant' if part.tenant else 'collection'} {part.tenant or part.collection}"
        )
        log.warning(
            "the certificate is stale%s, and the model answers by its stricter threshold from now on: %s", where, reason
        )

    def renew(self, by: str) -> None:
        """Take back what that monitor has marked; what others have stays."""
        with self._lock:
            self._marks = {key: reason for key, reason in self._marks.items() if key[0] != by}
            self._update()

    def is_stale_for(self, question: Question) -> bool:
        return self.is_stale or bool(self.parts and self._is_in_part(question))

    def _is_in_part(self, question: Question) -> bool:
        parts = self.parts
        return Part(tenant=question.principal.tenant) in parts or Part(collection=question.collection) in parts

    def _update(self) -> None:
        whole = [reason for (_, part), reason in self._marks.items() if part is None]
        self.parts = {part: reason for (_, part), reason in self._marks.items() if part is not None}
        self.reason = whole[0] if whole else ""  # first: whoever sees that it is stale finds out why
        self.is_stale = bool(whole)


POOLED = "pooled"


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised of a threshold: at most `risk` of the model's answers are wrong, at an out-of-scope share of up
    to `oos_share`. `groups` [labels] says for which answers together: those of a label group that has a certificate of
    its own, by its name, or all of them, POOLED. Nothing is promised where the status is INSUFFICIENT."""

    status: CertificateStatus = CertificateStatus.INSUFFICIENT
    risk: float = 0.0
    oos_share: float = 0.0
    groups: tuple[str, ...] = ()

    def group(self, label: int) -> str:
        """Of a label's number."""
        return self.groups[label] if self.groups else ""

    def stale(self) -> Promise:
        """What never held cannot become stale."""
        return Promise(CertificateStatus.STALE) if self.status is CertificateStatus.VALID else self


@dataclass(frozen=True, slots=True)
class Terms:
    """By what the model may answer, and what is promised of that: for a confidence `alone`, and for one that is
    `informed`, which a search had a part in."""

    thresholds: Thresholds
    alone: Promise
    informed: Promise

    def promise(self, is_informed: bool) -> Promise:
        return self.informed if is_informed else self.alone

    def threshold(self, is_informed: bool) -> float:
        return self.thresholds.informed if is_informed else self.thresholds.answer

    def closed(self) -> Terms:
        """The terms of a stale certificate without stricter thresholds: the model answers nothing."""
        return Terms(self.thresholds.stricter(), self.alone.stale(), self.informed.stale())
