"""The values that travel through the gateway. Frozen, without behaviour beyond what follows from their fields."""

from __future__ import annotations

import enum
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar, cast

if TYPE_CHECKING:  # the client imports this file, and whoever asks a gateway needs no numpy
    import numpy as np
    from numpy.typing import NDArray

Vector: TypeAlias = "NDArray[np.float32]"
"""float32 [dim]; embeddings are of unit length."""
Matrix: TypeAlias = "NDArray[np.float32]"
T = TypeVar("T")


class Route(enum.StrEnum):
    """What answered."""

    MODEL = "model"
    RETRIEVAL = "retrieval"
    ENSEMBLE = "ensemble"
    ABSTAIN = "abstain"


class Reason(enum.StrEnum):
    """Why that route. The API's comments say what each means to a caller."""

    CONFIDENT = "confident"
    LOW_CONFIDENCE = "low_confidence"
    OUT_OF_SCOPE = "out_of_scope"
    ANSWER_CHANGED = "answer_changed"
    ANSWER_WITHDRAWN = "answer_withdrawn"
    ANSWER_FORBIDDEN = "answer_forbidden"
    CERTIFICATE_STALE = "certificate_stale"
    MODEL_UNAVAILABLE = "model_unavailable"
    RETRIEVAL_UNAVAILABLE = "retrieval_unavailable"
    BUDGET = "budget"
    FORCED = "forced"
    NO_EVIDENCE = "no_evidence"


DEGRADING = frozenset({Reason.MODEL_UNAVAILABLE, Reason.RETRIEVAL_UNAVAILABLE, Reason.BUDGET})
"""Reasons that tell of the moment rather than of the question."""


class Policy(enum.StrEnum):
    """How the tiers are combined. The `_only` ones are for measuring and for callers who know which tier they want."""

    CASCADE = "cascade"
    PARALLEL = "parallel"
    ENSEMBLE = "ensemble"
    ROUTING = "routing"
    MODEL_ONLY = "model_only"
    RETRIEVAL_ONLY = "retrieval_only"


class Ranker(enum.StrEnum):
    """What a search goes by: meaning (embeddings), words (BM25), or both."""

    HYBRID = "hybrid"
    DENSE = "dense"
    LEXICAL = "lexical"


class Criticality(enum.StrEnum):
    """How much a question matters to its caller, most first: what is shed first when there is too much."""

    CRITICAL_PLUS = "critical-plus"
    CRITICAL = "critical"
    SHEDDABLE_PLUS = "sheddable-plus"
    SHEDDABLE = "sheddable"


class Denial(enum.StrEnum):
    """Why a call was not let in. MISSING to INVALID: nobody knows who calls. SCOPE to GROUP: it is known, and may not
    do this, or not for that tenant, or not as a member of that group."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    INVALID = "invalid"
    SCOPE = "scope"
    TENANT = "tenant"
    GROUP = "group"


class Doubter(enum.StrEnum):
    """What may mark a certificate stale while it serves: the monitors of drift, or what was said of answers."""

    DRIFT = "drift"
    FEEDBACK = "feedback"


class CertificateStatus(enum.StrEnum):
    """Whether the threshold's guarantee holds: VALID, no longer sure (STALE), or never had (INSUFFICIENT)."""

    VALID = "valid"
    STALE = "stale"
    INSUFFICIENT = "insufficient"


