"""The settings of what watches the answers: drift and audit."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from gateway.config.section import Section

_TENANT = re.compile(r"\*|[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""All, or what a caller may be called."""


class DriftMode(StrEnum):
    """Whether questions are watched. ACT: on an alarm the certificate is stale, and the stricter thresholds take over.
    OBSERVE: alarms are told, and change no answer. OFF: nothing is compared."""

    ACT = "act"
    OBSERVE = "observe"
    OFF = "off"


class DriftSection(Section):
    """Whether questions are still like those that the certificate was made with."""

    mode: DriftMode = DriftMode.ACT
    """What comes of comparing all questions with the bundle's reference, where it has one."""
    false_alarms: Annotated[float, Field(gt=0, le=1)] = 0.01
    """So many may be expected in 100,000 questions that are like the reference. Raising it finds drift a little sooner:
    ten times as many, about a tenth."""
    parts: Annotated[int, Field(ge=0, le=4096)] = 16
    """So many tenants are watched on their own, and as many collections; who has not asked for longest makes room."""
    marks: Path | None = None
    """File in which it is kept that a certificate is stale, by drift or by feedback, so that a start does not take it
    back: an operator's `gateway drift reset` does, or a new certificate. None: `stale.json` in `audit.folder`; where
    that is none either, a start is trusted again. It names tenants that have changed."""


class AuditSection(Section):
    """What is written down of each answer, for those who have to account for it."""

    folder: Path | None = None
    """Where records go, a chain for each worker; it is made, for its owner alone. None: nothing is kept, and no
    feedback is taken. That is the default: who asked what is personal data, and takes up disk, so somebody has to
    want it."""
    key: Path | None = None
    """File of 32 to 64 random bytes, which names answers and stands for texts. None: `key` in the folder, made at the
    first start. Replicas behind one balancer need the same, or feedback about an answer is refused by the others."""
    text_tenants: frozenset[str] = frozenset()
    """Tenants whose questions are kept as they were asked; "*": all. Of other questions a keyed hash tells no more than
    that two were the same. Text is what replay and harvest work on."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Of all answers, what is drawn by chance to be judged: the estimate of the real error rate rests on these. Raising
    it makes that sharper sooner, and gives more to judge."""
    tighten: bool = True
    """Where the model's answers are for sure wrong more often than its certificate promises, by those that were drawn
    and judged, the certificate goes stale and the stricter threshold takes over. Any tenant's verdicts count: without
    this, they change figures alone."""
    waiting: Annotated[int, Field(ge=1, le=1_000_000)] = 8192
    """Records that wait to be written, some kB each; beyond these records are dropped, and counted."""
    sync_seconds: Annotated[float, Field(ge=0, le=3600)] = 1.0
    """Records of so many seconds may be lost with the power, and those of 0.1 s where the process is killed. 0: they
    are on disk as soon as they are written."""
    segment_mb: Annotated[int, Field(ge=1, le=4096)] = 32
    """Of one file."""
    max_mb: Annotated[int, Field(ge=2, le=10_000_000)] = 1024
    """Of each worker's chain, about 1.3 million answers; the oldest file is removed when there is more."""
    keep_days: Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)] = 90.0
    """Files in which nothing is younger are removed."""

    @field_validator("text_tenants", mode="before")
    @classmethod
    def _names_in_a_variable(cls, given: object) -> object:
        return [name.strip() for name in given.split(",") if name.strip()] if isinstance(given, str) else given

    @field_validator("text_tenants")
    @classmethod
    def _can_be_tenants(cls, given: frozenset[str]) -> frozenset[str]:
        if strange := [name for name in given if not _TENANT.fullmatch(name)]:
            raise ValueError(f'{strange[0]!r} is no tenant\'s name: give names, in a variable "acme, other", or "*"')
        return given

    @model_validator(mode="after")
    def _a_chain_has_segments(self) -> Self:
        if self.max_mb < 2 * self.segment_mb:
            raise ValueError(f"max_mb is {self.max_mb}, and must be at least two segments of segment_mb")
        return self
