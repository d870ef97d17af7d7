"""What the edge needs of the gateway behind it. `assembly` builds the real one; tests have a fake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gateway.deadline import Deadline
from gateway.knowledge.changes import Change, Receipt, Switched
from gateway.knowledge.store import Store
from gateway.types import (
    Answer,
    BreakerFigures,
    CertificateStatus,
    Degradation,
    Doubter,
    DriftAlarm,
    DriftFigures,
    Evidence,
    Forecast,
    Prediction,
    Principal,
    ProbeFigures,
    Question,
    Ranker,
    SearchConfidence,
    ShadowFigures,
    StoredFigures,
    Workload,
)


@dataclass(frozen=True, slots=True)
class CollectionDescription:
    """What a collection holds now. `version` is the knowledge version of its last change, `segments` are what it is
    searched in. `confidence` is its own, which `is_confidence_used` or not, and `scored_by` what scores its hits: of a
    stored one."""

    name: str
    documents: int
    passages: int
    version: int
    segments: int = 1
    confidence: SearchConfidence | None = None
    is_confidence_used: bool = False
    scored_by: str = ""


@dataclass(frozen=True, slots=True)
class Description:
    """What is served, for people and metrics. `bundle` is name/version, `bundle_sha256` of all that decides what its
    graph puts out, `manifest_sha256` of all that it holds, `loaded` in seconds since the epoch."""

    bundle: str
    bundle_sha256: str
    manifest_sha256: str
    provider: str
    precision: str
    threshold: float
    certificate: CertificateStatus
    loaded: float
    certificate_reason: str = ""
    stale_parts: Mapping[str, str] = field(default_factory=dict)
    """For which tenants and collections alone it is stale, with the reasons."""
    """Why it is not valid, where more is known than that too little was shown."""
    certified_risk: float = 0.0
    certified_oos_share: float = 0.0
    """What it promises; 0 for nothing. See `cascade.standing.Promise`."""
    collections: tuple[CollectionDescription, ...] = ()
    stored: StoredFigures | None = None
    """None where no collections are stored."""
    probe: ProbeFigures = ProbeFigures()  # noqa: RUF009 - frozen
    fallback: str = ""
    """What answers, or would, where the device is lost; empty if nothing does."""
    degraded: Degradation | None = None
    """Why it does."""
    shadow: ShadowFigures | None = None
    """What a candidate beside it has come to; None where there is none."""
    drift: DriftFigures | None = None
    """What has come of comparing questions with the bundle's reference; None where they are not compared."""
    breakers: tuple[BreakerFigures, ...] = ()
    """Of each tier."""
    stuck_seconds: float = 0.0
    """For how long the model's pass that runs now has been running."""
    can_answer: bool = True
    """Not where the device is lost without a fallback: another replica has to answer."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a gateway with stored collections knows of encoders: its own, and what the log has `switched` all to, as far
    as it has read."""

    encoder: str
    switched: Switched | None

    @property
    def is_current(self) -> bool:
        return self.switched is None or self.switched.encoder == self.encoder


class Gateway(Protocol):
    """Answers and searches. Called from the event loop only. `close` is called once, after the last answer."""

    @property
    def default_collection(self) -> str:
        """For requests that name none; empty where no collection is served."""
        ...

    def collections(self) -> Sequence[str]:
        """Names of the collections that are served."""
        ...

    async def answer(self, question: Question, deadline: Deadline) -> Answer:
        """Raises errors.GatewayError; an abstention is an Answer."""
        ...

    async def predict(self, text: str, deadline: Deadline, tenant: str) -> Prediction:
        """What the model itself makes of a text. Raises errors.GatewayError."""
        ...

    async def search(
        self,
        text: str,
        collection: str,
        principal: Principal,
        limit: int,
        deadline: Deadline,
        ranker: Ranker = Ranker.HYBRID,
    ) -> Evidence:
        """The `limit` best documents that the principal may read, by that ranker, with the stages' times.

        Raises errors.GatewayError.
        """
        ...

    async def follow(self) -> None:
        """See what has been written by others. Called before a question's collection is looked up; microseconds."""
        ...

    def version(self, collection: str) -> int:
        """The knowledge version up to which that collection is seen: of stored ones, of all of them together."""
        ...

    def seen_by(self, principal: Principal, collection: str) -> CollectionDescription:
        """What that collection holds that the principal may read."""
        ...

    def waiting(self) -> int:
        """Questions that wait for the model now. Called from any thread, at every scrape."""
        ...

    def forecast(self, characters: int, tenant: str, deadline: Deadline) -> Forecast:
        """How a question of so many characters would fare that this tenant asked now. Called before every question."""
        ...

    def workload(self) -> Workload:
        """What the model tier has to do and has done. Called at every scrape."""
        ...

    def describe(self) -> Description:
        """Cheap: called at every scrape."""
        ...

    async def close(self) -> None: ...


