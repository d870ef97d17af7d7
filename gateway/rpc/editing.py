"""The methods of gateway.v1.Knowledge that write stored collections: checked, done once, told."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from gateway.cascade.confidence import FEATURES
from gateway.cascade.policy import NEVER
from gateway.convert import confidence_from_proto, document_from_proto
from gateway.dates import wrong_span
from gateway.errors import InvalidQuestion
from gateway.knowledge.changes import Calibrate, Change, Create, Drop, Put, Receipt, Remove
from gateway.rpc.admission import Admission
from gateway.rpc.handler import Call, Method
from gateway.rpc.reach import SERVICE, Reach, check_id
from gateway.rpc.service import Gateway
from gateway.rpc.streams import StreamMethod
from gateway.rpc.validate import NAME, check_text
from gateway.types import Document, SearchConfidence
from gateway.v1 import gateway_pb2 as pb

MOST_DOCUMENTS = 256
MAX_TITLE, MAX_ANSWER, MAX_BODY, MAX_URI, MAX_KEY = 500, 10_000, 200_000, 2_000, 128

LARGEST, SMALLEST_SCALE = 1e6, 1e-9
"""Of a confidence's numbers, so that what comes of them is a number too."""
_KEY = re.compile(rf"[\x20-\x7e]{{0,{MAX_KEY}}}")


class Editing:
    """`written` is called after each write."""

    def __init__(self, gateway: Gateway, reach: Reach, admission: Admission, written: Callable[[], None]) -> None:
        self._gateway = gateway
        self._reach = reach
        self._admission = admission
        self._written = written

    def methods(self) -> list[Method[Any, Any]]:
        return [
            Method(SERVICE, "Upsert", pb.UpsertRequest, self.upsert, lambda request: len(_documents_in(request))),
            Method(SERVICE, "Delete", pb.DeleteRequest, self.delete),
            Method(SERVICE, "CreateCollection", pb.CreateCollectionRequest, self.create),
            Method(SERVICE, "DropCollection", pb.DropCollectionRequest, self.drop),
            Method(SERVICE, "SetConfidence", pb.SetConfidenceRequest, self.set_confidence),
        ]

    def streams(self) -> list[StreamMethod[Any, Any]]:
        return [
            StreamMethod(
                SERVICE,
                "UpsertStream",
                pb.UpsertRequest,
                self.upsert_streamed,
                lambda _: math.inf,  # the server's maximum: a stream has no deadline that would say how long is long
                lambda _, refusal, number: pb.WriteResponse(request_number=number, error=refusal.to_proto()),
                at_once=1,  # as a batch may change what the one before it has written
                questions=lambda request: len(_documents_in(request)),
            )
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

    async def upsert_streamed(self, request: pb.UpsertRequest, call: Call) -> pb.WriteResponse:
        response = await self.upsert(request, call)
        response.request_number = call.number
        return response

    async def delete(self, request: pb.DeleteRequest, call: Call) -> pb.WriteResponse:
        ids = list(request.document_ids)
        if not 1 <= len(ids) <= MOST_DOCUMENTS:
            raise InvalidQuestion("document_ids", f"must be 1 to {MOST_DOCUMENTS}")
        for at, one in enumerate(ids):
            check_id(f"document_ids[{at}]", one)
        _check_different(ids, "document_ids")
        return await self._write(call, request.collection, [Remove(one) for one in ids], request.idempotency_key)

    async def create(self, request: pb.CreateCollectionRequest, call: Call) -> pb.WriteResponse:
        if not NAME.fullmatch(request.collection):
            raise InvalidQuestion("collection", "must be 1 to 63 letters, digits, '.', '_' or '-'")
        if request.collection in self._gateway.collections():
            raise InvalidQuestion("collection", "is the name of one that is read from a folder")
        self._reach.there()
        return await self._done(call, request.collection, [Create()])

    async def drop(self, request: pb.DropCollectionRequest, call: Call) -> pb.WriteResponse:
        self._reach.there()
        return await self._done(call, request.collection, [Drop()])

    async def set_confidence(self, request: pb.SetConfidenceRequest, call: Call) -> pb.WriteResponse:
        await self._reach.collection(call.caller.principal.tenant, request.collection)
        given = confidence_of(request.confidence) if request.confidence.weights else None
        return await self._done(call, request.collection, [Calibrate(given)])

    async def _write(self, call: Call, collection: str, changes: Sequence[Change], key: str) -> pb.WriteResponse:
        await self._reach.collection(call.caller.principal.tenant, collection)
        if not _KEY.fullmatch(key):
            raise InvalidQuestion("idempotency_key", f"must be at most {MAX_KEY} printable ASCII characters")
        return await self._done(call, collection, changes, key)

    async def _done(self, call: Call, collection: str, changes: Sequence[Change], key: str = "") -> pb.WriteResponse:
        principal = call.caller.principal
        self._admission.charge(principal.tenant, len(changes))
        receipt = await self._reach.there().write((principal.tenant, collection), changes, key, principal)
        self._written()
        return _response(receipt)


def _documents_in(request: pb.UpsertRequest) -> Sequence[pb.Document]:
    if not 1 <= len(request.documents) <= MOST_DOCUMENTS:
        raise InvalidQuestion("documents", f"must be 1 to {MOST_DOCUMENTS}")
    return request.documents


def document_of(given: pb.Document, path: str = "") -> Document:
    """Raises InvalidQuestion."""
    check_id(f"{path}id", given.id)
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
    for name, moment in (("effective", given.effective), ("expires", given.expires)):
        if not 0 <= moment.nanos < 10**9:
            raise InvalidQuestion(f"{path}{name}", "is no Timestamp: its nanos must be 0 to 999,999,999")
    document = document_from_proto(given)
    if wrong := wrong_span(document.effective, document.expires):
        raise InvalidQuestion(f"{path}{wrong[0]}", wrong[1])
    return document


def confidence_of(given: pb.Confidence) -> SearchConfidence:
    """Raises InvalidQuestion."""
    for name, values in (("weights", given.weights), ("centre", given.centre), ("scale", given.scale)):
        if len(values) != len(FEATURES):
            raise InvalidQuestion(f"confidence.{name}", f"must be {len(FEATURES)} numbers, one for each feature")
    numbers = {"weights": given.weights, "bias": [given.bias], "centre": given.centre, "scale": given.scale}
    for name, some in numbers.items():
        if not all(abs(one) <= LARGEST for one in some):  # nor NaN
            raise InvalidQuestion(f"confidence.{name}", f"must be numbers of {-LARGEST:g} to {LARGEST:g}")
    if min(given.scale) < SMALLEST_SCALE:
        raise InvalidQuestion("confidence.scale", f"must be at least {SMALLEST_SCALE:g}")
    if not (0 <= given.threshold <= 1 or given.threshold == NEVER):
        raise InvalidQuestion("confidence.threshold", f"must be 0 to 1, or {NEVER:g}, which no confidence reaches")
    if not 0 <= given.precision <= 1:
        raise InvalidQuestion("confidence.precision", "must be 0 to 1")
    return confidence_from_proto(given)


def _check_different(ids: Sequence[str], field: str) -> None:
    if len(set(ids)) < len(ids):
        raise InvalidQuestion(field, "has an id twice")


def _response(receipt: Receipt) -> pb.WriteResponse:
    return pb.WriteResponse(
        knowledge_version=max(receipt.versions, default=0), versions=receipt.versions, is_repeat=receipt.is_repeat
    )
