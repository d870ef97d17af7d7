"""Values to messages and back."""

from __future__ import annotations

import dataclasses

import pytest

from gateway import convert
from gateway.types import Answer
from gateway.v1 import gateway_pb2 as pb
from tests.fakes import ABSTENTION, ANSWER


@pytest.mark.parametrize("answer", [ANSWER, ABSTENTION])
def test_an_answer_survives_the_way_there_and_back(answer: Answer) -> None:
    data = convert.answer_to_proto(answer).SerializeToString()
    assert convert.answer_from_proto(pb.AnswerResponse.FromString(data)) == answer


def test_every_value_of_an_enum_has_its_number() -> None:
    for table, enum in (
        (convert.POLICY_TO_PROTO, pb.Policy),
        (convert.ROUTE_TO_PROTO, pb.Route),
        (convert.REASON_TO_PROTO, pb.Reason),
        (convert.CERTIFICATE_TO_PROTO, pb.Certificate),
        (convert.RANKER_TO_PROTO, pb.Ranker),
    ):
        assert {0, *table.values()} == set(enum.values())


def test_an_unset_confidence_is_not_zero() -> None:
    answer = dataclasses.replace(ANSWER, model_confidence=0.0, retrieval_confidence=None)
    message = convert.answer_to_proto(answer)
    assert message.HasField("model_confidence")
    assert not message.HasField("retrieval_confidence")
