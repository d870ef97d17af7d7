"""Writes and reads the stored collections of a gateway. Every call has a deadline. What is not acknowledged may yet
have been done: send it again under the same key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from gateway.client.calls import Connected, metadata_of, within
from gateway.client.connecting import Tls, channel_to
from gateway.client.failures import CallFailed, failure, failure_of
from gateway.client.streamed import fed, sent
from gateway.convert import (
    STATE_FROM_PROTO,
    WATCH_OP_FROM_PROTO,
    citation_from_proto,
    confidence_from_proto,
    confidence_to_proto,
    document_from_proto,
    document_to_proto,
)
from gateway.types import Citation, CitationState, Document, Principal, SearchConfidence
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc

DEFAULT_TIMEOUT = 10.0
"""Seconds: what is written is embedded first."""
PAGE = 200
"""Documents, or fewer where they are large."""


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a write: from `knowledge_version` on it is seen. `versions` are those of the documents."""

    knowledge_version: int
    versions: tuple[int, ...]
    is_repeat: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """A document at a version; `ended`: at which knowledge version it was replaced or deleted, 0 while it is there.
    `content_hash`: the document's, of its body too where that was left out; empty from a server that gives none."""

    document: Document
    version: int
    ended: int = 0
    content_hash: str = ""


@dataclass(frozen=True, slots=True)
class Collection:
    """What a collection holds. `is_stored`: it can be written. `confidence` is its own, which `is_confidence_used` or
    not; `scored_by` is what scores the hits of a search in it."""

    name: str
    documents: int
    passages: int
    knowledge_version: int
    is_stored: bool
    confidence: SearchConfidence | None = None
    is_confidence_used: bool = False
    scored_by: str = ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a citation showed, without its similarity, and how its document is now. `is_verified`: the document has
    there the text whose hash the citation had. `current_version` is 0 for a document that is deleted."""

    citation: Citation
    is_verified: bool
    state: CitationState
    current_version: int


@dataclass(frozen=True, slots=True)
class EncoderStats:
    """How many of a collection's documents an encoder has embedded, and whether the server searches by it."""

    name: str
    documents: int
    is_used: bool


