"""What the edge needs of the gateway behind it. `assembly` builds the real one; tests have a fake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.deadline import Deadline
from gateway.types import Answer, CertificateStatus, Evidence, Principal, Question


@dataclass(frozen=True, slots=True)
class CollectionDescription:
    """What a collection holds now. `version` is the knowledge version."""

    name: str
    documents: int
    passages: int
    version: int


@dataclass(frozen=True, slots=True)
class Description:
    """What is served, for people and metrics. `bundle` is name/version, `loaded` in seconds since the epoch."""

    bundle: str
    bundle_sha256: str
    provider: str
    precision: str
    threshold: float
    certificate: CertificateStatus
    loaded: float
    collections: tuple[CollectionDescription, ...] = ()


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

    async def search(
        self, text: str, collection: str, principal: Principal, limit: int, deadline: Deadline
    ) -> Evidence:
        """The nearest `limit` documents that the principal may read, with the stages' times.

        Raises errors.GatewayError.
        """
        ...

    def waiting(self) -> int:
        """Questions that wait for the model now. Called from any thread, at every scrape."""
        ...

    def describe(self) -> Description:
        """Cheap: called at every scrape."""
        ...

    async def close(self) -> None: ...
