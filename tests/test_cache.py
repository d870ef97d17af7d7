"""The answer cache: what it keeps, for whom, and who answers when the first asker gives up."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.cascade.cache import AnswerCache, Key
from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded
from gateway.types import Answer, Principal, Question, Reason
from tests.fakes import ANSWER

WHOLE = replace(ANSWER, knowledge_version=7, retrieval_confidence=0.5)
QUESTION = Question("why?", "banking")
KEY = Key(QUESTION, 7)


class Work:
    """Counts its calls; each waits for `gate`, then gives `answer` or raises it."""

    def __init__(self) -> None:
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer: Answer | Exception = WHOLE

    async def __call__(self) -> Answer:
        self.calls += 1
        outcome = self.answer
        await self.gate.wait()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture
def work() -> Work:
    return Work()


async def asked(cache: AnswerCache, key: Key, work: Work, seconds: float = 5.0) -> Answer:
    return await cache.answer(key, Deadline.after(seconds), work)


async def test_the_second_time_nothing_is_computed(work: Work) -> None:
    cache = AnswerCache(4)
    assert await asked(cache, KEY, work) is WHOLE
    again = await asked(cache, KEY, work)
    assert work.calls == 1
    assert again == replace(WHOLE, timings=again.timings, batch_size=0)
    assert list(again.timings) == ["cache"]


@pytest.mark.parametrize(
    "other",
    [
        Key(QUESTION, 8),
        Key(QUESTION, 7, since=60.0),
        Key(QUESTION, 7, is_stale=True),
        Key(replace(QUESTION, text="why? "), 7),
        Key(replace(QUESTION, principal=Principal("acme")), 7),
        Key(replace(QUESTION, principal=Principal(groups=frozenset({"staff"}))), 7),
        Key(replace(QUESTION, max_citations=1), 7),
    ],
)
async def test_another_question_caller_or_knowledge_is_computed(work: Work, other: Key) -> None:
    cache = AnswerCache(4)
    await asked(cache, KEY, work)
    await asked(cache, replace(other), work)
    assert work.calls == 2


@pytest.mark.parametrize(
    "passing",
    [
        replace(WHOLE, reason=Reason.BUDGET),
        replace(WHOLE, retrieval_confidence=None),
        replace(WHOLE, knowledge_version=8),
    ],
)
async def test_what_tells_of_the_moment_is_not_kept(work: Work, passing: Answer) -> None:
    cache = AnswerCache(4)
    work.answer = passing
    assert await asked(cache, KEY, work) is passing
    await asked(cache, KEY, work)
    assert (work.calls, len(cache)) == (2, 0)


async def test_the_longest_unasked_goes_first(work: Work) -> None:
    cache = AnswerCache(2)
    keys = [replace(KEY, question=replace(QUESTION, text=text)) for text in "abc"]
    for at in (0, 1, 0, 2):  # b is the one that was not asked for longest when c comes
        await asked(cache, keys[at], work)
    assert (work.calls, len(cache)) == (3, 2)
    await asked(cache, keys[0], work)
    assert work.calls == 3
    await asked(cache, keys[1], work)
    assert work.calls == 4


async def test_many_who_ask_at_once_are_answered_by_one(work: Work) -> None:
    cache = AnswerCache(4)
    work.gate.clear()
    asking = [asyncio.create_task(asked(cache, KEY, work)) for _ in range(5)]
    await asyncio.sleep(0)
    work.gate.set()
    found = await asyncio.gather(*asking)
    assert work.calls == 1
    assert {one.document_id for one in found} == {WHOLE.document_id}


async def test_followers_of_a_leader_that_fails_ask_together(work: Work) -> None:
    cache = AnswerCache(4)
    work.gate.clear()
    work.answer = DeadlineExceeded("hers was short")
    leader = asyncio.create_task(asked(cache, KEY, work))
    await asyncio.sleep(0)
    work.answer = WHOLE
    followers = [asyncio.create_task(asked(cache, KEY, work)) for _ in range(2)]
    await asyncio.sleep(0)
    work.gate.set()
    with pytest.raises(DeadlineExceeded):
        await leader
    assert await asyncio.gather(*followers) == [WHOLE, WHOLE]
    assert work.calls == 3


async def test_a_leader_whose_answer_is_of_the_moment_holds_nobody_up(work: Work) -> None:
    cache = AnswerCache(4)
    work.gate.clear()
    work.answer = replace(WHOLE, reason=Reason.BUDGET)
    asking = [asyncio.create_task(asked(cache, KEY, work)) for _ in range(4)]
    await asyncio.sleep(0)
    work.gate.set()
    await asking[0]
    work.gate.clear()
    for _ in range(3):
        await asyncio.sleep(0)
    assert work.calls == 4  # not one after another
    work.gate.set()
    await asyncio.gather(*asking)


async def test_a_follower_asks_for_itself_where_the_leader_leaves(work: Work) -> None:
    cache = AnswerCache(4)
    work.gate.clear()
    leader, follower = (asyncio.create_task(asked(cache, KEY, work)) for _ in range(2))
    await asyncio.sleep(0)
    leader.cancel()
    await asyncio.sleep(0)
    work.gate.set()
    assert await follower is WHOLE
    assert work.calls == 2


async def test_a_follower_waits_no_longer_than_its_own_deadline(work: Work) -> None:
    cache = AnswerCache(4)
    work.gate.clear()
    leader = asyncio.create_task(asked(cache, KEY, work))
    await asyncio.sleep(0)
    with pytest.raises(DeadlineExceeded, match="the same question"):
        await asked(cache, KEY, work, seconds=0.01)
    work.gate.set()
    assert await leader is WHOLE


async def test_in_a_brownout_what_is_kept_is_given_and_nobody_is_led(work: Work) -> None:
    cache = AnswerCache(4)
    browned = Key(replace(QUESTION, may_search=False), 7)
    work.gate.clear()
    first = asyncio.create_task(asked(cache, browned, work))
    second = asyncio.create_task(asked(cache, KEY, work))
    await asyncio.sleep(0)
    assert work.calls == 2
    work.gate.set()
    assert await first is WHOLE
    assert await second is WHOLE
    assert list((await asked(cache, browned, work)).timings) == ["cache"]
    assert work.calls == 2


async def test_a_follower_that_leaves_takes_nothing_with_it(work: Work) -> None:
    cache = AnswerCache(4)
    work.gate.clear()
    leader, follower, other = (asyncio.create_task(asked(cache, KEY, work)) for _ in range(3))
    await asyncio.sleep(0)
    follower.cancel()
    await asyncio.sleep(0)
    work.gate.set()
    assert await leader is WHOLE
    assert (await other).document_id == WHOLE.document_id
    assert work.calls == 1
