"""Stored collections as they were and are: citations, versions that a question must see, numbers, and rights."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest

from gateway import assembly
from gateway.client import CallFailed, Client, Editor
from gateway.config import AdmissionSection, Config
from gateway.knowledge.store import Store
from gateway.rpc.server import Server
from gateway.telemetry.metrics import Metrics
from gateway.types import Citation, CitationState
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from tests import tiny
from tests.test_editing import OTHERS, STAFF, Stub, code, config, document, found, put
from tests.test_refusals import reason as reason_of

SALES = (("x-groups", "sales"),)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def settings(bundle: Path, tmp_path: Path) -> Config:
    return config(bundle, tmp_path / "data")


class Served:
    """A gateway with its server, and who asks it."""

    def __init__(self, store: Store, target: str, channel: grpc.aio.Channel) -> None:
        self.store = store
        self.target = target
        self.stub = Stub(channel)
        self.answers = gateway_pb2_grpc.AnswersStub(channel)


@pytest.fixture
async def served(settings: Config) -> AsyncIterator[Served]:
    gateway = await assembly.build(settings)
    server = Server(gateway, settings, Metrics(), gateway, edited=gateway)
    target = f"127.0.0.1:{(await server.start()).grpc}"
    async with grpc.aio.insecure_channel(target) as channel:
        served = Served(gateway.store, target, channel)
        await served.stub.CreateCollection(pb.CreateCollectionRequest(collection="help"))
        yield served
    await server.stop()
    await gateway.close()


async def test_what_the_disk_has_damaged_is_not_shown(served: Served) -> None:
    version = (await put(served.stub, document("a"))).knowledge_version
    with contextlib.closing(sqlite3.connect(served.store.path, isolation_level=None)) as connection:
        connection.execute("UPDATE document SET text = 'Other.' WHERE id = 'a'")
    for call in (
        served.stub.Get(pb.GetRequest(collection="help", document_id="a")),
        served.stub.List(pb.ListRequest(collection="help")),
        served.stub.GetCitation(pb.GetCitationRequest(collection="help", document_id="a", version=version, end=3)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert (code(caught)[0], reason_of(caught.value)) == ("DATA_LOSS", "DATA_LOSS")
        assert "knowledge.db" not in code(caught)[1]


# -- versions that a question must see --------------------------------------------------------------------------------


async def test_a_question_sees_the_write_that_it_names_or_is_refused(served: Served) -> None:
    version = (await put(served.stub, document("a"))).knowledge_version
    request = pb.AnswerRequest(question="word1", collection="help", policy=pb.POLICY_RETRIEVAL_ONLY)
    request.min_knowledge_version = version
    assert (await served.answers.Answer(request)).knowledge_version == version
    request.min_knowledge_version = version + 1
    search = pb.SearchRequest(query="word1", collection="help", min_knowledge_version=version + 1)
    for call in (served.answers.Answer(request), served.stub.Search(search)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        name, said = code(caught)
        assert (name, reason_of(caught.value)) == ("FAILED_PRECONDITION", "KNOWLEDGE_BEHIND")
        assert f"sees knowledge version {version}, and {version + 1} was asked for" in said


async def test_another_collection_s_write_is_seen_too(served: Served) -> None:
    """The log is one: that this collection has not changed since is no reason to refuse."""
    await put(served.stub, document("a"))
    other = await served.stub.CreateCollection(pb.CreateCollectionRequest(collection="other"))
    search = pb.SearchRequest(query="word1 word2", collection="help", min_knowledge_version=other.knowledge_version)
    assert [hit.document_id for hit in (await served.stub.Search(search)).hits] == ["a"]


async def test_items_of_a_batch_are_refused_alone(served: Served) -> None:
    asked = [
        pb.AnswerRequest(question="word1", collection="help", min_knowledge_version=version) for version in (1, 99)
    ]
    items = (await served.answers.AnswerBatch(pb.AnswerBatchRequest(items=asked))).items
    assert [one.error.reason for one in items] == ["", "KNOWLEDGE_BEHIND"]


async def test_the_client_asks_for_a_version(served: Served) -> None:
    def ask() -> None:
        with Client(served.target, timeout=5) as client:
            client.answer("word1", collection="help", min_knowledge_version=1)
            assert client.search("word1", collection="help", min_knowledge_version=1) == []
            for call in (client.answer, client.search):
                with pytest.raises(CallFailed, match="99 was asked for"):
                    call("word1", collection="help", min_knowledge_version=99)

    await asyncio.to_thread(ask)


# -- citations --------------------------------------------------------------------------------------------------------


async def cited(
    stub: Stub, version: int, quote: str = "word1 word2", metadata: tuple[tuple[str, str], ...] = ()
) -> pb.GetCitationResponse:
    request = pb.GetCitationRequest(
        collection="help",
        document_id="a",
        version=version,
        start=0,
        end=len(quote),
        quote_sha256=hashlib.sha256(quote.encode()).hexdigest(),
    )
    response: pb.GetCitationResponse = await stub.GetCitation(request, metadata=metadata)
    return response


async def test_a_citation_is_found_as_it_was_shown(served: Served) -> None:
    first = (await put(served.stub, document("a"))).knowledge_version
    now = await cited(served.stub, first)
    assert (now.citation.quote, now.citation.title, now.citation.document_version) == (
        "word1 word2",
        "Title of a",
        first,
    )
    assert (now.is_verified, now.state, now.current_version) == (True, pb.CITATION_STATE_CURRENT, first)
    second = (await put(served.stub, document("a", "word7 word8"))).knowledge_version
    then = await cited(served.stub, first)
    assert (then.citation, then.is_verified) == (now.citation, True)
    assert (then.state, then.current_version) == (pb.CITATION_STATE_SUPERSEDED, second)
    assert not (await cited(served.stub, second)).is_verified  # that version says something else
    await served.stub.Delete(pb.DeleteRequest(collection="help", document_ids=["a"]))
    for version in (first, second):
        gone = await cited(served.stub, version)
        assert (gone.state, gone.current_version) == (pb.CITATION_STATE_DELETED, 0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await cited(served.stub, 0)
    assert code(caught) == ("NOT_FOUND", "no document 'a' in 'help'")


async def test_a_citation_is_for_those_who_may_read_its_document_now(served: Served) -> None:
    first = (await put(served.stub, document("a"))).knowledge_version
    await put(served.stub, document("a", "word1 word2", "staff"))
    for metadata in ((), SALES, OTHERS):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await cited(served.stub, first, metadata=metadata)
        assert code(caught)[0] == "NOT_FOUND"
    assert (await cited(served.stub, first, metadata=STAFF)).is_verified


async def test_what_a_document_was_while_it_was_secret_stays_so(served: Served) -> None:
    first = (await put(served.stub, document("a", "word1 word2", "staff"))).knowledge_version
    await served.stub.Upsert(pb.UpsertRequest(collection="help", documents=[document("a")]), metadata=STAFF)
    get = pb.GetRequest(collection="help", document_id="a", version=first)
    for call in (cited(served.stub, first), served.stub.Get(get)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert code(caught) == ("NOT_FOUND", f"no document 'a' in 'help' at version {first}")
    assert (await cited(served.stub, first, metadata=STAFF)).is_verified
    assert (await cited(served.stub, first + 1)).is_verified


async def test_what_is_not_kept_is_said_to_those_who_may_know(served: Served) -> None:
    first = (await put(served.stub, document("a"))).knowledge_version
    await put(served.stub, document("a", "word1 word2", "staff"))
    await asyncio.to_thread(served.store.clear, 1e12)
    said = []
    for version, metadata in ((first, STAFF), (first, ()), (99, STAFF), (99, ())):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await cited(served.stub, version, metadata=metadata)
        assert reason_of(caught.value) == "UNKNOWN_DOCUMENT"
        said.append(code(caught)[1])
    never = "no document 'a' in 'help' at version {}"
    assert said == [
        f"version {first} of 'a' in 'help' is not kept any more",
        never.format(first),
        never.format(99),
        never.format(99),
    ]


@pytest.mark.parametrize(
    ("start", "end", "sha256", "field"),
    [(0, 10_000, "", "end"), (5, 5, "", "start"), (0, 5, "abc", "quote_sha256")],
)
async def test_a_citation_that_can_be_none_is_named(
    served: Served, start: int, end: int, sha256: str, field: str
) -> None:
    await put(served.stub, document("a"))
    request = pb.GetCitationRequest(collection="help", document_id="a", start=start, end=end, quote_sha256=sha256)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.stub.GetCitation(request)
    assert code(caught)[0] == "INVALID_ARGUMENT"
    assert code(caught)[1].startswith(f"{field}: ")


async def test_the_client_looks_citations_up(served: Served) -> None:
    version = (await put(served.stub, document("a"))).knowledge_version
    await put(served.stub, document("a", "word7"))
    quote = "word2"
    shown = Citation(
        "a", "Title of a", "", "", 6, 11, quote, hashlib.sha256(quote.encode()).hexdigest(), 0.5, version=version
    )

    def look_up() -> None:
        with Editor(served.target) as editor:
            resolved = editor.citation("help", shown)
        assert (resolved.citation.quote, resolved.citation.version, resolved.is_verified) == ("word2", version, True)
        assert (resolved.state, resolved.current_version) == (CitationState.SUPERSEDED, version + 1)

    await asyncio.to_thread(look_up)


# -- numbers and rights -----------------------------------------------------------------------------------------------


async def test_stats_are_of_the_whole_collection(served: Served) -> None:
    await put(served.stub, document("a"), document("b", "word1", "staff"))
    before = await served.stub.Stats(pb.StatsRequest(collection="help"))
    assert (before.documents, before.passages, before.segments, before.knowledge_version) == (2, 4, 1, 3)
    assert (before.superseded_versions, before.oldest_superseded) == (0, 0)
    await put(served.stub, document("a", "word7"))
    await served.stub.Delete(pb.DeleteRequest(collection="help", document_ids=["a"]))
    after = await served.stub.Stats(pb.StatsRequest(collection="help"))
    assert (after.documents, after.superseded_versions) == (1, 2)
    at = {one.seq: one.at for one in served.store.changes(0)}
    assert after.oldest_superseded == at[4]
    assert after.vector_bytes == before.vector_bytes * 6 / 4
    assert after.text_bytes > before.text_bytes > 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.stub.Stats(pb.StatsRequest(collection="help"), metadata=OTHERS)
    assert code(caught)[0] == "NOT_FOUND"

    def ask() -> None:
        with Editor(served.target) as editor:
            assert editor.stats("help").vector_bytes == after.vector_bytes

    await asyncio.to_thread(ask)


async def test_collections_count_what_the_caller_may_read(served: Served) -> None:
    await put(served.stub, document("a"), document("b", "word1 word2", "staff"), document("c", "word1 word2", "staff"))
    await served.stub.Delete(pb.DeleteRequest(collection="help", document_ids=["c"]), metadata=STAFF)
    for metadata, documents in (((), 1), (STAFF, 2), (SALES, 1)):
        (one,) = (await served.stub.ListCollections(pb.ListCollectionsRequest(), metadata=metadata)).collections
        assert (one.name, one.documents, one.passages) == ("help", documents, 2 * documents)


@pytest.mark.parametrize("expected", [None, 0, 2, 5])
async def test_who_may_not_read_a_document_can_neither_replace_it_nor_learn_its_version(
    served: Served, expected: int | None
) -> None:
    await put(served.stub, document("a", "word1 word2", "staff"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await put(served.stub, document("b"), document("a", "word7", expected_version=expected))
    assert code(caught) == ("ABORTED", "a cannot be written by this caller: the id is taken")
    assert reason_of(caught.value) == "VERSION_CONFLICT"
    deleted = await served.stub.Delete(pb.DeleteRequest(collection="help", document_ids=["a", "nothing"]))
    assert list(deleted.versions) == [0, 0]  # the one as the other
    assert await found(served.stub, STAFF) == ["a"]


class TestQuota:
    @pytest.fixture
    def settings(self, bundle: Path, tmp_path: Path) -> Config:
        slow = AdmissionSection(tenant_rate=0.01, tenant_burst=4)
        return config(bundle, tmp_path / "data").model_copy(update={"admission": slow})

    async def test_documents_count_as_questions(self, served: Served) -> None:
        await put(served.stub, document("a"), document("b"))  # the collection was the first of four
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await put(served.stub, document("c"), document("d"))
        assert (code(caught)[0], reason_of(caught.value)) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
        assert sorted(await found(served.stub)) == ["a", "b"]  # the fourth was free, and is now taken
        for call in (
            served.stub.Delete(pb.DeleteRequest(collection="help", document_ids=["a"])),
            served.stub.Search(pb.SearchRequest(query="word1", collection="help")),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert reason_of(caught.value) == "QUOTA_EXCEEDED"


class TestClearing:
    @pytest.fixture
    def settings(self, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
        monkeypatch.setattr("gateway.knowledge.clearing.FIRST", 0.5)
        found = config(bundle, tmp_path / "data")
        return found.model_copy(update={"knowledge": found.knowledge.model_copy(update={"keep_days": 1e-9})})

    async def test_a_gateway_clears_what_it_holds(self, served: Served) -> None:
        first = (await put(served.stub, document("a"))).knowledge_version
        await put(served.stub, document("a", "word7"))
        async with asyncio.timeout(10):
            while served.store.document("default", "help", "a", first) is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert await found(served.stub) == ["a"]
