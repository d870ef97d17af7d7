"""The shadow: whom it asks, when it does not, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from gateway.deadline import Deadline
from gateway.errors import InferenceFailed
from gateway.shadow import Shadow, compare
from gateway.types import Agreement, Answer, Question, Route
from tests.fakes import ABSTENTION, ANSWER, FakeGateway

QUESTION = Question("why?", "banking")


class Seen:
    """What a shadow observed."""

    def __init__(self) -> None:
        self.agreements: list[Agreement] = []

    def __call__(self, agreement: Agreement, seconds: float) -> None:
        assert seconds >= 0
        self.agreements.append(agreement)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.mark.parametrize(
    ("candidate", "agreement"),
    [
        (ANSWER, Agreement.SAME),
        (replace(ANSWER, confidence=0.1, text="Another wording."), Agreement.SAME),
        (replace(ANSWER, document_id="other"), Agreement.OTHER_DOCUMENT),
        (replace(ANSWER, route=Route.RETRIEVAL), Agreement.OTHER_ROUTE),
        (ABSTENTION, Agreement.OTHER_ROUTE),
    ],
)
def test_answers_are_compared_by_what_a_caller_sees(candidate: Answer, agreement: Agreement) -> None:
    assert compare(replace(ANSWER, route=Route.MODEL), replace(candidate)) is agreement


def test_labels_with_a_text_of_their_own_are_compared_by_name() -> None:
    inline = replace(ANSWER, document_id="", label="red")
    assert compare(inline, replace(inline, label="green")) is Agreement.OTHER_DOCUMENT


async def test_the_candidate_is_asked_the_same(seen: Seen) -> None:
    candidate = FakeGateway()
    shadow = Shadow(candidate, 1.0, seen)
    shadow.offer(QUESTION, ANSWER, waiting=0)
    await asyncio.sleep(0.01)
    assert candidate.questions == [QUESTION]
    assert seen.agreements == [compare(ANSWER, ANSWER)]


async def test_it_sees_about_its_share(seen: Seen) -> None:
    shadow = Shadow(FakeGateway(), 0.2, seen, random.Random(1))
    for _ in range(500):
        shadow.offer(QUESTION, ANSWER, waiting=0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert 60 < len(seen.agreements) < 140


async def test_it_waits_for_those_who_are_waited_for(seen: Seen) -> None:
    candidate = FakeGateway()
    Shadow(candidate, 1.0, seen).offer(QUESTION, ANSWER, waiting=1)
    await asyncio.sleep(0.01)
    assert candidate.questions == []


async def test_it_is_asked_one_question_at_a_time(seen: Seen) -> None:
    gate = asyncio.Event()

    async def slow(question: Question, deadline: Deadline) -> Answer:
        await gate.wait()
        return ANSWER

    candidate = FakeGateway(slow)
    shadow = Shadow(candidate, 1.0, seen)
    for _ in range(3):
        shadow.offer(QUESTION, ANSWER, waiting=0)
        await asyncio.sleep(0)
    assert len(candidate.questions) == 1
    gate.set()
    await asyncio.sleep(0.01)
    shadow.offer(QUESTION, ANSWER, waiting=0)
    await asyncio.sleep(0.01)
    assert len(candidate.questions) == 2


async def test_its_failures_are_counted_and_go_no_further(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(question: Question, deadline: Deadline) -> Answer:
        raise InferenceFailed("nan")

    Shadow(FakeGateway(broken), 1.0, seen).offer(QUESTION, ANSWER, waiting=0)
    await asyncio.sleep(0.01)
    assert seen.agreements == [Agreement.FAILED]
    assert "the candidate failed" in caplog.text


async def test_closing_ends_what_is_asked(seen: Seen) -> None:
    async def endless(question: Question, deadline: Deadline) -> Answer:
        await asyncio.Event().wait()
        return ANSWER

    candidate = FakeGateway(endless)
    shadow = Shadow(candidate, 1.0, seen)
    shadow.offer(QUESTION, ANSWER, waiting=0)
    await asyncio.sleep(0)
    await shadow.close()
    assert candidate.is_closed
    assert seen.agreements == []


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_share_is_a_share(seen: Seen, share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        Shadow(FakeGateway(), share, seen)
