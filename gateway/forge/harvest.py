"""Questions of an audit log that say what a model should learn: proposed with a document, for people to review.

What was judged comes first, then fallbacks that chance has drawn, and where that is asked for all others. Only texts
that the log has kept are used, with what is likely to name somebody taken out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from gateway.audit.cases import Verdict
from gateway.audit.reading import Record
from gateway.forge.near import Texts
from gateway.forge.texts import Labelled
from gateway.types import Route

ACCEPT, REJECT = "accept", "reject"
REVIEWS = (
    f'null, "{ACCEPT}", "{REJECT}", or what is right: {{"document": ...}}, {{"label": ...}}, {{"no_answer": true}}'
)
_PRIVATE = (
    (re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]+\b"), "<email>"),
    (re.compile(r"\b(?:https?://|www\.)\S+"), "<link>"),
    (re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), "<account>"),
    (re.compile(r"\+?\d(?:[ ./()-]{0,2}\d){5,}"), "<number>"),
)
"""What is taken out, and what is put in its place. Names of people are not found."""


class Source(StrEnum):
    """What a proposal rests on, the best first: somebody's word; what retrieval answered, where chance has drawn it to
    be judged; the document that came nearest, where nothing was answered; either of them of answers that were not
    drawn."""

    VERDICT = "verdict"
    RETRIEVAL = "retrieval"
    NEAREST = "nearest"
    UNJUDGED = "unjudged"


@dataclass(frozen=True, slots=True)
class Right:
    """What would answer a question: a document, a label, or both; or that nothing does. Nothing of these: not known."""

    document: str = ""
    label: str = ""
    no_answer: bool = False

    @property
    def is_known(self) -> bool:
        return bool(self.document or self.label or self.no_answer)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A question to learn from. `times`: how often it was asked in these words or nearly; `others`: what else was
    proposed for it. `review` is for a person."""

    text: str
    proposed: Right
    source: Source
    evidence: dict[str, Any]
    times: int = 1
    others: tuple[Right, ...] = ()
    review: Any = None


@dataclass(slots=True)
class Harvest:
    """The `candidates`, and how many questions were left out: `known` already, without their text, or of no use."""

    candidates: list[Candidate] = field(default_factory=list)
    known: int = 0
    without_text: int = 0
    of_no_use: int = 0


def harvest(
    records: Iterable[Record],
    verdicts: Mapping[str, Verdict],
    labels: Mapping[str, str],
    known: Iterable[str] = (),
    has_unjudged: bool = False,
) -> Harvest:
    """`labels`: by the documents that they stand for. `known` texts are left out, as those of test files must be."""
    found, texts = Harvest(), Texts()
    for text in known:
        texts.add(text)
    first = len(texts)
    # The best founded one of those that are nearly the same is kept.
    usable = sorted(_usable(found, records, verdicts, labels, has_unjudged), key=_strength)
    for one in usable:
        number = texts.add(one.text)
        if number is None:
            found.candidates.append(one)
        elif number < first:
            found.known += 1
        else:
            found.candidates[number - first] = _joined(found.candidates[number - first], one)
    return found


def _usable(
    found: Harvest,
    records: Iterable[Record],
    verdicts: Mapping[str, Verdict],
    labels: Mapping[str, str],
    has_unjudged: bool,
) -> Iterator[Candidate]:
    for record in records:
        verdict = verdicts.get(record["id"])
        source = _source(record, verdict, has_unjudged)
        if source is None:
            found.of_no_use += 1
        elif "text" not in record:
            found.without_text += 1
        else:
            proposed = _by_verdict(record, verdict) if verdict else _by_answer(record)
            label = proposed.label or labels.get(proposed.document, "")
            evidence = _evidence(record, verdict)
            yield Candidate(without_names(record["text"]), replace(proposed, label=label), source, evidence)


def _source(record: Record, verdict: Verdict | None, has_unjudged: bool) -> Source | None:
    if verdict is not None:
        return Source.VERDICT
    if record["route"] not in (Route.RETRIEVAL, Route.ABSTAIN):
        return None  # the model's own word teaches it nothing
    if record["drawn"]:
        return Source.RETRIEVAL if record["route"] == Route.RETRIEVAL else Source.NEAREST
    return Source.UNJUDGED if has_unjudged else None


def _by_verdict(record: Record, verdict: Verdict) -> Right:
    if verdict.is_wrong:
        return Right(verdict.document, verdict.label, verdict.no_answer)
    return Right(no_answer=True) if record["route"] == Route.ABSTAIN else _by_answer(record)


def _by_answer(record: Record) -> Right:
    if record["route"] == Route.ABSTAIN:
        return Right(record["citations"][0][0] if record["citations"] else "")
    return Right(record["document"], "" if record["document"] else record["label"])


def _evidence(record: Record, verdict: Verdict | None) -> dict[str, Any]:
    """What a reviewer wants to know of where it comes from."""
    names = ("id", "time", "tenant", "collection", "bundle", "route", "reason", "confidence", "document", "citations")
    found = {name: record[name] for name in names}
    if verdict is not None:
        found["verdict"] = "incorrect" if verdict.is_wrong else "correct"
        if verdict.comment:
            found["comment"] = without_names(verdict.comment)
    return found


def _strength(one: Candidate) -> tuple[int, float]:
    return list(Source).index(one.source), -one.evidence["confidence"]


def _joined(kept: Candidate, other: Candidate) -> Candidate:
    others = kept.others
    if other.proposed.is_known and other.proposed != kept.proposed and other.proposed not in others:
        others = (*others, other.proposed)
    return replace(kept, times=kept.times + 1, others=others)


def without_names(text: str) -> str:
    """With what is likely to name somebody replaced: addresses, links, numbers of six digits and more."""
    for pattern, place in _PRIVATE:
        text = pattern.sub(place, text)
    return text


def line(one: Candidate) -> str:
    """As JSON, for review."""
    return json.dumps(asdict(one), ensure_ascii=False)


def reviewed(file: Path) -> tuple[list[Labelled], list[str]]:
    """What a reviewer has accepted: questions with their categories, and texts that nothing answers. A document that
    no label stands for yet is a new category by its id. Raises ValueError, naming the line."""
    rows: list[Labelled] = []
    outliers: list[str] = []
    for number, content in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not content.strip():
            continue
        try:
            text, right = _accepted(json.loads(content))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file}:{number}: {error}; `review` is {REVIEWS}") from None
        if right is None:
            continue
        if right.no_answer:
            outliers.append(text)
        elif right.is_known:
            rows.append(Labelled(text, right.label or right.document.replace("-", "_"), right.document))
        else:
            raise ValueError(f"{file}:{number}: is accepted, and nothing is proposed: say what is right in `review`")
    return rows, outliers


def _accepted(found: Mapping[str, Any]) -> tuple[str, Right | None]:
    """None where it is rejected, or not reviewed yet."""
    text, review = str(found["text"]), found["review"]
    if review is None or review == REJECT:
        return text, None
    if review == ACCEPT:
        return text, Right(**found["proposed"])
    if isinstance(review, dict):
        return text, Right(**review)
    raise ValueError(f"has the review {review!r}")
