"""Whether the certificate of what serves still stands: the one thing about it that changes while it serves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.cascade.policy import Thresholds
from gateway.types import CertificateStatus, Doubter, Question

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """Of the questions: those of one tenant, or those about one collection."""

    tenant: str = ""
    collection: str = ""

    def __str__(self) -> str:
        return f"tenant {self.tenant}" if self.tenant else f"collection {self.collection}"


@dataclass(frozen=True, slots=True)
class Doubt:
    """`by` whom, of what `part` of the questions (None: of all), and a `reason` for people: what has moved, and where
    it was seen."""

    by: Doubter
    part: Part | None
    reason: str


class Keeper(Protocol):
    """Where doubts about one bundle's certificate outlive the process. From any thread."""

    def kept(self) -> Sequence[Doubt]: ...

    def keep(self, doubt: Doubt) -> None:
        """Without waiting for the disk."""
        ...

    def drop(self, by: Doubter) -> None: ...

    def settle(self) -> None:
        """Wait until all are kept."""
        ...


class CertificateStanding:
    """Of one loaded bundle. It is fresh until a monitor marks it stale, for all questions or for a part of them.

    The next decision already goes by the stricter thresholds that were certified beforehand. Tightening is safe to do
    by itself; loosening takes a new certificate, or the word of an operator who has looked at what a monitor found, and
    renews what that one has marked. With a `keeper` no other load of the same bundle takes a mark back; without one, a
    start and a swap do. Reading costs a question one attribute. Any thread may mark and read.
    """

    __slots__ = ("_keeper", "_lock", "_marks", "is_stale", "parts", "reason")

    def __init__(self, keeper: Keeper | None = None) -> None:
        self.is_stale = False
        """For all questions."""
        self.parts: dict[Part, str] = {}
        """Of the questions for which it is stale, with the reasons."""
        self.reason = ""
        self._keeper = keeper
        self._lock = threading.Lock()
        kept = keeper.kept() if keeper else ()
        self._marks = {(one.by, one.part): one.reason for one in kept}
        self._update()
        for one in kept:
            log.warning("the certificate was stale before this start, and is%s: %s", _of(one.part), one.reason)

    def mark_stale(self, reason: str, by: Doubter = Doubter.DRIFT, part: Part | None = None) -> None:
        """See `Doubt`. The first reason of each monitor stays."""
        with self._lock:
            if (by, part) in self._marks:
                return
            self._marks[by, part] = reason
            self._update()
        log.warning(
            "the certificate is stale%s, and the model answers by its stricter threshold from now on: %s",
            _of(part),
            reason,
        )
        if self._keeper:
            self._keeper.keep(Doubt(by, part, reason))

    def renew(self, by: Doubter) -> None:
        """Take back what that monitor has marked; what others have stays. Raises StoreFailed: then nothing has
        changed."""
        if self._keeper:
            self._keeper.drop(by)
        with self._lock:
            self._marks = {key: reason for key, reason in self._marks.items() if key[0] != by}
            self._update()

    def settle(self) -> None:
        """Wait until what is marked is kept, as far as it can be."""
        if self._keeper:
            self._keeper.settle()

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


def _of(part: Part | None) -> str:
    return "" if part is None else f" for {part}"


POOLED = "pooled"


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised of a threshold: at most `risk` of the model's answers are wrong, at an out-of-scope share of up
    to `oos_share`. `groups` [labels] says for which answers together: those of a label group that has a certificate of
    its own, by its name, or all of them, POOLED; `group_oos_shares` [labels] up to which share out of scope that is.
    Nothing is promised where the status is INSUFFICIENT."""

    status: CertificateStatus = CertificateStatus.INSUFFICIENT
    risk: float = 0.0
    oos_share: float = 0.0
    groups: tuple[str, ...] = ()
    group_oos_shares: tuple[float, ...] = ()

    def group(self, label: int) -> str:
        """Of a label's number."""
        return self.groups[label] if self.groups else ""

    def group_oos_share(self, label: int) -> float:
        """Of what is promised of its group."""
        return self.group_oos_shares[label] if self.group_oos_shares else self.oos_share

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
