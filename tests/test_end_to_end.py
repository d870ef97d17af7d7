"""The shipped bundle and collection behind a real server: the claims that a user would check first."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway import assembly
from gateway.client import AsyncClient, CallFailed
from gateway.config import Config, KnowledgeSection, ModelSection, ServerSection
from gateway.knowledge import documents
from gateway.rpc.server import Ports, Server
from gateway.telemetry.metrics import Metrics
from gateway.types import Policy, Reason, Route

ROOT = Path(__file__).parent.parent
COLLECTION = ROOT / "index" / "banking"
PATIENCE = 10.0


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return Config(
            server=ServerSection(port=0, admin_port=0, default_timeout_ms=5000),
            model=ModelSection(bundle=ROOT / "models" / "banking" / "1"),
            knowledge=KnowledgeSection(collections={"banking": COLLECTION}),
        )


@pytest.fixture
async def ports(config: Config) -> AsyncIterator[Ports]:
    gateway = await assembly.build(config)
    server = Server(gateway, config, Metrics())
    yield await server.start()
    await server.stop()
    await gateway.close()


@pytest.fixture
async def client(ports: Ports) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(f"127.0.0.1:{ports.grpc}", timeout=PATIENCE) as client:
        yield client


async def test_a_known_intent_is_answered_by_the_model_with_todays_text(client: AsyncClient) -> None:
    answer = await client.answer("My new card has still not arrived, where is it?")
    article = documents.read(COLLECTION / "card-arrival.md")
    assert (answer.route, answer.reason) == (Route.MODEL, Reason.CONFIDENT)
    assert answer.confidence >= answer.threshold
    assert answer.document_id == "card-arrival"
    assert answer.text == article.answer


async def test_an_intent_that_the_model_never_saw_is_found_in_the_knowledge_base(client: AsyncClient) -> None:
    answer = await client.answer("The cash machine kept my card and will not give it back")
    assert answer.route is Route.RETRIEVAL
    assert answer.document_id == "card-swallowed"
    assert answer.citations[0].document_id == "card-swallowed"


async def test_quotes_are_in_the_article_and_hashed(client: AsyncClient) -> None:
    answer = await client.answer("The cash machine kept my card and will not give it back")
    text = documents.read(COLLECTION / "card-swallowed.md").text
    for citation in answer.citations:
        assert text[citation.start : citation.end] == citation.quote
        assert hashlib.sha256(citation.quote.encode()).hexdigest() == citation.quote_sha256


async def test_what_nobody_wrote_about_is_not_answered(client: AsyncClient) -> None:
    answer = await client.answer("How high is the highest mountain of Peru?")
    assert answer.route is Route.ABSTAIN
    assert answer.text == ""
    assert answer.suggestions


@pytest.mark.parametrize("policy", list(Policy))
async def test_every_policy_answers(client: AsyncClient, policy: Policy) -> None:
    answer = await client.answer("How do I set a new PIN?", policy=policy)
    assert answer.policy is policy


async def test_an_answer_does_not_depend_on_its_neighbours(client: AsyncClient) -> None:
    texts = ["How do I set a new PIN?", "Where is my refund?", "Do you take American Express for topping up?"] * 8
    together = await client.answer_batch(texts, policy=Policy.MODEL_ONLY)
    alone = await client.answer(texts[0], policy=Policy.MODEL_ONLY)
    assert all(not isinstance(one, CallFailed) for one in together)
    first = together[0]
    assert not isinstance(first, CallFailed)
    assert first.label == alone.label
    assert first.model_confidence == pytest.approx(alone.model_confidence, abs=0.01)


async def test_an_expired_deadline_is_said_so_at_once(ports: Ports, client: AsyncClient) -> None:
    with pytest.raises(CallFailed) as caught:
        await client.answer("How do I set a new PIN?", timeout=0.000_001)
    assert caught.value.code == "DEADLINE_EXCEEDED"
