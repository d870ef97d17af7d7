"""Values of `types` to messages of the API and back. Both directions, so that client and server cannot disagree."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.dates import microseconds
from gateway.types import (
    Answer,
    CertificateStatus,
    Citation,
    CitationState,
    Document,
    Evidence,
    Found,
    Hit,
    Policy,
    Ranker,
    Reason,
    Route,
    SearchConfidence,
)
from gateway.v1 import gateway_pb2 as pb

TIMEOUT = "x-timeout-ms"
"""Metadata: how long a caller gives a call. gRPC tells a server how much of that is left, and not how much is gone."""
LONGEST_MS = 10**9 - 1


def _number(enum: Any, name: str) -> Any:
    """The wire value, an int. The generated hints want the enum and types-protobuf promises an int: hence Any."""
    return enum.Value(name)


POLICY_TO_PROTO = {policy: _number(pb.Policy, f"POLICY_{policy.name}") for policy in Policy}
ROUTE_TO_PROTO = {route: _number(pb.Route, f"ROUTE_{route.name}") for route in Route}
REASON_TO_PROTO = {reason: _number(pb.Reason, f"REASON_{reason.name}") for reason in Reason}
CERTIFICATE_TO_PROTO = {status: _number(pb.Certificate, f"CERTIFICATE_{status.name}") for status in CertificateStatus}
STATE_TO_PROTO = {state: _number(pb.CitationState, f"CITATION_STATE_{state.name}") for state in CitationState}
WATCH_OPS = ("put", "delete", "end", "seen", "encoder")
WATCH_OP_TO_PROTO = {op: _number(pb.WatchOp, f"WATCH_OP_{op.upper()}") for op in WATCH_OPS}

RANKER_TO_PROTO = {ranker: _number(pb.Ranker, f"RANKER_{ranker.name}") for ranker in Ranker}

POLICY_FROM_PROTO = {number: policy for policy, number in POLICY_TO_PROTO.items()}
ROUTE_FROM_PROTO = {number: route for route, number in ROUTE_TO_PROTO.items()}
REASON_FROM_PROTO = {number: reason for reason, number in REASON_TO_PROTO.items()}
CERTIFICATE_FROM_PROTO = {number: status for status, number in CERTIFICATE_TO_PROTO.items()}
RANKER_FROM_PROTO = {number: ranker for ranker, number in RANKER_TO_PROTO.items()}
STATE_FROM_PROTO = {number: state for state, number in STATE_TO_PROTO.items()}
WATCH_OP_FROM_PROTO = {number: op for op, number in WATCH_OP_TO_PROTO.items()}


def answer_to_proto(answer: Answer, request_id: str = "") -> pb.AnswerResponse:
    """The whole answer; an abstention also gets its hand-off."""
    return pb.AnswerResponse(
        request_id=request_id,
        route=ROUTE_TO_PROTO[answer.route],
        reason=REASON_TO_PROTO[answer.reason],
        text=answer.text,
        confidence=answer.confidence,
        label=answer.label,
        document_id=answer.document_id,
        citations=[citation_to_proto(citation) for citation in answer.citations],
        handoff=pb.Handoff(document_ids=answer.suggestions) if answer.route is Route.ABSTAIN else None,
        policy=POLICY_TO_PROTO[answer.policy],
        model_confidence=answer.model_confidence,
        retrieval_confidence=answer.retrieval_confidence,
        threshold=answer.threshold,
        certificate=CERTIFICATE_TO_PROTO[answer.certificate],
        certificate_group=answer.certificate_group,
        certified_risk=answer.certified_risk,
        certified_oos_share=answer.certified_oos_share,
        knowledge_version=answer.knowledge_version,
        bundle=answer.bundle,
        timings=[pb.Stage(name=name, seconds=seconds) for name, seconds in answer.timings.items()],
        batch_size=answer.batch_size,
        audit_id=answer.audit_id,
        audited=answer.audited,
        audit_propensity=answer.audit_propensity,
    )


def answer_from_proto(message: pb.AnswerResponse) -> Answer:
    """Raises KeyError for a route, reason, policy or certificate that this version does not know."""
    return Answer(
        route=ROUTE_FROM_PROTO[message.route],
        reason=REASON_FROM_PROTO[message.reason],
        policy=POLICY_FROM_PROTO[message.policy],
        confidence=message.confidence,
        text=message.text,
        label=message.label,
        document_id=message.document_id,
        citations=tuple(citation_from_proto(citation) for citation in message.citations),
        model_confidence=message.model_confidence if message.HasField("model_confidence") else None,
        retrieval_confidence=message.retrieval_confidence if message.HasField("retrieval_confidence") else None,
        threshold=message.threshold,
        certificate=CERTIFICATE_FROM_PROTO[message.certificate],
        certificate_group=message.certificate_group,
        certified_risk=message.certified_risk,
        certified_oos_share=message.certified_oos_share,
        knowledge_version=message.knowledge_version,
        bundle=message.bundle,
        suggestions=tuple(message.handoff.document_ids),
        batch_size=message.batch_size,
        timings={stage.name: stage.seconds for stage in message.timings},
        audit_id=message.audit_id,
        audited=message.audited,
        audit_propensity=message.audit_propensity,
    )


def answer_keys(answer: Answer, request_id: str = "") -> dict[str, Any]:
    """As JSON has it, with the keys of the API: all of them but what is absent."""
    found = MessageToDict(
        answer_to_proto(answer, request_id), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    # 64-bit numbers are strings in protobuf's JSON, for the sake of languages whose numbers are doubles.
    found["knowledge_version"] = answer.knowledge_version
    for shown, citation in zip(found["citations"], answer.citations, strict=True):
        shown["document_version"] = citation.version
    return {one.name: found[one.name] for one in pb.AnswerResponse.DESCRIPTOR.fields if one.name in found}


def evidence_to_proto(evidence: Evidence) -> pb.SearchResponse:
    return pb.SearchResponse(
        hits=[_hit_to_proto(hit) for hit in evidence.hits], knowledge_version=evidence.knowledge_version
    )


def found_from_proto(message: pb.SearchHit) -> Found:
    return Found(
        document_id=message.document_id,
        title=message.title,
        uri=message.uri,
        similarity=message.similarity,
        citations=tuple(citation_from_proto(citation) for citation in message.citations),
        score=message.score,
    )


def document_to_proto(document: Document, has_body: bool = True) -> pb.Document:
    return pb.Document(
        id=document.id,
        title=document.title,
        uri=document.uri,
        updated=document.updated,
        answer=document.answer,
        body=document.text.removeprefix(document.answer).strip() if has_body else "",
        groups=sorted(document.groups),
        effective=_to_timestamp(document.effective) if document.effective else None,
        expires=_to_timestamp(document.expires) if document.expires != math.inf else None,
    )


def document_from_proto(message: pb.Document) -> Document:
    """Its text begins with the answer, on one line."""
    answer = " ".join(message.answer.split())
    return Document(
        id=message.id,
        title=message.title,
        uri=message.uri,
        updated=message.updated,
        answer=answer,
        text=f"{answer}\n\n{message.body.strip()}\n",
        groups=frozenset(message.groups),
        effective=_from_timestamp(message.effective) if message.HasField("effective") else 0.0,
        expires=_from_timestamp(message.expires) if message.HasField("expires") else math.inf,
    )


def _to_timestamp(seconds: float) -> Timestamp:
    whole, rest = divmod(microseconds(seconds), 10**6)
    return Timestamp(seconds=whole, nanos=1000 * rest)


def _from_timestamp(message: Timestamp) -> float:
    return (message.seconds * 10**6 + message.nanos // 1000) / 10**6  # of whole numbers: as datetime.timestamp has it


def _hit_to_proto(hit: Hit) -> pb.SearchHit:
    return pb.SearchHit(
        document_id=hit.document.id,
        title=hit.document.title,
        uri=hit.document.uri,
        similarity=hit.similarity,
        citations=[citation_to_proto(citation) for citation in hit.citations],
        score=hit.score,
    )


def citation_to_proto(citation: Citation) -> pb.Citation:
    return pb.Citation(
        document_id=citation.document_id,
        title=citation.title,
        uri=citation.uri,
        updated=citation.updated,
        start=citation.start,
        end=citation.end,
        quote=citation.quote,
        quote_sha256=citation.quote_sha256,
        similarity=citation.similarity,
        document_version=citation.version,
    )


def citation_from_proto(message: pb.Citation) -> Citation:
    return Citation(
        document_id=message.document_id,
        title=message.title,
        uri=message.uri,
        updated=message.updated,
        start=message.start,
        end=message.end,
        quote=message.quote,
        quote_sha256=message.quote_sha256,
        similarity=message.similarity,
        version=message.document_version,
    )


def confidence_to_proto(confidence: SearchConfidence, is_used: bool = False) -> pb.Confidence:
    return pb.Confidence(**dataclasses.asdict(confidence), is_used=is_used)


def confidence_from_proto(message: pb.Confidence) -> SearchConfidence:
    return SearchConfidence(
        weights=tuple(message.weights),
        bias=message.bias,
        centre=tuple(message.centre),
        scale=tuple(message.scale),
        threshold=message.threshold,
        precision=message.precision,
        questions=message.questions,
        features_version=message.features_version,
        scored_by=message.scored_by,
    )


def timeout_claim(seconds: float) -> tuple[str, str]:
    """That a call is given so many seconds, as metadata."""
    return TIMEOUT, str(min(round(1000 * seconds), LONGEST_MS))
