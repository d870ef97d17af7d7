"""The methods of gateway.v1.Knowledge that read stored collections, as they are and were, and tell of changes."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any

from gateway.convert import (
    STATE_TO_PROTO,
    WATCH_OP_TO_PROTO,
    citation_to_proto,
    confidence_to_proto,
    document_to_proto,
)
from gateway.errors import InvalidQuestion, Overloaded, UnknownCollection, UnknownDocument
from gateway.knowledge.changes import Stored
from gateway.knowledge.citing import cite
from gateway.knowledge.library import may_read
from gateway.knowledge.rows import Rows
from gateway.knowledge.watching import Watching
from gateway.rpc.admission import Caller
from gateway.rpc.feeds import FeedMethod
from gateway.rpc.handler import Call, Method
from gateway.rpc.reach import MAX_VERSION, SERVICE, Reach, check_id
from gateway.rpc.service import CollectionDescription, Gateway
from gateway.types import Citation, CitationState, Principal
from gateway.v1 import gateway_pb2 as pb

DEFAULT_PAGE, MAX_PAGE = 100, 1000
LISTED_TOGETHER = 16
"""Documents that are read at once: of the longest, 3 MB."""
PAGE_BYTES = 2 << 20
"""gRPC's clients take 4 MB unless told otherwise, and what one document may have beside its body is far less."""
_SHA256 = re.compile(r"(?:[0-9a-fA-F]{64})?")


