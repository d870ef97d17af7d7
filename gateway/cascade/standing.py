"""Whether the certificate of what serves still stands: the one thing about it that changes while it serves."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from gateway.cascade.policy import Thresholds
from gateway.types import CertificateStatus

log = logging.getLogger(__name__)


class CertificateStanding:
    """Of one loaded bundle. It is fresh until a monitor marks it stale, and never becomes fresh again.

    The next decision already goes by the stricter thresholds that were certified beforehand. Tightening is safe to do
    by itself; loosening takes a new certificate, so the way back is another load: a swap or a start. Reading costs a
    question one attribute. Any thread may mark and read.
    """

    __slots__ = ("is_stale", "reason")

    def __init__(self) -> None:
        self.is_stale = False
        self.reason = ""

    def mark_stale(self, reason: str) -> None:
        """`reason` is for people: what has moved, and where it was seen. The first one stays."""
        if self.is_stale:
            return
        self.reason = reason  # first: whoever sees that it is stale finds out why
        self.is_stale = True
        log.warning("the certificate is stale, and the model answers by its stricter threshold from now on: %s", reason)


@dataclass(frozen=True, slots=True)
class Terms:
    """By what the model may answer, and what is promised of that: for a confidence without a search, and for one that
    a search had a part in."""

    thresholds: Thresholds
    certificate: CertificateStatus
    informed_certificate: CertificateStatus

    def status(self, is_informed: bool) -> CertificateStatus:
        return self.informed_certificate if is_informed else self.certificate

    def threshold(self, is_informed: bool) -> float:
        return self.thresholds.informed if is_informed else self.thresholds.answer

    def stale(self, back_off: Thresholds | None) -> Terms:
        """The terms while the certificate is stale. Without a `back_off` the model answers nothing."""
        return Terms(
            back_off or self.thresholds.stricter(), _stale(self.certificate), _stale(self.informed_certificate)
        )


def _stale(status: CertificateStatus) -> CertificateStatus:
    """What never held cannot become stale."""
    return CertificateStatus.STALE if status is CertificateStatus.VALID else status