@dataclass(frozen=True, slots=True)
class Stats:
    """What a collection holds and takes: see `StatsResponse` of the API. `oldest_superseded` is in seconds since the
    epoch, 0 where nothing superseded is kept. `confidence` as in `Collection`."""

    documents: int
    passages: int
    segments: int
    knowledge_version: int
    superseded_versions: int
    oldest_superseded: float
    text_bytes: int
    vector_bytes: int
    confidence: SearchConfidence | None = None
    encoders: tuple[EncoderStats, ...] = ()
    is_confidence_used: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a collection at a knowledge version: `put`, `delete`, `end` (of the collection), `encoder`: what
    all is searched by from then on, or `seen`: all up to this version has been told."""

    op: str
    document_id: str
    version: int
    encoder: str = ""


class Editor(Connected):
    """Safe to share between threads. All methods raise CallFailed; `timeout` is in seconds, of each call; streams have
    none."""

    def __init__(
        self,
        target: str,
        principal: Principal | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        *,
        tls: Tls | None = None,
        api_key: str = "",
    ) -> None:
        """As `AsyncClient`."""
        self._channel = channel_to(target, tls)
        self._stub = gateway_pb2_grpc.KnowledgeStub(self._channel)
        self._metadata = metadata_of(principal, None, api_key)
        self._timeout = timeout

    def upsert(
        self,
        collection: str,
        documents: Sequence[Document],
        *,
        expected: Sequence[int | None] = (),
        idempotency_key: str = "",
    ) -> Written:
        """Write all of the documents or none, each in the place of the one with its id. `expected`: their versions now,
        0 for what must be new, None for any."""
        given = [document_to_proto(one) for one in documents]
        for one, version in zip(given, expected, strict=False):
            if version is not None:
                one.expected_version = version
        request = pb.UpsertRequest(collection=collection, documents=given, idempotency_key=idempotency_key)
        return _written(self._call(self._stub.Upsert, request))

    def delete(self, collection: str, document_ids: Iterable[str], *, idempotency_key: str = "") -> Written:
        """Delete all of them or none; what is not there is no error."""
        request = pb.DeleteRequest(collection=collection, document_ids=document_ids, idempotency_key=idempotency_key)
        return _written(self._call(self._stub.Delete, request))

    def get(self, collection: str, document_id: str, version: int = 0) -> Kept:
        """The document as it is, or as it was at that version."""
        request = pb.GetRequest(collection=collection, document_id=document_id, version=version)
        return _kept(self._call(self._stub.Get, request))

    def list(self, collection: str) -> Iterator[Kept]:
        """All documents that the caller may read, in the order of their ids; without their bodies."""
        token = ""
        while True:
            request = pb.ListRequest(collection=collection, page_size=PAGE, page_token=token)
            page = self._call(self._stub.List, request)
            yield from map(_kept, page.documents)
            token = page.next_page_token
            if not token:
                return

    def upsert_stream(
        self, collection: str, batches: Iterable[Sequence[Document]], *, idempotency_key: str = ""
    ) -> Iterator[Written | CallFailed]:
        """Write the batches one after the other, each whole or not at all; what came of each, in their order. With an
        `idempotency_key` each batch has its own, of that and its number. A few are on their way at a time."""
        requests = (
            pb.UpsertRequest(
                collection=collection,
                documents=[document_to_proto(one) for one in batch],
                idempotency_key=f"{idempotency_key}-{number}" if idempotency_key else "",
            )
            for number, batch in enumerate(batches, 1)
        )
        return sent(lambda asked: self._stub.UpsertStream(asked, metadata=self._metadata), requests, _outcome)

    def citation(self, collection: str, citation: Citation) -> Resolved:
        """What the citation showed, and how its document is now."""
        request = pb.GetCitationRequest(
            collection=collection,
            document_id=citation.document_id,
            version=citation.version,
            start=citation.start,
            end=citation.end,
            quote_sha256=citation.quote_sha256,
        )
        found = self._call(self._stub.GetCitation, request)
        return Resolved(
            citation_from_proto(found.citation), found.is_verified, STATE_FROM_PROTO[found.state], found.current_version
        )

    def watch(self, collection: str, after: int = 0) -> Iterator[Change]:
        """The changes after that knowledge version, and then as they come, until the collection ends. It goes on in
        another stream where a server stops or ends an old one."""
        for told in fed(self._watching(collection), after):
            yield Change(WATCH_OP_FROM_PROTO.get(told.op, ""), told.document_id, told.version, told.encoder)

    def _watching(self, collection: str) -> Callable[[int], Any]:
        return lambda after: self._stub.Watch(
            pb.WatchRequest(collection=collection, after=after), metadata=self._metadata
        )

    def stats(self, collection: str) -> Stats:
        """What the collection holds and takes."""
        found = self._call(self._stub.Stats, pb.StatsRequest(collection=collection))
        numbers = {one.name: getattr(found, one.name) for one in pb.StatsResponse.DESCRIPTOR.fields}
        encoders = tuple(EncoderStats(one.name, one.documents, one.is_used) for one in found.encoders)
        read = {"confidence": _confidence(found), "encoders": encoders}
        return Stats(**numbers | read, is_confidence_used=found.confidence.is_used)

    def create(self, collection: str) -> Written:
        """Begin a collection; one that is there stays as it is."""
        return _written(self._call(self._stub.CreateCollection, pb.CreateCollectionRequest(collection=collection)))

    def drop(self, collection: str) -> Written:
        """End a collection and all that is in it; one that is not there is no error."""
        return _written(self._call(self._stub.DropCollection, pb.DropCollectionRequest(collection=collection)))

    def set_confidence(self, collection: str, confidence: SearchConfidence | None) -> Written:
        """Give the collection its own confidence, in the place of any that it has; None: take that away."""
        given = confidence_to_proto(confidence) if confidence else None
        request = pb.SetConfidenceRequest(collection=collection, confidence=given)
        return _written(self._call(self._stub.SetConfidence, request))

    def collections(self) -> tuple[Collection, ...]:
        """Those that the caller can ask."""
        found = self._call(self._stub.ListCollections, pb.ListCollectionsRequest()).collections
        return tuple(
            Collection(
                one.name,
                one.documents,
                one.passages,
                one.knowledge_version,
                one.is_stored,
                _confidence(one),
                one.confidence.is_used,
                one.scored_by,
            )
            for one in found
        )

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, **within(self._timeout, self._metadata))
        except grpc.RpcError as error:
            raise failure(error) from None


def _written(message: pb.WriteResponse) -> Written:
    return Written(message.knowledge_version, tuple(message.versions), message.is_repeat)


def _confidence(told: pb.Collection | pb.StatsResponse) -> SearchConfidence | None:
    return confidence_from_proto(told.confidence) if told.HasField("confidence") else None


def _outcome(message: pb.WriteResponse) -> Written | CallFailed:
    return failure_of(message.error) if message.HasField("error") else _written(message)


def _kept(message: pb.StoredDocument) -> Kept:
    return Kept(document_from_proto(message.document), message.version, message.ended, message.content_hash)
