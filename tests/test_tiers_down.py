"""The model fails, or the search does, or both: what is answered then, what it says of itself, and when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from gateway import assembly, failpoints
from gateway.cascade.breaker import FAILURES
from gateway.config import Config, KnowledgeSection, ModelSection
from gateway.deadline import Deadline
from gateway.errors import CircuitOpen, DeadlineExceeded, InferenceFailed
from gateway.model import engine
from gateway.swapping import Swapping
from gateway.types import Answer, BreakerState, Policy, Principal, Question, Ranker, Reason, Route, Tier
from tests import tiny

ARTICLE = "---\nid: {id}\ntitle: {title}\nuri: u/{id}\nupdated: 2026-01-01\nanswer: It is {id}.\n---\n{body}\n"
BODIES = {"green": ("Lost cards", "Report a stolen wallet at once."), "blue": ("Fees abroad", "We charge nothing.")}
ASKED = "my wallet was stolen and lost"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
async def gateway(bundle: Path, tmp_path: Path) -> AsyncIterator[Swapping]:
    folder = tmp_path / "articles"
    folder.mkdir()
    for name, (title, body) in BODIES.items():
        (folder / f"{name}.md").write_text(ARTICLE.format(id=name, title=title, body=f"{body}\n\nMore of it."))
    made = await assembly.build(
        Config(model=ModelSection(bundle=bundle), knowledge=KnowledgeSection(collections={"help": folder}))
    )
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


async def asked(
    gateway: Swapping, text: str = ASKED, policy: Policy = Policy.CASCADE, collection: str = "help", seconds: float = 30
) -> Answer:
    return await gateway.answer(Question(text, collection, policy=policy), Deadline.after(seconds))


def state(gateway: Swapping, tier: Tier) -> BreakerState:
    return next(one.state for one in gateway.describe().breakers if one.tier is tier)


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(1000):
        if is_so():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("not within 20 s")


async def until_closed(gateway: Swapping, tier: Tier) -> None:
    """Asks on and on, as callers do."""
    for _ in range(1000):
        if state(gateway, tier) is BreakerState.CLOSED:
            return
        await asked(gateway)
        await asyncio.sleep(0.02)
    raise AssertionError("not within 20 s")


async def test_words_answer_where_the_model_fails(gateway: Swapping) -> None:
    failpoints.arm("model-run=error")
    answers = [await asked(gateway) for _ in range(FAILURES + 3)]
    assert state(gateway, Tier.MODEL) is BreakerState.OPEN
    for answer in answers:
        assert (answer.route, answer.reason, answer.is_degraded) == (Route.RETRIEVAL, Reason.MODEL_UNAVAILABLE, True)
        assert (answer.document_id, answer.text) == ("green", "It is green.")
        assert answer.citations[0].quote.startswith("Report a stolen wallet at once.")  # what says most comes first
        assert answer.model_confidence is None
        assert answer.retrieval_confidence is not None
        assert answer.confidence >= 0.5
    (model,) = (one for one in gateway.describe().breakers if one.tier is Tier.MODEL)
    assert model.failures == FAILURES  # the others were not tried


@pytest.mark.parametrize("text", ["hello there", "more of it"])
async def test_what_words_do_not_tell_is_handed_over(gateway: Swapping, text: str) -> None:
    failpoints.arm("model-run=error")
    answer = await asked(gateway, text)
    assert (answer.route, answer.reason, answer.text) == (Route.ABSTAIN, Reason.MODEL_UNAVAILABLE, "")
    assert set(answer.suggestions) == (set() if text == "hello there" else set(BODIES))


async def test_without_a_collection_there_is_nobody_else(gateway: Swapping) -> None:
    failpoints.arm("model-run=error")
    for _ in range(FAILURES):
        with pytest.raises(InferenceFailed):
            await asked(gateway, collection="")
    with pytest.raises(CircuitOpen):
        await asked(gateway, collection="")


async def test_where_only_the_model_is_wanted_nobody_answers_for_it(gateway: Swapping) -> None:
    failpoints.arm("model-run=error")
    answer = await asked(gateway, policy=Policy.MODEL_ONLY)
    assert (answer.route, answer.reason) == (Route.ABSTAIN, Reason.MODEL_UNAVAILABLE)


async def test_a_search_by_words_needs_no_model(gateway: Swapping) -> None:
    everybody, deadline = Principal(), Deadline.after(30)
    whole = await gateway.search(ASKED, "help", everybody, 5, deadline, Ranker.LEXICAL)
    failpoints.arm("model-run=error")
    for _ in range(FAILURES + 1):  # until nobody tries any more, and then
        found = await gateway.search(ASKED, "help", everybody, 5, deadline, Ranker.LEXICAL)
        ranked, before = ([(hit.document.id, hit.score) for hit in one.hits] for one in (found, whole))
        assert ranked == before
        assert found.hits[0].citations[0].quote.startswith("Report a stolen wallet at once.")
    for ranker in (Ranker.HYBRID, Ranker.DENSE):
        with pytest.raises(CircuitOpen):
            await gateway.search(ASKED, "help", everybody, 5, deadline, ranker)


async def test_one_bad_pass_fails_alone(gateway: Swapping) -> None:
    failpoints.arm("model-run=nan*1")
    assert (await asked(gateway)).reason is Reason.MODEL_UNAVAILABLE
    assert (await asked(gateway)).model_confidence is not None
    assert state(gateway, Tier.MODEL) is BreakerState.CLOSED


async def test_a_model_that_is_mended_is_taken_back(gateway: Swapping) -> None:
    failpoints.arm("model-run=error")
    for _ in range(FAILURES):
        await asked(gateway)
    failpoints.arm("")
    assert (await asked(gateway)).reason is Reason.MODEL_UNAVAILABLE  # it is not tried at once
    await until_closed(gateway, Tier.MODEL)
    assert (await asked(gateway)).model_confidence is not None


async def test_confident_answers_go_on_where_searches_fail(gateway: Swapping) -> None:
    texts = tiny.questions(40, seed=5)
    failpoints.arm("knowledge-search=errno:EIO")
    answers = [await asked(gateway, text) for text in texts]
    assert state(gateway, Tier.KNOWLEDGE) is BreakerState.OPEN
    assert {one.retrieval_confidence for one in answers} == {None}
    assert {one.route for one in answers} <= {Route.MODEL, Route.ABSTAIN}
    assert {one.reason for one in answers if one.route is Route.ABSTAIN} == {Reason.RETRIEVAL_UNAVAILABLE}
    failpoints.arm("")
    await until_closed(gateway, Tier.KNOWLEDGE)
    assert (await asked(gateway)).retrieval_confidence is not None


async def test_nobody_answers_where_both_fail(gateway: Swapping) -> None:
    failpoints.arm("model-run=error;knowledge-search=error")
    for _ in range(2 * FAILURES):
        with pytest.raises(CircuitOpen):
            await asked(gateway)
    assert {one.state for one in gateway.describe().breakers} == {BreakerState.OPEN}


async def test_a_pass_that_hangs_holds_nobody_who_comes_later(
    gateway: Swapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "STUCK_SECONDS", 0.1)
    failpoints.arm("model-run=sleep:2*1")
    with pytest.raises(DeadlineExceeded):
        await asked(gateway, seconds=0.3)
    assert gateway.describe().stuck_seconds > 0.1
    assert (await asked(gateway)).reason is Reason.MODEL_UNAVAILABLE
    await until(lambda: not gateway.describe().stuck_seconds)
    assert (await asked(gateway)).model_confidence is not None
