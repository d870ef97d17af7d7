"""The methods of gateway.v1.Knowledge that write and read stored collections: checked, done once, told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from gateway.errors import InvalidQuestion, UnknownCollection, UnknownDocument
from gateway.knowledge.changes import Change, Create, Drop, Put, Receipt, Remove, Stored
from gateway.knowledge.library import may_read
from gateway.rpc.convert import document_from_proto, document_to_proto
from gateway.rpc.handler import Call, Method
from gateway.rpc.service import CollectionDescription, Edited, Gateway
from gateway.rpc.validate import NAME, check_text
from gateway.types import Document, Principal
from gateway.v1 import gateway_pb2 as pb

SERVICE = "gateway.v1.Knowledge"
MOST_DOCUMENTS = 256
MAX_ID, MAX_TITLE, MAX_ANSWER, MAX_BODY, MAX_URI, MAX_KEY = 128, 500, 10_000, 200_000, 2_000, 128
MAX_VERSION = 2**63 - 1
DEFAULT_PAGE, MAX_PAGE = 100, 1000
LISTED_TOGETHER = 64

_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_ID - 1}}}")
_KEY = re.compile(rf"[\x20-\x7e]{{0,{MAX_KEY}}}")


class Editing:
    """Of the collections in `edited`; None where the server stores none."""

    def __init__(self, gateway: Gateway, edited: Edited | None) -> None:
        self._gateway = gateway
        self._edited = edited

    def methods(self) -> list[Method[Any, Any]]:
        return [
            Method(SERVICE, "Upsert", pb.UpsertRequest, self.upsert, lambda request: len(_documents_in(request))),
            Method(SERVICE, "Delete", pb.DeleteRequest, self.delete),
            Method(SERVICE, "Get", pb.GetRequest, self.get),
            Method(SERVICE, "List", pb.ListRequest, self.list),
            Method(SERVICE, "CreateCollection", pb.CreateCollectionRequest, self.create),
            Method(SERVICE, "DropCollection", pb.DropCollectionRequest, self.drop),
            Method(SERVICE, "ListCollections", pb.ListCollectionsRequest, self.list_collections),
        ]

    async def upsert(self, request: pb.UpsertRequest, call: Call) -> pb.WriteResponse:
        changes = [
            Put(
                document_of(one, f"documents[{at}]."),
                one.expected_version if one.HasField("expected_version") else None,
            )
            for at, one in enumerate(request.documents)
        ]
        _check_different([one.document.id for one in changes], "documents")
        return await self._write(call, request.collection, changes, request.idempotency_key)

    async def delete(self, request: pb.DeleteRequest, call: Call) -> pb.WriteResponse:
        ids = list(request.document_ids)
        if not 1 <= len(ids) <= MOST_DOCUMENTS:
            raise InvalidQuestion("document_ids", f"must be 1 to {MOST_DOCUMENTS}")
        for at, one in enumerate(ids):
            _check_id(f"document_ids[{at}]", one)
        _check_different(ids, "document_ids")
        return await self._write(call, request.collection, [Remove(one) for one in ids], request.idempotency_key)

    async def create(self, request: pb.CreateCollectionRequest, call: Call) -> pb.WriteResponse:
        if not NAME.fullmatch(request.collection):
            raise InvalidQuestion("collection", "must be 1 to 63 letters, digits, '.', '_' or '-'")
        if request.collection in self._gateway.collections():
            raise InvalidQuestion("collection", "is the name of one that is read from a folder")
        place = (call.caller.principal.tenant, request.collection)
        return _written(await self._there().write(place, [Create()]))

    async def drop(self, request: pb.DropCollectionRequest, call: Call) -> pb.WriteResponse:
        place = (call.caller.principal.tenant, request.collection)
        return _written(await self._there().write(place, [Drop()]))

    async def list_collections(self, request: pb.ListCollectionsRequest, call: Call) -> pb.ListCollectionsResponse:
        theirs = (await self._current()).collections_of(call.caller.principal.tenant) if self._edited else ()
        return pb.ListCollectionsResponse(
            collections=[
                *(_collection(one, is_stored=False) for one in self._gateway.describe().collections),
                *(_collection(one, is_stored=True) for one in theirs),
            ]
        )

    async def get(self, request: pb.GetRequest, call: Call) -> pb.StoredDocument:
        edited, tenant = await self._current(), call.caller.principal.tenant
        self._check_stored(tenant, request.collection)
        _check_id("document_id", request.document_id)
        if request.version > MAX_VERSION:
            raise InvalidQuestion("version", "is none")
        last = edited.store.document(tenant, request.collection, request.document_id)
        found = last
        if request.version:
            found = edited.store.document(tenant, request.collection, request.document_id, request.version)
        elif last is not None and last.gone:
            found = None
        # A right that was taken away is so for what the document was before, too.
        if not (last and found and all(may_read(one.document, call.caller.principal) for one in (last, found))):
            raise UnknownDocument(f"no document {request.document_id!r} in {request.collection!r}")
        return _stored(found)

    async def list(self, request: pb.ListRequest, call: Call) -> pb.ListResponse:
        await self._current()
        self._check_stored(call.caller.principal.tenant, request.collection)
        if request.page_size > MAX_PAGE:
            raise InvalidQuestion("page_size", f"is {request.page_size}, limit {MAX_PAGE}")
        size = request.page_size or DEFAULT_PAGE
        # Texts are read and hashed: beside questions, not between them.
        place = (request.collection, request.page_token)
        found = await asyncio.to_thread(self._listed, call.caller.principal, *place, size)
        return pb.ListResponse(
            documents=found[:size], next_page_token=found[size - 1].document.id if len(found) > size else ""
        )

    def _listed(self, principal: Principal, collection: str, after: str, size: int) -> Sequence[pb.StoredDocument]:
        """One more than a page, if there are so many that the principal may read. Few texts are in memory at a time."""
        found: list[pb.StoredDocument] = []
        while len(found) <= size:
            page = self._there().store.documents(principal.tenant, collection, after, LISTED_TOGETHER)
            found += [_stored(one, has_body=False) for one in page if may_read(one.document, principal)]
            if len(page) < LISTED_TOGETHER:
                break
            after = page[-1].document.id
        return found[: size + 1]

    async def _write(self, call: Call, collection: str, changes: Sequence[Change], key: str) -> pb.WriteResponse:
        tenant = call.caller.principal.tenant
        await self._current()
        self._check_stored(tenant, collection)
        if not _KEY.fullmatch(key):
            raise InvalidQuestion("idempotency_key", f"must be at most {MAX_KEY} printable ASCII characters")
        return _written(await self._there().write((tenant, collection), changes, key))

    async def _current(self) -> Edited:
        """With all that others have written by now."""
        edited = self._there()
        await edited.follow()
        return edited

    def _there(self) -> Edited:
        if self._edited is None:
            raise UnknownCollection("this server stores no collections: it needs a folder for them, knowledge.data")
        return self._edited

    def _check_stored(self, tenant: str, collection: str) -> None:
        if not self._there().stored(tenant, collection):
            raise UnknownCollection(
                f"no stored collection {collection!r} here" if NAME.fullmatch(collection) else "no such collection here"
            )


def _documents_in(request: pb.UpsertRequest) -> Sequence[pb.Document]:
    if not 1 <= len(request.documents) <= MOST_DOCUMENTS:
        raise InvalidQuestion("documents", f"must be 1 to {MOST_DOCUMENTS}")
    return request.documents


def document_of(given: pb.Document, path: str = "") -> Document:
    """Raises InvalidQuestion."""
    _check_id(f"{path}id", given.id)
    check_text(f"{path}title", given.title, MAX_TITLE)
    check_text(f"{path}answer", given.answer, MAX_ANSWER)
    if given.body:
        check_text(f"{path}body", given.body, MAX_BODY)
    for name, text in (("uri", given.uri), ("updated", given.updated)):
        if len(text) > MAX_URI or not text.isprintable():
            raise InvalidQuestion(f"{path}{name}", f"must be at most {MAX_URI} printable characters")
    for group in given.groups:
        if not NAME.fullmatch(group):
            raise InvalidQuestion(f"{path}groups", "each must be 1 to 63 letters, digits, '.', '_' or '-'")
    return document_from_proto(given)


def _check_id(field: str, document_id: str) -> None:
    if not _ID.fullmatch(document_id):
        raise InvalidQuestion(field, f"must be 1 to {MAX_ID} letters, digits, '.', '_' or '-'")


def _check_different(ids: Sequence[str], field: str) -> None:
    if len(set(ids)) < len(ids):
        raise InvalidQuestion(field, "has an id twice")


def _written(receipt: Receipt) -> pb.WriteResponse:
    return pb.WriteResponse(
        knowledge_version=max(receipt.versions, default=0), versions=receipt.versions, is_repeat=receipt.is_repeat
    )


def _collection(one: CollectionDescription, is_stored: bool) -> pb.Collection:
    return pb.Collection(
        name=one.name,
        documents=one.documents,
        passages=one.passages,
        knowledge_version=one.version,
        is_stored=is_stored,
    )


def _stored(found: Stored, has_body: bool = True) -> pb.StoredDocument:
    return pb.StoredDocument(
        document=document_to_proto(found.document, has_body),
        version=found.version,
        ended=found.gone,
        content_hash=found.document.content_hash,
    )
