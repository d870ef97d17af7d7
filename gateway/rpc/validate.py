"""Checks what arrives and turns it into values of `types`. Nothing behind this file looks at a request again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.convert import LONGEST_MS, POLICY_FROM_PROTO, RANKER_FROM_PROTO, TIMEOUT
from gateway.errors import InvalidQuestion, UnknownCollection
from gateway.telemetry.traces import TRACEPARENT
from gateway.types import Criticality, Policy, Principal, Question, Ranker
from gateway.v1 import gateway_pb2 as pb

DEFAULT_CITATIONS = 3
MAX_CITATIONS = 10
DEFAULT_LIMIT = 5
MAX_LIMIT = 50
MAX_BATCH_ITEMS = 256
MAX_GROUPS = 64
MAX_REQUEST_ID = 128
MAX_NAME = 63
RETRIED = "grpc-previous-rpc-attempts"
"""gRPC's own: a call that is tried again was made some time ago, and has not waited for all of it."""
RANKERS: Mapping[int, Ranker] = {pb.RANKER_UNSPECIFIED: Ranker.HYBRID, **RANKER_FROM_PROTO}
CRITICALITIES = {one.value: one for one in Criticality}
AUTHORIZATION = "authorization"
CLAIMS = frozenset({"x-tenant", "x-groups", "x-criticality", TIMEOUT, RETRIED, AUTHORIZATION, TRACEPARENT})

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME - 1}}}")
_PRINTABLE_ASCII = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Rules:
    """What is allowed here, of which only this much is configured. Without collections the default one is empty."""

    collections: Sequence[str]
    default_collection: str
    default_policy: Policy
    max_question_chars: int
    stored: Callable[[str, str], str] = lambda tenant, name: ""
    """Tenant and name -> what the library knows that tenant's stored collection by; empty if there is none."""