class Reading:
    """`watching` is None where the server stores no collections; `most_watchers` of each tenant."""

    def __init__(self, gateway: Gateway, reach: Reach, watching: Watching | None, most_watchers: int) -> None:
        self._gateway = gateway
        self._reach = reach
        self._watching = watching
        self._most_watchers = most_watchers
        self._watchers: Counter[str] = Counter()

    def methods(self) -> list[Method[Any, Any]]:
        return [
            Method(SERVICE, "Get", pb.GetRequest, self.get),
            Method(SERVICE, "List", pb.ListRequest, self.list),
            Method(SERVICE, "ListCollections", pb.ListCollectionsRequest, self.list_collections),
            Method(SERVICE, "GetCitation", pb.GetCitationRequest, self.get_citation),
            Method(SERVICE, "Stats", pb.StatsRequest, self.stats),
        ]

    def feeds(self) -> list[FeedMethod[Any, Any]]:
        return [FeedMethod(SERVICE, "Watch", pb.WatchRequest, self.watch)]

    async def list_collections(self, request: pb.ListCollectionsRequest, call: Call) -> pb.ListCollectionsResponse:
        principal = call.caller.principal
        theirs: list[CollectionDescription] = []
        if self._reach.edited is not None:
            edited = await self._reach.current()
            for one in edited.collections_of(principal.tenant):
                seen = self._gateway.seen_by(principal, edited.stored(principal.tenant, one.name))
                theirs.append(replace(seen, name=one.name))
        everybodys = [self._gateway.seen_by(principal, name) for name in self._gateway.collections()]
        return pb.ListCollectionsResponse(
            collections=[
                *(_collection(one, is_stored=False) for one in everybodys),
                *(_collection(one, is_stored=True) for one in theirs),
            ]
        )

    async def get(self, request: pb.GetRequest, call: Call) -> pb.StoredDocument:
        found, _ = await self._found(call.caller.principal, request.collection, request.document_id, request.version)
        return _stored(found)

    async def get_citation(self, request: pb.GetCitationRequest, call: Call) -> pb.GetCitationResponse:
        if not _SHA256.fullmatch(request.quote_sha256):
            raise InvalidQuestion("quote_sha256", "must be a SHA-256 in hexadecimal, or empty")
        found, last = await self._found(call.caller.principal, request.collection, request.document_id, request.version)
        citation = _cited(found, request.start, request.end)
        state = CitationState.DELETED if last.gone else CitationState.SUPERSEDED
        return pb.GetCitationResponse(
            citation=citation_to_proto(citation),
            is_verified=citation.quote_sha256 == request.quote_sha256.lower(),
            state=STATE_TO_PROTO[state if found.gone else CitationState.CURRENT],
            current_version=0 if last.gone else last.version,
        )

    async def _found(
        self, principal: Principal, collection: str, document_id: str, version: int
    ) -> tuple[Stored, Stored]:
        """The document at that version, 0 for now, and the last one, which may be gone. Raises UnknownDocument unless
        the principal may read both: a right that was taken away is so for what the document was before, too."""
        edited = await self._reach.collection(principal.tenant, collection)
        check_id("document_id", document_id)
        if version > MAX_VERSION:
            raise InvalidQuestion("version", "is none")
        place = (principal.tenant, collection)
        last = edited.store.document(*place, document_id)
        found = edited.store.document(*place, document_id, version) if version else last
        if last is not None and may_read(last.document, principal):
            if found is None and edited.store.was_written(*place, document_id, version):
                raise UnknownDocument(f"version {version} of {document_id!r} in {collection!r} is not kept any more")
            if found is not None and may_read(found.document, principal) and (version or not last.gone):
                return found, last
        which = f" at version {version}" if version else ""
        raise UnknownDocument(f"no document {document_id!r} in {collection!r}{which}")

    async def list(self, request: pb.ListRequest, call: Call) -> pb.ListResponse:
        await self._reach.collection(call.caller.principal.tenant, request.collection)
        if request.page_size > MAX_PAGE:
            raise InvalidQuestion("page_size", f"is {request.page_size}, limit {MAX_PAGE}")
        size = request.page_size or DEFAULT_PAGE
        # Texts are read and hashed: beside questions, not between them.
        place = (request.collection, request.page_token)
        return await asyncio.to_thread(self._page, call.caller.principal, *place, size)

    def _page(self, principal: Principal, collection: str, after: str, size: int) -> pb.ListResponse:
        """Of `size` documents, or fewer where that is PAGE_BYTES."""
        found: list[pb.StoredDocument] = []
        total = 0
        with self._reach.there().store.apart() as rows:
            for one in self._listed(principal, collection, after, rows):
                total += one.ByteSize()
                if len(found) == size or (found and total > PAGE_BYTES):
                    return pb.ListResponse(documents=found, next_page_token=found[-1].document.id)
                found.append(one)
        return pb.ListResponse(documents=found)

    def _listed(self, principal: Principal, collection: str, after: str, rows: Rows) -> Iterator[pb.StoredDocument]:
        """Those that the principal may read. Few texts are in memory at a time."""
        while True:
            store = self._reach.there().store
            some = store.documents(principal.tenant, collection, after, LISTED_TOGETHER, rows)
            yield from (_stored(one, has_body=False) for one in some if may_read(one.document, principal))
            if len(some) < LISTED_TOGETHER:
                return
            after = some[-1].document.id

    async def stats(self, request: pb.StatsRequest, call: Call) -> pb.StatsResponse:
        tenant = call.caller.principal.tenant
        edited = await self._reach.collection(tenant, request.collection)
        now = next(one for one in edited.collections_of(tenant) if one.name == request.collection)
        disk = await asyncio.to_thread(edited.store.figures, tenant, request.collection)
        return pb.StatsResponse(
            documents=now.documents,
            passages=now.passages,
            segments=now.segments,
            knowledge_version=now.version,
            superseded_versions=disk.superseded,
            oldest_superseded=disk.oldest,
            text_bytes=disk.text_bytes,
            vector_bytes=disk.vector_bytes,
            confidence=_confidence(now),
            encoders=[
                pb.EncoderStats(name=name, documents=count, is_used=now.scored_by.startswith(f"{name} "))
                for name, count in disk.embedded.items()
            ],
        )

    async def watch(self, request: pb.WatchRequest, caller: Caller) -> AsyncGenerator[pb.WatchResponse, None]:
        principal = caller.principal
        await self._reach.collection(principal.tenant, request.collection)
        if request.after > MAX_VERSION:
            raise InvalidQuestion("after", "is no version")
        if self._watching is None:
            raise UnknownCollection("this server stores no collections")
        changes = self._watching.changes((principal.tenant, request.collection), principal, request.after)
        with self._watcher(principal.tenant):
            async with aclosing(changes):
                async for one in changes:
                    yield pb.WatchResponse(
                        op=WATCH_OP_TO_PROTO[one.op],
                        document_id=one.document_id,
                        version=one.version,
                        encoder=one.encoder,
                    )

    @contextmanager
    def _watcher(self, tenant: str) -> Iterator[None]:
        """One of the tenant's, for as long as the `with` lasts. Raises Overloaded."""
        if self._watchers[tenant] >= self._most_watchers:
            raise Overloaded(f"{self._watchers[tenant]} streams of this tenant watch, limit {self._most_watchers}")
        self._watchers[tenant] += 1
        try:
            yield
        finally:
            self._watchers[tenant] -= 1
            if not self._watchers[tenant]:
                del self._watchers[tenant]


def _cited(found: Stored, start: int, end: int) -> Citation:
    """What that version has there. Raises InvalidQuestion for a span that it has not."""
    document = found.document
    if end > len(document.text):
        raise InvalidQuestion("end", f"is {end}, and the document has {len(document.text)} characters at that version")
    if start >= end:
        raise InvalidQuestion("start", f"is {start}, and the end {end}")
    return cite(document, found.version, start, end, 0.0)


def _collection(one: CollectionDescription, is_stored: bool) -> pb.Collection:
    return pb.Collection(
        name=one.name,
        documents=one.documents,
        passages=one.passages,
        knowledge_version=one.version,
        is_stored=is_stored,
        confidence=_confidence(one),
        scored_by=one.scored_by,
    )


def _confidence(one: CollectionDescription) -> pb.Confidence | None:
    return confidence_to_proto(one.confidence, one.is_confidence_used) if one.confidence else None


def _stored(found: Stored, has_body: bool = True) -> pb.StoredDocument:
    return pb.StoredDocument(
        document=document_to_proto(found.document, has_body),
        version=found.version,
        ended=found.gone,
        content_hash=found.document.content_hash,
    )
