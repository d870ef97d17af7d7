"""What is allowed in, and which field is named when it is not."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidQuestion, UnknownCollection
from gateway.rpc.callers import caller_of
from gateway.rpc.validate import Rules, items_of, lookup_of, question_of
from gateway.types import Criticality, Policy, Principal, Ranker
from gateway.v1 import gateway_pb2 as pb

RULES = Rules(
    collections=("banking",), default_collection="banking", default_policy=Policy.ENSEMBLE, max_question_chars=20
)


def refused(request: pb.AnswerRequest) -> InvalidQuestion:
    with pytest.raises(InvalidQuestion) as caught:
        question_of(request, Principal(), RULES)
    return caught.value


@pytest.mark.parametrize("text", ["why?", "  padded  ", "tab\tand\r\nlines", "为什么", "?", "🤷", "x" * 20])
def test_questions_pass_unchanged(text: str) -> None:
    assert question_of(pb.AnswerRequest(question=text), Principal(), RULES).text == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is blank"),
        (" \t\n", "is blank"),
        ("\u200b\u200d", "is blank"),
        ("x" * 21, "has 21 characters, limit 20"),
        ("a\x00b", "has the control character U+0000 at 1"),
        ("\x1b[2J", "has the control character U+001B at 0"),
        ("\x85", "has the control character U+0085 at 0"),
    ],
)
def test_texts_that_are_no_questions_are_refused(text: str, problem: str) -> None:
    error = refused(pb.AnswerRequest(question=text))
    assert (error.field, error.problem) == ("question", problem)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.AnswerRequest(question="x", max_citations=11), "max_citations"),
        (pb.AnswerRequest(question="x", request_id="x" * 129), "request_id"),
        (pb.AnswerRequest(question="x", request_id="é"), "request_id"),
        (pb.AnswerRequest(question="x", request_id="a\nb"), "request_id"),
        (pb.AnswerRequest.FromString(pb.AnswerRequest(question="x").SerializeToString() + b"\x18\x63"), "policy"),
    ],
)
def test_other_fields_are_checked(request_: pb.AnswerRequest, field: str) -> None:
    assert refused(request_).field == field


def test_defaults_are_filled_in() -> None:
    question = question_of(pb.AnswerRequest(question="x"), Principal(), RULES)
    assert (question.collection, question.policy, question.max_citations) == ("banking", Policy.ENSEMBLE, 3)
    lookup = lookup_of(pb.SearchRequest(query="x"), "default", RULES)
    assert (lookup.limit, lookup.ranker) == (5, Ranker.HYBRID)


def test_a_search_names_its_ranker() -> None:
    for number, ranker in ((pb.RANKER_DENSE, Ranker.DENSE), (pb.RANKER_LEXICAL, Ranker.LEXICAL)):
        assert lookup_of(pb.SearchRequest(query="x", ranker=number), "default", RULES).ranker is ranker
    unknown = pb.SearchRequest.FromString(pb.SearchRequest(query="x").SerializeToString() + b"\x28\x63")
    with pytest.raises(InvalidQuestion, match=r"^ranker: has no value 99"):
        lookup_of(unknown, "default", RULES)


def test_an_unknown_collection_is_echoed_only_if_it_could_be_one() -> None:
    with pytest.raises(UnknownCollection, match="'legal'"):
        question_of(pb.AnswerRequest(question="x", collection="legal"), Principal(), RULES)
    with pytest.raises(UnknownCollection, match=r"^no such collection here$"):
        question_of(pb.AnswerRequest(question="x", collection="<b>"), Principal(), RULES)


def test_without_collections_there_are_answers_and_no_search() -> None:
    rules = replace(RULES, collections=(), default_collection="")
    assert question_of(pb.AnswerRequest(question="x"), Principal(), rules).collection == ""
    with pytest.raises(UnknownCollection, match="'banking'"):
        question_of(pb.AnswerRequest(question="x", collection="banking"), Principal(), rules)
    with pytest.raises(UnknownCollection, match="no collection is served here"):
        lookup_of(pb.SearchRequest(query="x"), "default", rules)


def test_batches_hold_between_1_and_256_items() -> None:
    assert len(items_of(pb.AnswerBatchRequest(items=[pb.AnswerRequest()] * 256))) == 256
    for count in (0, 257):
        with pytest.raises(InvalidQuestion, match=r"^items: "):
            items_of(pb.AnswerBatchRequest(items=[pb.AnswerRequest()] * count))


@pytest.mark.parametrize(
    ("metadata", "principal"),
    [
        ([], Principal()),
        ([("x-tenant", "acme"), ("user-agent", "x")], Principal("acme")),
        ([("x-groups", "a, b,a")], Principal(groups=frozenset({"a", "b"}))),
        ([("x-groups", "")], Principal()),
    ],
)
def test_the_principal_is_in_the_metadata(metadata: list[tuple[str, str]], principal: Principal) -> None:
    assert caller_of(metadata).principal == principal


@pytest.mark.parametrize("criticality", Criticality)
def test_the_criticality_is_in_the_metadata(criticality: Criticality) -> None:
    assert caller_of([("x-criticality", criticality.value)]).criticality is criticality


@pytest.mark.parametrize(
    ("metadata", "timeout"),
    [
        ([], None),
        ([("x-timeout-ms", "200")], 0.2),
        ([("x-timeout-ms", "0")], 0.0),
        ([("x-timeout-ms", "200"), ("grpc-previous-rpc-attempts", "1")], None),  # its time began with the first attempt
    ],
)
def test_how_long_a_call_had_is_in_the_metadata(metadata: list[tuple[str, str]], timeout: float | None) -> None:
    assert caller_of(metadata).timeout == timeout


@pytest.mark.parametrize("milliseconds", ["", "-1", "0.2", "1e3", "200m", "٢", "1234567890"])
def test_a_time_that_is_none_is_refused(milliseconds: str) -> None:
    with pytest.raises(InvalidQuestion, match=r"^x-timeout-ms: must be a whole number of milliseconds"):
        caller_of([("x-timeout-ms", milliseconds)])


def test_questions_are_critical_unless_said_otherwise() -> None:
    assert caller_of([]).criticality is Criticality.CRITICAL


def test_an_unknown_criticality_is_named_with_those_that_there_are() -> None:
    with pytest.raises(InvalidQuestion, match=r"^x-criticality: has no value 'urgent'; there are critical-plus, crit"):
        caller_of([("x-criticality", "urgent")])
    with pytest.raises(InvalidQuestion, match="has no such value"):
        caller_of([("x-criticality", "<b>")])


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ([("x-tenant", "")], "x-tenant"),
        ([("x-tenant", "a b")], "x-tenant"),
        ([("x-tenant", "x" * 64)], "x-tenant"),
        ([("x-tenant", "a"), ("x-tenant", "b")], "x-tenant"),
        ([("x-groups", "a,,b")], "x-groups"),
        ([("x-groups", ",".join(f"g{n}" for n in range(65)))], "x-groups"),
        ([("x-groups", "a"), ("x-groups", "b")], "x-groups"),
        ([("x-criticality", "")], "x-criticality"),
        ([("x-criticality", "critical"), ("x-criticality", "critical")], "x-criticality"),
    ],
)
def test_malformed_principals_are_refused(metadata: list[tuple[str, str]], field: str) -> None:
    with pytest.raises(InvalidQuestion) as caught:
        caller_of(metadata)
    assert caught.value.field == field


@given(st.binary(max_size=200))
def test_any_bytes_are_a_question_or_a_refusal(data: bytes) -> None:
    try:
        request = pb.AnswerRequest.FromString(data)
    except DecodeError:
        return
    with contextlib.suppress(InvalidQuestion, UnknownCollection):
        question_of(request, Principal(), RULES)