@dataclass(frozen=True, slots=True)
class Document:
    """One article. `text` is the short answer, a blank line, and the body; spans of citations count its characters.

    It is found from `effective` on and no more from `expires` on, both in seconds since 1970.
    """

    id: str
    title: str
    uri: str
    updated: str
    answer: str
    text: str
    groups: frozenset[str] = frozenset()
    effective: float = 0.0
    expires: float = math.inf

    @property
    def content_hash(self) -> str:
        """sha256 over what a reader sees: a change here means that the model may know an older text."""
        seen = json.dumps([self.title, self.answer, self.text], ensure_ascii=False)
        return hashlib.sha256(seen.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrievable span of a document: `text[start:end]` of it, whose hash is `sha256`. `plain` is what is embedded,
    markup taken off."""

    document_id: str
    number: int
    start: int
    end: int
    plain: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a tenant, and the groups whose documents may be read."""

    tenant: str = "default"
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Question:
    """One question as admitted: valid text, a known collection, and what the caller asked for.

    `may_search` is no part of what is asked: without it there is a brown-out, and the tiers do as if no time were left
    for a search.
    """

    text: str
    collection: str
    principal: Principal = Principal()
    policy: Policy = Policy.CASCADE
    max_citations: int = 3
    may_search: bool = field(default=True, compare=False)


class Tier(enum.StrEnum):
    """What answers questions."""

    MODEL = "model"
    KNOWLEDGE = "knowledge"


class BreakerState(enum.StrEnum):
    """CLOSED: the tier is asked. OPEN: it is left alone. HALF_OPEN: one question is trying it."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerFigures:
    """Of a tier's circuit breaker: how it is, how often the tier has failed, and how often it was left alone."""

    tier: Tier
    state: BreakerState
    failures: int = 0
    opened: int = 0


@dataclass(frozen=True, slots=True)
class Forecast:
    """How a question would fare that came now, in seconds.

    `wait` is until its forward pass, `backlog` what that would be if it were less urgent than all that wait, `service`
    from there to the answer. `cost` is what it adds to the queue.
    """

    wait: float
    backlog: float
    service: float
    cost: float


@dataclass(frozen=True, slots=True)
class Workload:
    """What the model tier has to do now, and what it has done. `tokens` are of all passes; `wasted` those of them that
    nobody waited for any more; `left_queue` and `left_pass` count questions whose caller or time went while they waited
    and while they were computed; `late` those that were dropped because they could not be in time any more.
    """

    queued_seconds: float = 0.0
    tokens: int = 0
    wasted: int = 0
    left_queue: int = 0
    left_pass: int = 0
    late: int = 0


class Degradation(enum.StrEnum):
    """Why the model does not run on the device that it was started on."""

    DEVICE_LOST = "device_lost"
    """It fails whatever it is asked."""
    BATCHES_FAIL = "batches_fail"
    """It still answers questions one by one, but no batches, as where its memory has run out."""


class Pass:
    """What one forward pass gave: `logits` [questions, labels] and unit `embeddings` [questions, dim].

    What may be needed of each of them next, from the same prototypes and passages, is made for all of them at once when
    the first needs it: reading those from memory costs far more than the arithmetic. `questions` were in the pass, more
    than are here where it made no numbers for some.
    """

    __slots__ = ("_shared", "embeddings", "logits", "questions")

    def __init__(self, logits: Matrix, embeddings: Matrix, questions: int = 0) -> None:
        self.logits = logits
        self.embeddings = embeddings
        self.questions = questions or len(logits)
        self._shared: dict[int, tuple[object, object]] = {}

    def __len__(self) -> int:
        return len(self.logits)

    def shared(self, maker: object, make: Callable[[Pass], T]) -> T:
        """What `make` gives for this pass, made when the first question asks. `maker`: whose result it is, of which
        there is one kind alone. One thread at a time."""
        # By identity: to compare two of them would compare their arrays. Kept, so that no other takes the same one.
        known = self._shared.get(id(maker))
        if known is None:
            known = self._shared[id(maker)] = (maker, make(self))
        return cast(T, known[1])


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a forward pass gave for one question, which is in `row` of it.

    `timings` are seconds by stage (tokenize, queue, infer). `by_spare`: by the session that took the place of a lost
    device, whose numbers have a calibration of their own.
    """

    forward: Pass
    row: int
    tokens: int
    timings: dict[str, float]
    by_spare: bool = False

    @classmethod
    def alone(cls, logits: Vector, embedding: Vector) -> Prediction:
        """Of a question that had the pass to itself."""
        return cls(Pass(logits[None], embedding[None]), 0, 1, {})

    @property
    def logits(self) -> Vector:
        """[labels]"""
        return cast("Vector", self.forward.logits[self.row])

    @property
    def embedding(self) -> Vector:
        """Unit vector [dim]."""
        return cast("Vector", self.forward.embeddings[self.row])

    @property
    def batch_size(self) -> int:
        """Questions that shared the pass."""
        return self.forward.questions


class Standing(enum.StrEnum):
    """How a document that a label stands for is now, for one caller."""

    CURRENT = "current"
    CHANGED = "changed"
    WITHDRAWN = "withdrawn"
    FORBIDDEN = "forbidden"


class Citation(NamedTuple):
    """A passage shown as evidence; `quote` is `document.text[start:end]`, verified. `version`: the stored document's, 0
    for one from a folder. `similarity`: to six places. (A search makes twenty, each in a fifth of what a frozen
    dataclass takes.)"""

    document_id: str
    title: str
    uri: str
    updated: str
    start: int
    end: int
    quote: str
    quote_sha256: str
    similarity: float
    version: int = 0


class CitationState(enum.StrEnum):
    """How a cited document is now."""

    CURRENT = "current"
    SUPERSEDED = "superseded"
    DELETED = "deleted"


class Hit(NamedTuple):
    """A document found by retrieval, with its best passages first. `similarity` is how near it is: a search's by its
    title and all of its passages, else the best passage's cosine. `score`: what a search ranked it by."""

    document: Document
    similarity: float
    citations: tuple[Citation, ...]
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents with their similarities to a question, nearest first, in one generation of the collection."""

    documents: tuple[tuple[str, float], ...]
    knowledge_version: int


@dataclass(frozen=True, slots=True)
class SearchConfidence:
    """How sure the first hit of a search makes, in the collection that it was fitted for: a logistic regression on
    `cascade.confidence.FEATURES` of that `features_version`, standardised.

    Retrieval answers from `threshold` on; above 1 it never does. On `questions` with known answers, at least
    `precision` of what was answered from there on was right. `scored_by`: what had scored the hits; others' scores
    mean something else.
    """

    weights: tuple[float, ...]
    bias: float
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    threshold: float
    precision: float
    questions: int
    features_version: int
    scored_by: str


@dataclass(frozen=True, slots=True)
class Lookup:
    """What a search by meaning and words found in a collection that has a confidence of its own: documents with their
    scores, best first, how sure that is of the first, and what it must reach."""

    ranking: Ranking
    confidence: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a search found, to be shown: best document first, in one generation of the collection.

    `timings` are seconds by stage, where the whole search was asked for and not only the index.
    """

    hits: tuple[Hit, ...]
    knowledge_version: int
    timings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """A document that a search found, as a caller of the API sees it: with its passages instead of its text. `score` is
    what it was ranked by, `similarity` how near it is."""

    document_id: str
    title: str
    uri: str
    similarity: float
    citations: tuple[Citation, ...]
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What is returned: a decision, its reason, and everything that it rests on.

    The `certificate` is of the model's `threshold`; what it promises, `cascade.standing.Promise` says. `timings` are
    seconds by stage. An abstention carries `suggestions`: the ids of the nearest documents, for whoever takes over.
    `audit_id`, whether it was drawn to be judged (`audited`) and with what probability, the server says of an answer
    that is in its audit log.
    """

    route: Route
    reason: Reason
    policy: Policy
    confidence: float
    text: str = ""
    label: str = ""
    document_id: str = ""
    citations: tuple[Citation, ...] = ()
    model_confidence: float | None = None
    retrieval_confidence: float | None = None
    threshold: float = 1.0
    certificate: CertificateStatus = CertificateStatus.INSUFFICIENT
    certificate_group: str = ""
    certified_risk: float = 0.0
    certified_oos_share: float = 0.0
    knowledge_version: int = 0
    bundle: str = ""
    suggestions: tuple[str, ...] = ()
    batch_size: int = 0
    timings: dict[str, float] = field(default_factory=dict)
    audit_id: str = ""
    audited: bool = False
    audit_propensity: float = 0.0

    @property
    def is_degraded(self) -> bool:
        """Whether a tier that the policy wanted gave nothing: also where the other one was sure enough without it."""
        searches = self.policy is not Policy.MODEL_ONLY and self.knowledge_version > 0
        return self.reason in DEGRADING or (searches and self.retrieval_confidence is None)


@dataclass(frozen=True, slots=True)
class BackfillFigures:
    """Of stored documents that are embedded by a `bundle` which does not serve yet: `done` of a `total`. Nothing where
    none are."""

    bundle: str = ""
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class StoredFigures:
    """What all stored collections hold together, `unkept` of the segments with a graph that could not be written to
    disk. `version`: of the last change that questions see, `written` in seconds since 1970; 0 where there is none.
    `encoder`: what they are searched by, which is what the store was last switched to if `is_encoder_current`, or it
    never was."""

    collections: int = 0
    documents: int = 0
    passages: int = 0
    segments: int = 0
    version: int = 0
    encoder: str = ""
    is_encoder_current: bool = True
    backfill: BackfillFigures = BackfillFigures()
    unkept: int = 0
    written: float = 0.0


@dataclass(frozen=True, slots=True)
class ProbeFigures:
    """Of searches that were made once more by scan: how many documents those `wanted`, and the search had `found`."""

    wanted: int = 0
    found: int = 0


@dataclass(frozen=True, slots=True)
class AuditFigures:
    """What an audit log has come to: records that were `written`, that were `dropped` as there was no room for them,
    and that are `waiting`; its `bytes` on disk; whether it cannot be written now."""

    written: int = 0
    dropped: int = 0
    waiting: int = 0
    bytes: int = 0
    is_failing: bool = False


class DriftMonitor(enum.StrEnum):
    """What of the questions is watched: how sure the model is, how near they are to what it knows, which answers it
    gives, and where they lie."""

    CONFIDENCE = "confidence"
    DISTANCE = "distance"
    LABELS = "labels"
    EMBEDDING = "embedding"


class DriftScope(enum.StrEnum):
    """Of whose questions."""

    ALL = "all"
    TENANT = "tenant"
    COLLECTION = "collection"


@dataclass(frozen=True, slots=True)
class DriftAlarm:
    """A `monitor` has found that questions are others than those that the certificate was made with: of all, or of the
    tenant or collection `name`, after so many `questions` of them; `since` in seconds since 1970."""

    monitor: DriftMonitor
    scope: DriftScope
    name: str
    questions: int
    since: float


@dataclass(frozen=True, slots=True)
class DriftReading:
    """How far the last questions are from the reference, by one test, and how likely that much is where nothing
    drifts."""

    statistic: float
    p_value: float


@dataclass(frozen=True, slots=True)
class DriftFigures:
    """What has come of so many `questions`, beside `skipped` ones for which there was no time, compared with the
    `reference` questions of the bundle.

    `evidence` by monitor is in decimal orders of magnitude below what raises an alarm, which is at 0; `readings` are by
    test, of the last window, and empty until one is full. `tenants` and `collections` are watched on their own.
    """

    reference: int
    questions: int = 0
    skipped: int = 0
    evidence: dict[DriftMonitor, float] = field(default_factory=dict)
    readings: dict[str, DriftReading] = field(default_factory=dict)
    alarms: tuple[DriftAlarm, ...] = ()
    tenants: int = 0
    collections: int = 0


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """How often a route's answers are wrong: of those that were `drawn` by chance so many were `judged`, and `wrong`.

    The `estimate` is of the judged ones, NaN without any. `lower` and `upper` hold at all times at once with 95 %,
    whichever of the drawn ones were not judged. `lower_since`: the rate has been above this, with 95 %, since some day.
    """

    route: str
    drawn: int
    judged: int
    wrong: int
    estimate: float
    lower: float
    upper: float
    lower_since: float


@dataclass(frozen=True, slots=True)
class ShadowFigures:
    """What has come of a candidate `bundle` that sees a `share` of the questions. `answers`: by agreement with those
    that were given; `moves`: of other routes, "from > to". `searches` were made by both: `same_first` of them found the
    same document first, and of the `hits` among the best, so many were `shared`. All but the first two add up."""

    bundle: str
    share: float
    answers: dict[str, int] = field(default_factory=dict)
    moves: dict[str, int] = field(default_factory=dict)
    searches: int = 0
    same_first: int = 0
    hits: int = 0
    shared: int = 0


class Agreement(enum.StrEnum):
    """What a candidate's answer is beside the one that was given."""

    SAME = "same"
    OTHER_DOCUMENT = "other_document"
    OTHER_ROUTE = "other_route"
    FAILED = "failed"