class Startable(Gateway, Protocol):
    """A gateway that is loaded and checked, and takes questions once it was started."""

    def doubt(self, reason: str, by: Doubter) -> None:
        """Mark its certificate stale; see `cascade.standing.CertificateStanding`."""
        ...

    def reset_drift(self) -> None:
        """See `Replaceable`."""
        ...

    def hear_drift(self, alarms: Sequence[DriftAlarm]) -> None:
        """See `Preparable`; of its own bundle."""
        ...

    def start(self) -> None:
        """On the running event loop."""
        ...

    def stored(self, tenant: str, name: str) -> str:
        """See `Edited`."""
        ...

    def collections_of(self, tenant: str) -> Sequence[CollectionDescription]:
        """See `Edited`."""
        ...

    async def write(
        self, place: tuple[str, str], changes: Sequence[Change], key: str = "", writer: Principal | None = None
    ) -> Receipt:
        """See `Edited`."""
        ...

    async def catch_up(self) -> None:
        """See what has been written since it was loaded, or by others."""
        ...

    def heard(self) -> Heard | None:
        """None where no collections are stored. Cheap: asked at every question while another bundle is prepared."""
        ...

    async def record(self) -> None:
        """Write into the log that stored collections are searched by this one's encoder from now on: once, whoever
        else writes the same. Nothing where none are stored. Raises errors.GatewayError, and nothing is written then."""
        ...


class Replaceable(Protocol):
    """A gateway whose bundle can be replaced while it answers. Its methods raise errors.GatewayError, and then the
    bundle that serves goes on serving: Unavailable while another one is being loaded, Draining where the server ends,
    else what is wrong with it."""

    async def swap(self, folder: Path) -> Description:
        """Serve the bundle in `folder`."""
        ...

    async def roll_back(self) -> Description:
        """Serve the one that was served before."""
        ...

    async def cast_shadow(self, folder: Path, share: float) -> Description:
        """Let the bundle in `folder` see that share of the questions, without answering anybody."""
        ...

    async def end_shadow(self) -> None:
        """Let none do so."""
        ...

    async def reset_drift(self) -> Description:
        """An operator has looked: forget what questions were like, and trust the certificate again, unless another
        monitor does not. Unavailable where they are not compared with anything."""
        ...


class Preparable(Replaceable, Protocol):
    """One that is replaced in two steps, so that several can change together. Raises as `Replaceable`."""

    async def prepare(self, folder: Path) -> Description:
        """Load, verify and warm the bundle in `folder`, in the place of any that was prepared before."""
        ...

    async def switch(self, folder: Path) -> Description:
        """Serve what was prepared from `folder`, at once. Unavailable where nothing was."""
        ...

    async def discard(self) -> None:
        """Let go of what was prepared."""
        ...

    async def hear_drift(self, alarms: Sequence[DriftAlarm], manifest_sha256: str) -> None:
        """What other replicas that serve that bundle have found in their questions; nothing if this serves another."""
        ...

    def settle(self) -> None:
        """The server ends: change nothing from now on, and keep nobody waiting for a bundle."""
        ...


class Edited(Protocol):
    """Stored collections, which are written while they are searched. On the event loop."""

    @property
    def store(self) -> Store:
        """What is on disk."""
        ...

    def stored(self, tenant: str, name: str) -> str:
        """What that tenant's collection is searched by; empty if there is none."""
        ...

    async def follow(self) -> None:
        """See `Gateway`."""
        ...

    def collections_of(self, tenant: str) -> Sequence[CollectionDescription]:
        """That tenant's."""
        ...

    async def write(
        self, place: tuple[str, str], changes: Sequence[Change], key: str = "", writer: Principal | None = None
    ) -> Receipt:
        """Change the collection at `place`, tenant and name; on disk and seen by the next question when it returns.
        What the `writer` may not read it does not change; None: one that may read everything.

        Raises errors.GatewayError, and then nothing of it was done.
        """
        ...
