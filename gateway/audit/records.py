"""A record: one line of JSON, which carries the hash of the line before it. What becomes of an answer in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from gateway.audit.cases import Verdict
from gateway.audit.marks import Mark, Marker
from gateway.types import Answer, Question

GENESIS = "0" * 64
"""Stands for the line before the first."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


class Kind(StrEnum):
    """What a record tells. OPEN and CLOSE: a gateway began and ended to write; an OPEN without a CLOSE before it comes
    after a crash. DROPPED: so many records are missing here. REMOVED: the oldest segments were, up to `until`."""

    OPEN = "open"
    ANSWER = "answer"
    FEEDBACK = "feedback"
    DROPPED = "dropped"
    REMOVED = "removed"
    CLOSE = "close"


class Head(NamedTuple):
    """The end of a chain: its last record's number, and that line's SHA-256."""

    seq: int = 0
    sha256: str = GENESIS


class Answered(NamedTuple):
    """An answer as it is given to the log: nothing is made of it on the way of an answer. `seconds`: what its caller
    waited; `at` in seconds since 1970; `manifest`: the beginning of the SHA-256 of all that its bundle holds."""

    mark: Mark
    at: float
    request_id: str
    question: Question
    answer: Answer
    seconds: float
    manifest: str = ""


def sealed(kind: Kind, content: Mapping[str, Any], before: Head) -> tuple[bytes, Head]:
    """The record's line, its end included, and the chain's head with it."""
    seq = before.seq + 1
    line = _encode({"seq": seq, "prev": before.sha256, "kind": kind.value, **content}).encode("utf-8", "replace")
    return line + b"\n", Head(seq, sha256_of(line))


def sha256_of(line: bytes) -> str:
    """Of a line without its end."""
    return hashlib.sha256(line).hexdigest()


def stamp(at: float) -> str:
    """ISO 8601, UTC, to the microsecond: such texts are in the order of their times."""
    seconds, rest = divmod(round(at * 1e6), 1_000_000)
    return f"{_second(seconds)}.{rest:06}Z"


@lru_cache(16)
def _second(seconds: int) -> str:
    """As many answers share one: making it anew for each would be a third of what a record costs."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def content_of(given: Answered, marker: Marker) -> dict[str, Any]:
    """What is written of an answer, times in microseconds. Of its text nothing but what stands for it: the text has a
    file of its own."""
    mark, question, answer = given.mark, given.question, given.answer
    return {
        "time": stamp(given.at),
        "id": mark.id,
        "request_id": given.request_id,
        "tenant": question.principal.tenant,
        "groups": sorted(question.principal.groups),
        "collection": question.collection,
        "text_hash": marker.text_hash(question.principal.tenant, question.text),
        "policy": answer.policy.value,
        "route": answer.route.value,
        "reason": answer.reason.value,
        "confidence": answer.confidence,
        "model_confidence": answer.model_confidence,
        "retrieval_confidence": answer.retrieval_confidence,
        "threshold": answer.threshold,
        "certificate": answer.certificate.value,
        "certificate_group": answer.certificate_group,
        "certified_risk": answer.certified_risk,
        "label": answer.label,
        "document": answer.document_id,
        "citations": [[citation.document_id, citation.version] for citation in answer.citations],
        "bundle": answer.bundle,
        "manifest": given.manifest,
        "knowledge_version": answer.knowledge_version,
        "us": int(given.seconds * 1e6),
        "stages_us": {stage: int(seconds * 1e6) for stage, seconds in answer.timings.items()},
        "drawn": mark.is_drawn,
        "propensity": mark.propensity,
    }


def judged(given: Verdict, at: float) -> dict[str, Any]:
    """What is written of a verdict; of its comment nothing."""
    return {
        "time": stamp(at),
        "id": given.id,
        "tenant": given.tenant,
        "verdict": "incorrect" if given.is_wrong else "correct",
        "label": given.label,
        "document": given.document,
        "no_answer": given.no_answer,
    }


def text_line(answer_id: str, tenant: str, text: str) -> bytes:
    """A question's text, for the file beside the segment."""
    return _encode({"id": answer_id, "tenant": tenant, "text": text}).encode("utf-8", "replace") + b"\n"
