"""`certificate.json`: what is promised of a bundle's thresholds, and of which files it was measured.

Whoever serves compares the hashes of what it loads with those that the certificate was given for. How the numbers come
about is in `forge/certify.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.cascade.bounds import GRID
from gateway.cascade.policy import NEVER
from gateway.cascade.standing import POOLED, Promise
from gateway.errors import BundleInvalid
from gateway.types import CertificateStatus

FORMAT: Literal[1] = 1
NAME = "certificate.json"
METHOD = "fixed-sequence Learn-then-Test with Clopper-Pearson bounds"

Share = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """Of a file that a bundle holds: nothing unknown in it, and nothing changes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Hashes(Part):
    """sha256 of everything that a precision's thresholds rest on. `calibration` is of the numbers that make a
    confidence, `outcomes` of what the model made of the certification questions, `data` of the files that those are
    from, `grid` of the thresholds that were tried, in their order."""

    graph: str
    weights: str
    tokenizer: str
    calibration: str
    outcomes: str
    data: str
    grid: str

    def differing(self, others: Hashes) -> list[str]:
        """The names of those that are not the same, or that `others` lack: nothing is like nothing."""
        found = {name: getattr(others, name) for name in Hashes.model_fields}
        return [name for name, value in found.items() if not value or value != getattr(self, name)]


class Threshold(Part):
    """At most `risk` of what it accepts is wrong, up to a share out of scope of `certified_up_to_oos_share`; above 1 it
    accepts nothing. And its evidence: of the questions and outliers that certified it, how many it accepts, and how
    many of those are wrong; `upper_bound` is of the risk at the share that was asked for."""

    value: float
    risk: Share
    certified_up_to_oos_share: Share
    accepted: int
    wrong: int
    outliers_accepted: int
    upper_bound: Share

    @property
    def holds(self) -> bool:
        return self.value <= 1


class Group(Part):
    """The model's answers with a label of this group, at the same threshold. `is_certified`: they have enough questions
    for a certificate of their own, up to a share out of scope of `certified_up_to_oos_share`, which need not be that of
    all answers; else they are only part of the pool, and nothing is promised of them alone."""

    is_certified: bool
    certified_up_to_oos_share: Share = 0.0
    accepted: int
    wrong: int
    outliers_accepted: int
    upper_bound: Share


class Confidence(Part):
    """What is promised of one confidence: at `operating`, and at the stricter `back_off` while it is stale.

    `risk_by_oos_share` are pairs of a share out of scope and the upper bound of the risk there, at `operating`.
    `needed` is about how many questions a certificate takes, 0 where none would do.
    """

    operating: Threshold
    back_off: Threshold
    risk_by_oos_share: tuple[tuple[Share, Share], ...]
    groups: dict[str, Group]
    needed: int

    @property
    def status(self) -> CertificateStatus:
        return CertificateStatus.VALID if self.operating.holds else CertificateStatus.INSUFFICIENT

    def promise(self, groups: Sequence[str]) -> Promise:
        """At the operating threshold; `groups` are of the labels."""
        if not self.operating.holds:
            return Promise()
        pooled = self.operating.certified_up_to_oos_share
        shares = {name: one.certified_up_to_oos_share for name, one in self.groups.items() if one.is_certified}
        named = tuple(group if group in shares else POOLED for group in groups)
        own = tuple(shares.get(group, pooled) for group in groups)
        return Promise(self.status, self.operating.risk, pooled, named, own)

    def stale_promise(self, labels: int) -> Promise:
        """At the stricter one, which was certified for all of the model's answers together."""
        if not self.operating.holds:
            return Promise()
        given = self.back_off
        return Promise(CertificateStatus.STALE, given.risk, given.certified_up_to_oos_share, (POOLED,) * labels)


class VariantCertificate(Part):
    """Of one precision. `informed` is of the confidence that a search has a part in, where there is one."""

    hashes: Hashes
    alone: Confidence
    informed: Confidence | None = None

    @property
    def confidences(self) -> dict[str, Confidence]:
        return {"alone": self.alone} | ({"informed": self.informed} if self.informed else {})

    @property
    def thresholds(self) -> list[float]:
        return [at.value for one in self.confidences.values() for at in (one.operating, one.back_off)]


class Certificate(Part):
    """With probability `assurance` over `questions` in scope and `outliers`, at most `risk` of the model's answers are
    wrong, at an out-of-scope share of up to `oos_share`: what was asked for. Each threshold holds by itself with it."""

    format: Literal[1]
    created: str
    method: str
    risk: Annotated[float, Field(gt=0, lt=1)]
    assurance: Annotated[float, Field(gt=0, lt=1)]
    oos_share: Share
    questions: int
    outliers: int
    variants: dict[str, VariantCertificate]

    def problem(self, now: dict[str, Hashes]) -> str:
        """Why it is not of a bundle with these hashes, by precision; empty if it is."""
        for precision, hashes in now.items():
            given = self.variants.get(precision)
            if given is None:
                return f"{NAME} has no {precision} certificate"
            if strange := [one for one in given.thresholds if one not in GRID and one != NEVER]:
                return f"the {precision} certificate has a threshold that was never tried, {strange[0]}"
            if others := given.hashes.differing(hashes):
                return f"the {precision} certificate was given for another {' and another '.join(others)}"
        return ""


def wrong_in(error: ValidationError, most: int | None = 5) -> str:
    """What is wrong, and where, in one line; of the first `most` places."""
    said = ((".".join(map(str, one["loc"])), one["msg"]) for one in error.errors()[:most])
    return "; ".join(f"{where}: {what}" if where else what for where, what in said)


def read(folder: Path) -> Certificate:
    """Raises BundleInvalid."""
    path = folder / NAME
    try:
        return Certificate.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BundleInvalid(f"{path}: {error}") from error
    except ValidationError as error:
        raise BundleInvalid(
            f"{path}: not a certificate of format {FORMAT}: {wrong_in(error)}. Certify the bundle again: "
            f"gateway certify {folder}"
        ) from error


def digest(*parts: object) -> str:
    """One sha256 for several values, which JSON must have."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def threshold(given: Confidence | None, is_back_off: bool = False) -> float:
    """What the model's confidence must reach; NEVER where nothing was certified."""
    if given is None:
        return NEVER
    return (given.back_off if is_back_off else given.operating).value