def claims_of(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """What the caller says of itself. Raises InvalidQuestion for what is repeated: two might be believed by two."""
    claims: dict[str, str] = {}
    for key, value in metadata:
        if key in CLAIMS:
            if key in claims:
                if key != TRACEPARENT:
                    raise InvalidQuestion(key, "is given twice")
                value = ""  # no trace: that is no reason to refuse a question
            claims[key] = value if isinstance(value, str) else value.decode("ascii", "replace")
    return claims


def is_request_id(given: str) -> bool:
    """Whether a caller may name a request so; empty is none."""
    return len(given) <= MAX_REQUEST_ID and bool(_PRINTABLE_ASCII.fullmatch(given))


def tenant_of(claims: Mapping[str, str]) -> str | None:
    """None where it names none. Raises InvalidQuestion."""
    tenant = claims.get("x-tenant")
    if tenant is not None and not NAME.fullmatch(tenant):
        raise InvalidQuestion("x-tenant", f"must be 1 to {MAX_NAME} letters, digits, '.', '_' or '-'")
    return tenant


def groups_of(claims: Mapping[str, str]) -> frozenset[str] | None:
    """As `tenant_of`."""
    given = claims.get("x-groups")
    if given is None:
        return None
    groups = frozenset(name.strip() for name in given.split(",")) if given else frozenset()
    if len(groups) > MAX_GROUPS:
        raise InvalidQuestion("x-groups", f"has {len(groups)} groups, limit {MAX_GROUPS}")
    if not all(NAME.fullmatch(name) for name in groups):
        raise InvalidQuestion("x-groups", f"each must be 1 to {MAX_NAME} letters, digits, '.', '_' or '-'")
    return groups


def criticality_of(claims: Mapping[str, str]) -> Criticality:
    """Raises InvalidQuestion."""
    name = claims.get("x-criticality")
    if name is None:
        return Criticality.CRITICAL
    if (found := CRITICALITIES.get(name)) is not None:
        return found
    # As with a collection's name: it goes back only if it could be one.
    shown = f"has no value {name!r}" if NAME.fullmatch(name) else "has no such value"
    raise InvalidQuestion("x-criticality", f"{shown}; there are {', '.join(Criticality)}")


def timeout_of(claims: Mapping[str, str]) -> float | None:
    """Seconds that the call had when it was made; None where it does not say. Raises InvalidQuestion."""
    milliseconds = claims.get(TIMEOUT)
    if milliseconds is None or RETRIED in claims:
        return None
    if not (milliseconds.isascii() and milliseconds.isdigit() and len(milliseconds) <= len(str(LONGEST_MS))):
        raise InvalidQuestion(TIMEOUT, "must be a whole number of milliseconds")
    return int(milliseconds) / 1000


def question_of(request: pb.AnswerRequest, principal: Principal, rules: Rules, path: str = "") -> Question:
    """The question as admitted. `path` goes before field names in errors: "items[3].".

    Raises InvalidQuestion, UnknownCollection.
    """
    check_text(f"{path}question", request.question, rules.max_question_chars)
    if request.max_citations > MAX_CITATIONS:
        raise InvalidQuestion(f"{path}max_citations", f"is {request.max_citations}, limit {MAX_CITATIONS}")
    if not is_request_id(request.request_id):
        raise InvalidQuestion(f"{path}request_id", f"must be at most {MAX_REQUEST_ID} printable ASCII characters")
    return Question(
        text=request.question,
        collection=_collection(request.collection, principal.tenant, rules),
        principal=principal,
        policy=_policy(f"{path}policy", request.policy, rules.default_policy),
        max_citations=request.max_citations or DEFAULT_CITATIONS,
    )


def items_of(request: pb.AnswerBatchRequest) -> Sequence[pb.AnswerRequest]:
    """The items, none of them checked yet. Raises InvalidQuestion for none or too many."""
    if not request.items:
        raise InvalidQuestion("items", "is empty")
    if len(request.items) > MAX_BATCH_ITEMS:
        raise InvalidQuestion("items", f"has {len(request.items)} items, limit {MAX_BATCH_ITEMS}")
    return request.items


@dataclass(frozen=True, slots=True)
class Lookup:
    """A search as admitted."""

    text: str
    collection: str
    limit: int
    ranker: Ranker


def lookup_of(request: pb.SearchRequest, tenant: str, rules: Rules) -> Lookup:
    """Raises InvalidQuestion, UnknownCollection."""
    check_text("query", request.query, rules.max_question_chars)
    if request.limit > MAX_LIMIT:
        raise InvalidQuestion("limit", f"is {request.limit}, limit {MAX_LIMIT}")
    if request.ranker not in RANKERS:
        raise InvalidQuestion("ranker", f"has no value {request.ranker}")
    collection = _collection(request.collection, tenant, rules)
    if not collection:
        raise UnknownCollection("no collection is served here")
    return Lookup(request.query, collection, request.limit or DEFAULT_LIMIT, RANKERS[request.ranker])


def check_text(field: str, text: str, limit: int) -> None:
    if len(text) > limit:
        raise InvalidQuestion(field, f"has {len(text)} characters, limit {limit}")
    if found := _CONTROL.search(text):
        raise InvalidQuestion(field, f"has the control character U+{ord(found[0]):04X} at {found.start()}")
    # A text of zero-width characters alone is blank too, and str.strip() would keep them.
    if not any(character.isprintable() and not character.isspace() for character in text):
        raise InvalidQuestion(field, "is blank")


def _collection(name: str, tenant: str, rules: Rules) -> str:
    if not name:
        return rules.default_collection
    if name in rules.collections:
        return name
    if stored := rules.stored(tenant, name):
        return stored
    # The name is the caller's own text: it goes back only if it could be a name.
    raise UnknownCollection(f"no collection {name!r} here" if NAME.fullmatch(name) else "no such collection here")


def _policy(field: str, number: int, default: Policy) -> Policy:
    if number == pb.POLICY_UNSPECIFIED:
        return default
    policies: Mapping[int, Policy] = POLICY_FROM_PROTO
    if number not in policies:
        raise InvalidQuestion(field, f"has no value {number}")
    return policies[number]
