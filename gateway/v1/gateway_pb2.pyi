import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Policy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POLICY_UNSPECIFIED: _ClassVar[Policy]
    POLICY_CASCADE: _ClassVar[Policy]
    POLICY_PARALLEL: _ClassVar[Policy]
    POLICY_ENSEMBLE: _ClassVar[Policy]
    POLICY_MODEL_ONLY: _ClassVar[Policy]
    POLICY_RETRIEVAL_ONLY: _ClassVar[Policy]
    POLICY_ROUTING: _ClassVar[Policy]

class Ranker(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RANKER_UNSPECIFIED: _ClassVar[Ranker]
    RANKER_HYBRID: _ClassVar[Ranker]
    RANKER_DENSE: _ClassVar[Ranker]
    RANKER_LEXICAL: _ClassVar[Ranker]

class Route(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUTE_UNSPECIFIED: _ClassVar[Route]
    ROUTE_MODEL: _ClassVar[Route]
    ROUTE_RETRIEVAL: _ClassVar[Route]
    ROUTE_ENSEMBLE: _ClassVar[Route]
    ROUTE_ABSTAIN: _ClassVar[Route]

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_CONFIDENT: _ClassVar[Reason]
    REASON_LOW_CONFIDENCE: _ClassVar[Reason]
    REASON_OUT_OF_SCOPE: _ClassVar[Reason]
    REASON_ANSWER_CHANGED: _ClassVar[Reason]
    REASON_ANSWER_WITHDRAWN: _ClassVar[Reason]
    REASON_ANSWER_FORBIDDEN: _ClassVar[Reason]
    REASON_CERTIFICATE_STALE: _ClassVar[Reason]
    REASON_MODEL_UNAVAILABLE: _ClassVar[Reason]
    REASON_RETRIEVAL_UNAVAILABLE: _ClassVar[Reason]
    REASON_BUDGET: _ClassVar[Reason]
    REASON_FORCED: _ClassVar[Reason]
    REASON_NO_EVIDENCE: _ClassVar[Reason]

class Certificate(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CERTIFICATE_UNSPECIFIED: _ClassVar[Certificate]
    CERTIFICATE_VALID: _ClassVar[Certificate]
    CERTIFICATE_STALE: _ClassVar[Certificate]
    CERTIFICATE_INSUFFICIENT: _ClassVar[Certificate]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_CORRECT: _ClassVar[Verdict]
    VERDICT_INCORRECT: _ClassVar[Verdict]

class CitationState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CITATION_STATE_UNSPECIFIED: _ClassVar[CitationState]
    CITATION_STATE_CURRENT: _ClassVar[CitationState]
    CITATION_STATE_SUPERSEDED: _ClassVar[CitationState]
    CITATION_STATE_DELETED: _ClassVar[CitationState]

class WatchOp(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WATCH_OP_UNSPECIFIED: _ClassVar[WatchOp]
    WATCH_OP_PUT: _ClassVar[WatchOp]
    WATCH_OP_DELETE: _ClassVar[WatchOp]
    WATCH_OP_END: _ClassVar[WatchOp]
    WATCH_OP_SEEN: _ClassVar[WatchOp]
    WATCH_OP_ENCODER: _ClassVar[WatchOp]
POLICY_UNSPECIFIED: Policy
POLICY_CASCADE: Policy
POLICY_PARALLEL: Policy
POLICY_ENSEMBLE: Policy
POLICY_MODEL_ONLY: Policy
POLICY_RETRIEVAL_ONLY: Policy
POLICY_ROUTING: Policy
RANKER_UNSPECIFIED: Ranker
RANKER_HYBRID: Ranker
RANKER_DENSE: Ranker
RANKER_LEXICAL: Ranker
ROUTE_UNSPECIFIED: Route
ROUTE_MODEL: Route
ROUTE_RETRIEVAL: Route
ROUTE_ENSEMBLE: Route
ROUTE_ABSTAIN: Route
REASON_UNSPECIFIED: Reason
REASON_CONFIDENT: Reason
REASON_LOW_CONFIDENCE: Reason
REASON_OUT_OF_SCOPE: Reason
REASON_ANSWER_CHANGED: Reason
REASON_ANSWER_WITHDRAWN: Reason
REASON_ANSWER_FORBIDDEN: Reason
REASON_CERTIFICATE_STALE: Reason
REASON_MODEL_UNAVAILABLE: Reason
REASON_RETRIEVAL_UNAVAILABLE: Reason
REASON_BUDGET: Reason
REASON_FORCED: Reason
REASON_NO_EVIDENCE: Reason
CERTIFICATE_UNSPECIFIED: Certificate
CERTIFICATE_VALID: Certificate
CERTIFICATE_STALE: Certificate
CERTIFICATE_INSUFFICIENT: Certificate
VERDICT_UNSPECIFIED: Verdict
VERDICT_CORRECT: Verdict
VERDICT_INCORRECT: Verdict
CITATION_STATE_UNSPECIFIED: CitationState
CITATION_STATE_CURRENT: CitationState
CITATION_STATE_SUPERSEDED: CitationState
CITATION_STATE_DELETED: CitationState
WATCH_OP_UNSPECIFIED: WatchOp
WATCH_OP_PUT: WatchOp
WATCH_OP_DELETE: WatchOp
WATCH_OP_END: WatchOp
WATCH_OP_SEEN: WatchOp
WATCH_OP_ENCODER: WatchOp

class AnswerRequest(_message.Message):
    __slots__ = ("question", "collection", "policy", "max_citations", "request_id", "min_knowledge_version")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    MAX_CITATIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MIN_KNOWLEDGE_VERSION_FIELD_NUMBER: _ClassVar[int]
    question: str
    collection: str
    policy: Policy
    max_citations: int
    request_id: str
    min_knowledge_version: int
    def __init__(self, question: _Optional[str] = ..., collection: _Optional[str] = ..., policy: _Optional[_Union[Policy, str]] = ..., max_citations: _Optional[int] = ..., request_id: _Optional[str] = ..., min_knowledge_version: _Optional[int] = ...) -> None: ...

class AnswerResponse(_message.Message):
    __slots__ = ("request_id", "route", "reason", "text", "confidence", "label", "document_id", "citations", "handoff", "policy", "model_confidence", "retrieval_confidence", "threshold", "certificate", "knowledge_version", "bundle", "timings", "batch_size", "audit_id", "audited", "audit_propensity", "certificate_group", "certified_risk", "certified_oos_share")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    CITATIONS_FIELD_NUMBER: _ClassVar[int]
    HANDOFF_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    MODEL_CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    KNOWLEDGE_VERSION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    AUDIT_ID_FIELD_NUMBER: _ClassVar[int]
    AUDITED_FIELD_NUMBER: _ClassVar[int]
    AUDIT_PROPENSITY_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_GROUP_FIELD_NUMBER: _ClassVar[int]
    CERTIFIED_RISK_FIELD_NUMBER: _ClassVar[int]
    CERTIFIED_OOS_SHARE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    route: Route
    reason: Reason
    text: str
    confidence: float
    label: str
    document_id: str
    citations: _containers.RepeatedCompositeFieldContainer[Citation]
    handoff: Handoff
    policy: Policy
    model_confidence: float
    retrieval_confidence: float
    threshold: float
    certificate: Certificate
    knowledge_version: int
    bundle: str
    timings: _containers.RepeatedCompositeFieldContainer[Stage]
    batch_size: int
    audit_id: str
    audited: bool
    audit_propensity: float
    certificate_group: str
    certified_risk: float
    certified_oos_share: float
    def __init__(self, request_id: _Optional[str] = ..., route: _Optional[_Union[Route, str]] = ..., reason: _Optional[_Union[Reason, str]] = ..., text: _Optional[str] = ..., confidence: _Optional[float] = ..., label: _Optional[str] = ..., document_id: _Optional[str] = ..., citations: _Optional[_Iterable[_Union[Citation, _Mapping]]] = ..., handoff: _Optional[_Union[Handoff, _Mapping]] = ..., policy: _Optional[_Union[Policy, str]] = ..., model_confidence: _Optional[float] = ..., retrieval_confidence: _Optional[float] = ..., threshold: _Optional[float] = ..., certificate: _Optional[_Union[Certificate, str]] = ..., knowledge_version: _Optional[int] = ..., bundle: _Optional[str] = ..., timings: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ..., batch_size: _Optional[int] = ..., audit_id: _Optional[str] = ..., audited: bool = ..., audit_propensity: _Optional[float] = ..., certificate_group: _Optional[str] = ..., certified_risk: _Optional[float] = ..., certified_oos_share: _Optional[float] = ...) -> None: ...

class GiveFeedbackRequest(_message.Message):
    __slots__ = ("audit_id", "verdict", "label", "document_id", "no_answer", "comment")
    AUDIT_ID_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    NO_ANSWER_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    audit_id: str
    verdict: Verdict
    label: str
    document_id: str
    no_answer: bool
    comment: str
    def __init__(self, audit_id: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., label: _Optional[str] = ..., document_id: _Optional[str] = ..., no_answer: bool = ..., comment: _Optional[str] = ...) -> None: ...

class GiveFeedbackResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: bool
    def __init__(self, changed: bool = ...) -> None: ...

class Citation(_message.Message):
    __slots__ = ("document_id", "title", "uri", "updated", "start", "end", "quote", "quote_sha256", "similarity", "document_version")
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    QUOTE_FIELD_NUMBER: _ClassVar[int]
    QUOTE_SHA256_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    document_id: str
    title: str
    uri: str
    updated: str
    start: int
    end: int
    quote: str
    quote_sha256: str
    similarity: float
    document_version: int
    def __init__(self, document_id: _Optional[str] = ..., title: _Optional[str] = ..., uri: _Optional[str] = ..., updated: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ..., quote: _Optional[str] = ..., quote_sha256: _Optional[str] = ..., similarity: _Optional[float] = ..., document_version: _Optional[int] = ...) -> None: ...

class Handoff(_message.Message):
    __slots__ = ("document_ids",)
    DOCUMENT_IDS_FIELD_NUMBER: _ClassVar[int]
    document_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, document_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("name", "seconds")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    seconds: float
    def __init__(self, name: _Optional[str] = ..., seconds: _Optional[float] = ...) -> None: ...

class AnswerBatchRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[AnswerRequest]
    def __init__(self, items: _Optional[_Iterable[_Union[AnswerRequest, _Mapping]]] = ...) -> None: ...

class AnswerBatchResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[AnswerBatchItem]
    def __init__(self, items: _Optional[_Iterable[_Union[AnswerBatchItem, _Mapping]]] = ...) -> None: ...

class AnswerBatchItem(_message.Message):
    __slots__ = ("answer", "error")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    answer: AnswerResponse
    error: Error
    def __init__(self, answer: _Optional[_Union[AnswerResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "message", "reason")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    reason: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class AnswerStreamRequest(_message.Message):
    __slots__ = ("question", "timeout_ms")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    question: AnswerRequest
    timeout_ms: int
    def __init__(self, question: _Optional[_Union[AnswerRequest, _Mapping]] = ..., timeout_ms: _Optional[int] = ...) -> None: ...

class AnswerStreamResponse(_message.Message):
    __slots__ = ("request_id", "answer", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    answer: AnswerResponse
    error: Error
    def __init__(self, request_id: _Optional[str] = ..., answer: _Optional[_Union[AnswerResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("query", "collection", "limit", "min_knowledge_version", "ranker")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    MIN_KNOWLEDGE_VERSION_FIELD_NUMBER: _ClassVar[int]
    RANKER_FIELD_NUMBER: _ClassVar[int]
    query: str
    collection: str
    limit: int
    min_knowledge_version: int
    ranker: Ranker
    def __init__(self, query: _Optional[str] = ..., collection: _Optional[str] = ..., limit: _Optional[int] = ..., min_knowledge_version: _Optional[int] = ..., ranker: _Optional[_Union[Ranker, str]] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("hits", "knowledge_version")
    HITS_FIELD_NUMBER: _ClassVar[int]
    KNOWLEDGE_VERSION_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[SearchHit]
    knowledge_version: int
    def __init__(self, hits: _Optional[_Iterable[_Union[SearchHit, _Mapping]]] = ..., knowledge_version: _Optional[int] = ...) -> None: ...

class SearchHit(_message.Message):
    __slots__ = ("document_id", "title", "uri", "similarity", "citations", "score")
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    CITATIONS_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    document_id: str
    title: str
    uri: str
    similarity: float
    citations: _containers.RepeatedCompositeFieldContainer[Citation]
    score: float
    def __init__(self, document_id: _Optional[str] = ..., title: _Optional[str] = ..., uri: _Optional[str] = ..., similarity: _Optional[float] = ..., citations: _Optional[_Iterable[_Union[Citation, _Mapping]]] = ..., score: _Optional[float] = ...) -> None: ...

class Document(_message.Message):
    __slots__ = ("id", "title", "uri", "updated", "answer", "body", "groups", "expected_version", "effective", "expires")
    ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    id: str
    title: str
    uri: str
    updated: str
    answer: str
    body: str
    groups: _containers.RepeatedScalarFieldContainer[str]
    expected_version: int
    effective: _timestamp_pb2.Timestamp
    expires: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., title: _Optional[str] = ..., uri: _Optional[str] = ..., updated: _Optional[str] = ..., answer: _Optional[str] = ..., body: _Optional[str] = ..., groups: _Optional[_Iterable[str]] = ..., expected_version: _Optional[int] = ..., effective: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class UpsertRequest(_message.Message):
    __slots__ = ("collection", "documents", "idempotency_key")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    collection: str
    documents: _containers.RepeatedCompositeFieldContainer[Document]
    idempotency_key: str
    def __init__(self, collection: _Optional[str] = ..., documents: _Optional[_Iterable[_Union[Document, _Mapping]]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("collection", "document_ids", "idempotency_key")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_IDS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    collection: str
    document_ids: _containers.RepeatedScalarFieldContainer[str]
    idempotency_key: str
    def __init__(self, collection: _Optional[str] = ..., document_ids: _Optional[_Iterable[str]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class WriteResponse(_message.Message):
    __slots__ = ("knowledge_version", "versions", "is_repeat", "request_number", "error")
    KNOWLEDGE_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    IS_REPEAT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    knowledge_version: int
    versions: _containers.RepeatedScalarFieldContainer[int]
    is_repeat: bool
    request_number: int
    error: Error
    def __init__(self, knowledge_version: _Optional[int] = ..., versions: _Optional[_Iterable[int]] = ..., is_repeat: bool = ..., request_number: _Optional[int] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("collection", "document_id", "version")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    document_id: str
    version: int
    def __init__(self, collection: _Optional[str] = ..., document_id: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class StoredDocument(_message.Message):
    __slots__ = ("document", "version", "ended", "content_hash")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    document: Document
    version: int
    ended: int
    content_hash: str
    def __init__(self, document: _Optional[_Union[Document, _Mapping]] = ..., version: _Optional[int] = ..., ended: _Optional[int] = ..., content_hash: _Optional[str] = ...) -> None: ...

class GetCitationRequest(_message.Message):
    __slots__ = ("collection", "document_id", "version", "start", "end", "quote_sha256")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    QUOTE_SHA256_FIELD_NUMBER: _ClassVar[int]
    collection: str
    document_id: str
    version: int
    start: int
    end: int
    quote_sha256: str
    def __init__(self, collection: _Optional[str] = ..., document_id: _Optional[str] = ..., version: _Optional[int] = ..., start: _Optional[int] = ..., end: _Optional[int] = ..., quote_sha256: _Optional[str] = ...) -> None: ...

class GetCitationResponse(_message.Message):
    __slots__ = ("citation", "is_verified", "state", "current_version")
    CITATION_FIELD_NUMBER: _ClassVar[int]
    IS_VERIFIED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CURRENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    citation: Citation
    is_verified: bool
    state: CitationState
    current_version: int
    def __init__(self, citation: _Optional[_Union[Citation, _Mapping]] = ..., is_verified: bool = ..., state: _Optional[_Union[CitationState, str]] = ..., current_version: _Optional[int] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("collection", "after")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    collection: str
    after: int
    def __init__(self, collection: _Optional[str] = ..., after: _Optional[int] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("op", "document_id", "version", "encoder")
    OP_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENCODER_FIELD_NUMBER: _ClassVar[int]
    op: WatchOp
    document_id: str
    version: int
    encoder: str
    def __init__(self, op: _Optional[_Union[WatchOp, str]] = ..., document_id: _Optional[str] = ..., version: _Optional[int] = ..., encoder: _Optional[str] = ...) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class StatsResponse(_message.Message):
    __slots__ = ("documents", "passages", "segments", "knowledge_version", "superseded_versions", "oldest_superseded", "text_bytes", "vector_bytes", "confidence", "encoders")
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    KNOWLEDGE_VERSION_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    TEXT_BYTES_FIELD_NUMBER: _ClassVar[int]
    VECTOR_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    ENCODERS_FIELD_NUMBER: _ClassVar[int]
    documents: int
    passages: int
    segments: int
    knowledge_version: int
    superseded_versions: int
    oldest_superseded: float
    text_bytes: int
    vector_bytes: int
    confidence: Confidence
    encoders: _containers.RepeatedCompositeFieldContainer[EncoderStats]
    def __init__(self, documents: _Optional[int] = ..., passages: _Optional[int] = ..., segments: _Optional[int] = ..., knowledge_version: _Optional[int] = ..., superseded_versions: _Optional[int] = ..., oldest_superseded: _Optional[float] = ..., text_bytes: _Optional[int] = ..., vector_bytes: _Optional[int] = ..., confidence: _Optional[_Union[Confidence, _Mapping]] = ..., encoders: _Optional[_Iterable[_Union[EncoderStats, _Mapping]]] = ...) -> None: ...

class EncoderStats(_message.Message):
    __slots__ = ("name", "documents", "is_used")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    IS_USED_FIELD_NUMBER: _ClassVar[int]
    name: str
    documents: int
    is_used: bool
    def __init__(self, name: _Optional[str] = ..., documents: _Optional[int] = ..., is_used: bool = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("collection", "page_size", "page_token")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    collection: str
    page_size: int
    page_token: str
    def __init__(self, collection: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("documents", "next_page_token")
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    documents: _containers.RepeatedCompositeFieldContainer[StoredDocument]
    next_page_token: str
    def __init__(self, documents: _Optional[_Iterable[_Union[StoredDocument, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CreateCollectionRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class DropCollectionRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class SetConfidenceRequest(_message.Message):
    __slots__ = ("collection", "confidence")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    collection: str
    confidence: Confidence
    def __init__(self, collection: _Optional[str] = ..., confidence: _Optional[_Union[Confidence, _Mapping]] = ...) -> None: ...

class Confidence(_message.Message):
    __slots__ = ("weights", "bias", "centre", "scale", "threshold", "precision", "questions", "features_version", "scored_by", "is_used")
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    CENTRE_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_VERSION_FIELD_NUMBER: _ClassVar[int]
    SCORED_BY_FIELD_NUMBER: _ClassVar[int]
    IS_USED_FIELD_NUMBER: _ClassVar[int]
    weights: _containers.RepeatedScalarFieldContainer[float]
    bias: float
    centre: _containers.RepeatedScalarFieldContainer[float]
    scale: _containers.RepeatedScalarFieldContainer[float]
    threshold: float
    precision: float
    questions: int
    features_version: int
    scored_by: str
    is_used: bool
    def __init__(self, weights: _Optional[_Iterable[float]] = ..., bias: _Optional[float] = ..., centre: _Optional[_Iterable[float]] = ..., scale: _Optional[_Iterable[float]] = ..., threshold: _Optional[float] = ..., precision: _Optional[float] = ..., questions: _Optional[int] = ..., features_version: _Optional[int] = ..., scored_by: _Optional[str] = ..., is_used: bool = ...) -> None: ...

class ListCollectionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListCollectionsResponse(_message.Message):
    __slots__ = ("collections",)
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    collections: _containers.RepeatedCompositeFieldContainer[Collection]
    def __init__(self, collections: _Optional[_Iterable[_Union[Collection, _Mapping]]] = ...) -> None: ...

class Collection(_message.Message):
    __slots__ = ("name", "documents", "passages", "knowledge_version", "is_stored", "confidence", "scored_by")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    KNOWLEDGE_VERSION_FIELD_NUMBER: _ClassVar[int]
    IS_STORED_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    SCORED_BY_FIELD_NUMBER: _ClassVar[int]
    name: str
    documents: int
    passages: int
    knowledge_version: int
    is_stored: bool
    confidence: Confidence
    scored_by: str
    def __init__(self, name: _Optional[str] = ..., documents: _Optional[int] = ..., passages: _Optional[int] = ..., knowledge_version: _Optional[int] = ..., is_stored: bool = ..., confidence: _Optional[_Union[Confidence, _Mapping]] = ..., scored_by: _Optional[str] = ...) -> None: ...
