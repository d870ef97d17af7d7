"""The routing policy in the cascade: when it searches, who then answers, and what it never does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.cascade.calibration import Logistic
from gateway.cascade.cascade import Cascade
from gateway.cascade.outlook import Outlook
from gateway.cascade.policy import NEVER, POLICIES, RetrievalSays, Thresholds
from gateway.types import Policy, Reason, Route
from tests.test_cascade import KNOWING, SURE, UNSURE, Room
from tests.test_policy import BY_MODEL, LOW, says

# P(right with a search) is a half for every question, and a search is expected to move nothing.
HOPELESS = replace(KNOWING, outlook=Outlook(Logistic((0, 0, 0), 0.0, (0.0,) * 3, (1.0,) * 3), 0.0, 0.0, 0.0))
PROMISING = replace(KNOWING, outlook=Outlook(Logistic((0, 0, 0), 6.0, (0.0,) * 3, (1.0,) * 3), 0.1, 0.1, 0.0))


def room(price: float = 1.0, outlook: bool = True, hopeless: bool = False) -> Room:
    profile = (HOPELESS if hopeless else PROMISING) if outlook else KNOWING
    found = Room(profile)
    found.cascade = Cascade(found.model, found.knowledge, profile, found.clock, price=price)
    return found


async def test_a_sure_model_answers_without_a_search_that_promises_nothing() -> None:
    here = room(hopeless=True)
    answer = await here.ask(Policy.ROUTING)
    assert (answer.route, answer.reason, answer.document_id) == (Route.MODEL, Reason.CONFIDENT, "card")
    assert here.knowledge.searches == []
    assert "search" not in answer.timings
    assert answer.retrieval_confidence is None
    assert not answer.is_degraded
    assert answer.threshold == KNOWING.thresholds.answer


async def test_a_search_that_promises_more_is_made_and_heard() -> None:
    here = room()
    here.model.logits, here.knowledge.hits = UNSURE, (("post", 0.9), ("card", 0.5))
    answer = await here.ask(Policy.ROUTING)
    assert (answer.route, answer.document_id) == (Route.RETRIEVAL, "post")
    assert here.knowledge.searches[0][2] == ("card",)
    assert answer.threshold == KNOWING.thresholds.informed


async def test_an_unsure_model_abstains_where_a_search_promises_nothing() -> None:
    here = room(hopeless=True)
    here.model.logits = UNSURE
    answer = await here.ask(Policy.ROUTING)
    assert (answer.route, answer.reason, answer.suggestions) == (Route.ABSTAIN, Reason.NO_EVIDENCE, ())
    assert not answer.is_degraded


async def test_what_a_search_costs_is_learnt_and_weighed() -> None:
    here = room(price=50.0)
    here.knowledge.seconds = 0.01
    await here.ask(Policy.ROUTING)
    assert len(here.knowledge.searches) == 1  # nothing was known of its cost
    await here.ask(Policy.ROUTING)
    assert len(here.knowledge.searches) == 1


async def test_one_stall_is_nobodys_price() -> None:
    here = room(price=50.0)
    for number in range(50):
        here.knowledge.seconds = 2.0 if number == 9 else 0.0001
        await here.ask(Policy.ROUTING, seconds=60)
    assert len(here.knowledge.searches) == 50


async def test_searches_that_were_slow_for_a_while_are_looked_at_again() -> None:
    here = room(price=50.0)
    here.knowledge.seconds = 0.01
    for _ in range(10):
        await here.ask(Policy.ROUTING)
    assert len(here.knowledge.searches) == 1
    here.knowledge.seconds = 0.0001
    for _ in range(5000):
        await here.ask(Policy.ROUTING)
    before = len(here.knowledge.searches)
    for _ in range(10):
        await here.ask(Policy.ROUTING)
    assert len(here.knowledge.searches) == before + 10


async def test_searches_that_stay_too_dear_are_seldom_made() -> None:
    here = room(price=50.0)
    here.knowledge.seconds = 0.01
    for _ in range(5000):
        await here.ask(Policy.ROUTING)
    assert 2 < len(here.knowledge.searches) < 5000 / 40


async def test_no_time_for_a_search_that_is_worth_it_is_named() -> None:
    here = room(price=0.0)
    here.knowledge.seconds = 0.05
    await here.ask(Policy.ROUTING)
    here.model.logits = UNSURE
    answer = await here.ask(Policy.ROUTING, seconds=0.004)
    assert (answer.route, answer.reason) == (Route.ABSTAIN, Reason.BUDGET)


async def test_a_bundle_without_an_outlook_always_searches() -> None:
    here = room(price=1e6, outlook=False)
    for _ in range(2):
        await here.ask(Policy.ROUTING)
    assert len(here.knowledge.searches) == 2


@pytest.mark.parametrize("logits", [SURE, UNSURE])
async def test_with_a_search_it_decides_as_the_cascade_does(logits: tuple[float, ...]) -> None:
    here = room(price=0.0)
    here.model.logits = logits
    here.knowledge.hits = (("post", 0.9), ("card", 0.5))
    routed, cascaded = await here.ask(Policy.ROUTING), await here.ask()
    assert replace(routed, policy=Policy.CASCADE, timings={}) == replace(cascaded, timings={})


async def test_a_model_that_is_not_certified_never_answers() -> None:
    here = room(hopeless=True)
    closed = replace(HOPELESS, thresholds=replace(HOPELESS.thresholds, answer=NEVER, informed=NEVER))
    here.cascade = Cascade(here.model, here.knowledge, closed, here.clock, price=1.0)
    assert (await here.ask(Policy.ROUTING)).route is not Route.MODEL


def test_where_both_may_answer_the_surer_does() -> None:
    thresholds = Thresholds(answer=0.8, evidence=0.6)
    routing = POLICIES[Policy.ROUTING]
    surer = RetrievalSays((("fees", 0.9),), 0.95)
    assert routing(says(0.9), surer, thresholds).document_id == "fees"
    assert routing(says(0.9), RetrievalSays((("fees", 0.9),), 0.85), thresholds) == BY_MODEL
    same = RetrievalSays((("card", 0.9),), 0.95)
    assert routing(says(0.9), same, thresholds) == BY_MODEL  # one document: by the route that is certified
    assert routing(LOW, surer, thresholds).route is Route.RETRIEVAL
