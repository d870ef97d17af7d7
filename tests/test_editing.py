"""Stored collections over the API: written, read, searched and answered from, by those who may."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc.aio
import pytest
from click.testing import CliRunner, Result
from google.protobuf.timestamp_pb2 import Timestamp

from gateway import assembly
from gateway.cli.main import cli
from gateway.client import Editor
from gateway.config import CascadeSection, Config, KnowledgeSection, ModelSection, ServerSection
from gateway.convert import document_from_proto
from gateway.rpc.server import Ports, Server
from gateway.telemetry.metrics import Metrics
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from tests import tiny

OTHERS = (("x-tenant", "other"),)
STAFF = (("x-groups", "staff"),)
Stub = gateway_pb2_grpc.KnowledgeStub


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


def config(bundle: Path, data: Path | None) -> Config:
    return Config(
        model=ModelSection(bundle=bundle),
        knowledge=KnowledgeSection(collections={}, data=data),
        server=ServerSection(port=0, admin_port=0, drain_delay_seconds=0, default_timeout_ms=5000),
    )


async def served(config: Config) -> AsyncIterator[grpc.aio.Channel]:
    gateway = await assembly.build(config)
    server = Server(gateway, config, Metrics(), gateway, edited=gateway if config.knowledge.data else None)
    ports: Ports = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        yield channel
    await server.stop()
    await gateway.close()


@pytest.fixture
async def channel(bundle: Path, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    async for channel in served(config(bundle, tmp_path / "data")):
        yield channel


@pytest.fixture
async def knowledge(channel: grpc.aio.Channel) -> Stub:
    stub = Stub(channel)
    await stub.CreateCollection(pb.CreateCollectionRequest(collection="help"))
    return stub


def document(name: str, answer: str = "word1 word2", *groups: str, expected_version: int | None = None) -> pb.Document:
    return pb.Document(
        id=name,
        title=f"Title of {name}",
        answer=answer,
        body="Body of word3.",
        groups=groups,
        expected_version=expected_version,
    )


def dated(**seconds: int) -> pb.Document:
    return pb.Document(id="a", title="T", answer="w", **{name: Timestamp(seconds=one) for name, one in seconds.items()})  # type: ignore[arg-type]


async def put(stub: Stub, *documents: pb.Document, key: str = "") -> pb.WriteResponse:
    request = pb.UpsertRequest(collection="help", documents=documents, idempotency_key=key)
    response: pb.WriteResponse = await stub.Upsert(request)
    return response


async def found(stub: Stub, metadata: tuple[tuple[str, str], ...] = ()) -> list[str]:
    request = pb.SearchRequest(query="word1 word2", collection="help", limit=50)
    return [hit.document_id for hit in (await stub.Search(request, metadata=metadata)).hits]


def code(caught: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> tuple[str, str]:
    return caught.value.code().name, caught.value.details() or ""


async def test_what_is_written_is_found_read_and_listed(knowledge: Stub) -> None:
    written = await put(knowledge, document("a"), document("b"))
    assert (written.knowledge_version, list(written.versions)) == (3, [2, 3])
    assert sorted(await found(knowledge)) == ["a", "b"]
    one = await knowledge.Get(pb.GetRequest(collection="help", document_id="a"))
    assert (one.document, one.version, one.ended) == (document("a"), 2, 0)
    listed = await knowledge.List(pb.ListRequest(collection="help"))
    assert [(each.document.id, each.document.body) for each in listed.documents] == [("a", ""), ("b", "")]
    collections = (await knowledge.ListCollections(pb.ListCollectionsRequest())).collections
    assert [(one.name, one.documents, one.passages, one.knowledge_version, one.is_stored) for one in collections] == [
        ("help", 2, 4, 3, True)
    ]


async def test_questions_are_answered_from_what_is_stored(knowledge: Stub, channel: grpc.aio.Channel) -> None:
    await put(knowledge, document("a"))
    request = pb.AnswerRequest(question="word1 word2", collection="help", policy=pb.POLICY_RETRIEVAL_ONLY)
    answer = await gateway_pb2_grpc.AnswersStub(channel).Answer(request)
    assert answer.knowledge_version == 2
    assert {one.document_id for one in answer.citations} == {"a"}


async def test_a_new_version_takes_the_place_of_the_old_one(knowledge: Stub) -> None:
    await put(knowledge, document("a"))
    written = await put(knowledge, document("a", "word7 word8"))
    old = await knowledge.Get(pb.GetRequest(collection="help", document_id="a", version=2))
    now = await knowledge.Get(pb.GetRequest(collection="help", document_id="a"))
    assert (old.document.answer, old.ended) == ("word1 word2", written.knowledge_version)
    assert (now.document.answer, now.version) == ("word7 word8", written.knowledge_version)
    assert await found(knowledge) == ["a"]


async def test_what_is_deleted_is_gone_at_once(knowledge: Stub) -> None:
    await put(knowledge, document("a"), document("b"))
    deleted = await knowledge.Delete(pb.DeleteRequest(collection="help", document_ids=["a", "c"]))
    assert list(deleted.versions) == [4, 0]
    assert await found(knowledge) == ["b"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await knowledge.Get(pb.GetRequest(collection="help", document_id="a"))
    assert code(caught) == ("NOT_FOUND", "no document 'a' in 'help'")


async def test_other_tenants_and_groups_see_nothing_of_it(knowledge: Stub) -> None:
    await put(knowledge, document("a"), document("b", "word1 word2", "staff"))
    assert await found(knowledge) == ["a"]
    assert sorted(await found(knowledge, STAFF)) == ["a", "b"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await found(knowledge, OTHERS)
    assert code(caught)[0] == "NOT_FOUND"
    for request in (pb.GetRequest(collection="help", document_id="b"),):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await knowledge.Get(request)
        assert code(caught)[0] == "NOT_FOUND"
    assert [one.document.id for one in (await knowledge.List(pb.ListRequest(collection="help"))).documents] == ["a"]
    assert not (await knowledge.ListCollections(pb.ListCollectionsRequest(), metadata=OTHERS)).collections


async def test_a_right_that_was_taken_away_is_so_for_what_was_before(knowledge: Stub) -> None:
    await put(knowledge, document("a"))
    await put(knowledge, document("a", "word1 word2", "staff"))
    for version in (0, 2, 3):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await knowledge.Get(pb.GetRequest(collection="help", document_id="a", version=version))
        assert code(caught)[0] == "NOT_FOUND"
    assert (
        await knowledge.Get(pb.GetRequest(collection="help", document_id="a", version=2), metadata=STAFF)
    ).ended == 3
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await knowledge.Get(pb.GetRequest(collection="help", document_id="a", version=2**63), metadata=STAFF)
    assert code(caught)[0] == "INVALID_ARGUMENT"


async def test_what_one_process_writes_the_next_question_at_another_sees(bundle: Path, tmp_path: Path) -> None:
    settings = config(bundle, tmp_path / "data").model_copy(update={"cascade": CascadeSection(cached_answers=100)})
    async for here in served(settings):
        async for there in served(settings):
            first, second = Stub(here), Stub(there)
            await first.CreateCollection(pb.CreateCollectionRequest(collection="help"))
            await put(first, document("a"))
            request = pb.AnswerRequest(question="word1 word2", collection="help", policy=pb.POLICY_RETRIEVAL_ONLY)
            answers = gateway_pb2_grpc.AnswersStub(there)
            assert [one.document_id for one in (await answers.Answer(request)).citations][:1] == ["a"]
            assert await found(second) == ["a"]
            await first.Delete(pb.DeleteRequest(collection="help", document_ids=["a"]))
            assert not (await answers.Answer(request)).citations
            assert await found(second) == []
            await second.DropCollection(pb.DropCollectionRequest(collection="help"))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await answers.Answer(request)
            assert code(caught) == ("NOT_FOUND", "no collection 'help' here")


async def test_pages_follow_each_other_to_the_end(knowledge: Stub) -> None:
    await put(knowledge, *(document(f"d{at:02}", "word1", *(["staff"] if at % 3 == 0 else [])) for at in range(20)))
    seen, token = [], ""
    while True:
        page = await knowledge.List(pb.ListRequest(collection="help", page_size=4, page_token=token))
        seen += [one.document.id for one in page.documents]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"d{at:02}" for at in range(20) if at % 3]


async def test_what_is_not_in_time_is_kept_and_not_found(knowledge: Stub, channel: grpc.aio.Channel) -> None:
    now = datetime.now(UTC)
    dates: dict[str, tuple[datetime | None, datetime | None]] = {
        "late": (None, now - timedelta(days=1)),
        "early": (now + timedelta(days=1), None),
        "now": (now - timedelta(days=1), now + timedelta(days=1)),
        "always": (None, None),
    }
    written = [document(name) for name in dates]
    for one, (effective, expires) in zip(written, dates.values(), strict=True):
        for field, moment in ((one.effective, effective), (one.expires, expires)):
            if moment:
                field.FromDatetime(moment)
    await put(knowledge, *written)
    assert sorted(await found(knowledge)) == ["always", "now"]
    request = pb.AnswerRequest(question="word1 word2", collection="help", policy=pb.POLICY_RETRIEVAL_ONLY)
    answer = await gateway_pb2_grpc.AnswersStub(channel).Answer(request)
    assert {one.document_id for one in answer.citations} < {"always", "now"}  # of one of them
    assert answer.citations
    for one in written:
        kept = await knowledge.Get(pb.GetRequest(collection="help", document_id=one.id))
        assert kept.document == one
    listed = (await knowledge.List(pb.ListRequest(collection="help"))).documents
    assert {one.document.id: one.document.expires for one in listed} == {one.id: one.expires for one in written}
    (collection,) = (await knowledge.ListCollections(pb.ListCollectionsRequest())).collections
    assert collection.documents == 2
    assert (await knowledge.Stats(pb.StatsRequest(collection="help"))).documents == 4
    await put(knowledge, document("late"))  # without the date
    assert sorted(await found(knowledge)) == ["always", "late", "now"]


async def test_dates_are_kept_to_the_microsecond(knowledge: Stub) -> None:
    one = document("a")
    one.effective.FromNanoseconds(1_767_225_600_123_456_789)
    await put(knowledge, one)
    kept = await knowledge.Get(pb.GetRequest(collection="help", document_id="a"))
    assert kept.document.effective.ToNanoseconds() == 1_767_225_600_123_456_000
    assert not kept.document.HasField("expires")


@pytest.mark.parametrize("ranker", [pb.RANKER_HYBRID, pb.RANKER_DENSE, pb.RANKER_LEXICAL])
async def test_a_search_goes_by_what_was_asked_for(knowledge: Stub, ranker: pb.Ranker) -> None:
    await put(knowledge, document("said", "word1 word2"), document("unsaid", "word7 word8"))
    request = pb.SearchRequest(query="word1 word2", collection="help", ranker=ranker)
    hits = (await knowledge.Search(request)).hits
    assert [one.document_id for one in hits] == ["said", "unsaid"][: 1 if ranker == pb.RANKER_LEXICAL else 2]
    assert [one.score for one in hits] == sorted((one.score for one in hits), reverse=True)
    said = hits[0].score - hits[0].similarity
    assert (ranker == pb.RANKER_DENSE) is (said == 0)
    if ranker == pb.RANKER_HYBRID:
        assert said > 0


async def test_a_page_is_no_larger_than_a_message_may_be(
    knowledge: Stub, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    answer = "\N{GRINNING FACE}" * 9_990 + " word1"
    for at in range(0, 120, 20):
        await put(knowledge, *(document(f"d{number:03}", answer) for number in range(at, at + 20)))
    request = pb.ListRequest(collection="help", page_size=1000)
    pages = []
    while True:
        page = await knowledge.List(request)  # would be RESOURCE_EXHAUSTED beyond gRPC's 4 MB
        pages.append([one.document.id for one in page.documents])
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert [name for page in pages for name in page] == [f"d{number:03}" for number in range(120)]
    assert len(pages) == 3
    monkeypatch.setattr("gateway.rpc.reading.PAGE_BYTES", 1)  # one that is too large is a page all the same
    assert [one.document.id for one in (await knowledge.List(pb.ListRequest(collection="help"))).documents] == ["d000"]


async def test_versions_and_keys_guard_writes(knowledge: Stub) -> None:
    first = await put(knowledge, document("a", expected_version=0), key="k")
    again = await put(knowledge, document("a", expected_version=0), key="k")
    assert (list(again.versions), again.is_repeat) == (list(first.versions), True)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await put(knowledge, document("a", expected_version=0))
    assert code(caught) == ("ABORTED", "a is at version 2, and the change expects 0")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await put(knowledge, document("b"), key="k")
    assert code(caught)[0] == "ALREADY_EXISTS"


@pytest.mark.parametrize(
    ("documents", "field"),
    [
        ([], "documents"),
        ([document("")], "documents[0].id"),
        ([document("a/b")], "documents[0].id"),
        ([document("a"), document("a")], "documents"),
        ([document("a"), document("b", "")], "documents[1].answer"),
        ([pb.Document(id="a", title="T", answer="**")], "documents[0]"),
        ([document("a", "word1", "no group")], "documents[0].groups"),
        ([pb.Document(id="a", answer="word1")], "documents[0].title"),
        ([pb.Document(id="a", title="T", answer="word1", uri="a\nb")], "documents[0].uri"),
        ([pb.Document(id="a", title="T", answer="word1", body="\x00")], "documents[0].body"),
        ([dated(effective=-1)], "documents[0].effective"),
        ([dated(effective=253_402_300_800)], "documents[0].effective"),
        ([dated(effective=2**62)], "documents[0].effective"),
        ([dated(effective=7, expires=7)], "documents[0].expires"),
        ([dated(expires=0)], "documents[0].expires"),
        ([dated(expires=253_402_300_800)], "documents[0].expires"),
        ([pb.Document(id="a", title="T", answer="word1", expires=Timestamp(nanos=10**9))], "documents[0].expires"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_written(
    knowledge: Stub, documents: list[pb.Document], field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await put(knowledge, *documents)
    name, said = code(caught)
    assert name == "INVALID_ARGUMENT"
    assert said.startswith(f"{field}: ")
    assert await found(knowledge) == []


async def test_a_collection_comes_and_goes(knowledge: Stub) -> None:
    await put(knowledge, document("a"))
    dropped = await knowledge.DropCollection(pb.DropCollectionRequest(collection="help"))
    assert dropped.knowledge_version == 3
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await put(knowledge, document("a"))
    assert code(caught) == ("NOT_FOUND", "no stored collection 'help' here")
    await knowledge.CreateCollection(pb.CreateCollectionRequest(collection="help"))
    assert await found(knowledge) == []


async def test_whoever_may_not_read_all_of_a_collection_does_not_end_it(knowledge: Stub) -> None:
    await put(knowledge, document("a"), document("b", "word1", "staff"))
    request = pb.DropCollectionRequest(collection="help")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await knowledge.DropCollection(request)
    name, said = code(caught)
    assert name == "ABORTED"
    assert said.startswith("the collection has documents that this caller may not read")
    assert sorted(await found(knowledge, STAFF)) == ["a", "b"]
    assert (await knowledge.DropCollection(request, metadata=STAFF)).knowledge_version == 4


async def test_what_was_acknowledged_is_there_after_a_restart(bundle: Path, tmp_path: Path) -> None:
    for expected in ([], ["a"]):
        async for channel in served(config(bundle, tmp_path / "data")):
            stub = Stub(channel)
            await stub.CreateCollection(pb.CreateCollectionRequest(collection="help"))
            assert await found(stub) == expected
            await put(stub, document("a"))


async def test_a_server_without_a_folder_stores_nothing(bundle: Path) -> None:
    async for channel in served(config(bundle, None)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await Stub(channel).CreateCollection(pb.CreateCollectionRequest(collection="help"))
        assert code(caught) == (
            "NOT_FOUND",
            "this server stores no collections: it needs a folder for them, knowledge.data",
        )
        assert not (await Stub(channel).ListCollections(pb.ListCollectionsRequest())).collections


async def test_a_swap_keeps_what_is_stored_and_what_comes_meanwhile(bundle: Path, tmp_path: Path) -> None:
    settings = config(bundle, tmp_path / "data")
    gateway = await assembly.build(settings)
    server = Server(gateway, settings, Metrics(), gateway, edited=gateway)
    ports = await server.start()
    other = tiny.write(tmp_path / "other")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        stub = Stub(channel)
        await stub.CreateCollection(pb.CreateCollectionRequest(collection="help"))
        await put(stub, document("a"))
        await gateway.prepare(other)
        await put(stub, document("b"))
        await gateway.switch(other)
        assert sorted(await found(stub)) == ["a", "b"]
        await put(stub, document("c"))
        assert sorted(await found(stub)) == ["a", "b", "c"]
    await server.stop()
    await gateway.close()


# -- the client and the command line ----------------------------------------------------------------------------------


@pytest.fixture
async def target(bundle: Path, tmp_path: Path) -> AsyncIterator[str]:
    settings = config(bundle, tmp_path / "data")
    gateway = await assembly.build(settings)
    server = Server(gateway, settings, Metrics(), gateway, edited=gateway)
    yield f"127.0.0.1:{(await server.start()).grpc}"
    await server.stop()
    await gateway.close()


async def run(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, cli, ["knowledge", *arguments])


def article(folder: Path, name: str, answer: str) -> None:
    matter = f"id: {name}\ntitle: Title\nuri: u\nupdated: 2026-01-01\nanswer: {answer}"
    (folder / f"{name}.md").write_text(f"---\n{matter}\n---\nBody of word1.\n")


async def test_a_folder_is_imported_again_and_again(target: str, tmp_path: Path) -> None:
    folder = tmp_path / "articles"
    folder.mkdir()
    for name in ("a", "b", "c"):
        article(folder, name, "word1.")
    arguments = ("import", str(folder), "--collection", "help", "--target", target)
    assert "3 written, 0 unchanged, 0 deleted, 0 not read" in (await run(*arguments)).output
    assert "0 written, 3 unchanged, 0 deleted, 0 not read" in (await run(*arguments)).output
    for answer in ("word2.", "word1."):  # and back again: it is another change, though the same words as before
        article(folder, "a", answer)
        assert "1 written, 2 unchanged" in (await run(*arguments)).output
    (folder / "b.md").unlink()
    (folder / "bad.md").write_text("---\nno front matter")
    failed = await run(*arguments, "--prune")
    assert failed.exit_code == 1
    assert "0 written, 2 unchanged, 0 deleted, 1 not read" in failed.output
    assert "bad.md: must open with front matter" in failed.output
    (folder / "bad.md").unlink()
    assert "0 written, 2 unchanged, 1 deleted, 0 not read" in (await run(*arguments, "--prune")).output
    lines = (await run("export", "--collection", "help", "--target", target)).output.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a", "c"]
    assert json.loads(lines[0])["answer"] == "word1."
    found = json.loads((await run("collections", "--json", "--target", target)).output)
    assert [(one["name"], one["documents"], one["is_stored"]) for one in found] == [("help", 2, True)]
    assert (
        "1 deleted, 1 were not there"
        in (await run("delete", "a", "x", "--collection", "help", "--target", target)).output
    )
    assert "dropped" in (await run("drop", "help", "--yes", "--target", target)).output
    assert "it was not there" in (await run("drop", "help", "--yes", "--target", target)).output


async def test_dates_go_in_and_out_and_in_again(target: str, tmp_path: Path) -> None:
    where = ("--collection", "help", "--target", target)
    told = [
        {
            "id": "a",
            "title": "T",
            "answer": "word1.",
            "effective": "2026-01-01",
            "expires": "9999-06-01T12:00:00.500000+00:00",
        },
        {"id": "b", "title": "T", "answer": "word1."},
    ]
    for later in ("2026-01-01", "2026-02-01"):  # a change of a date alone is a change
        told[0]["effective"] = later
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in told))
        written = "2 written" if later == "2026-01-01" else "1 written, 1 unchanged"
        assert written in (await run("import", str(tmp_path / "a.jsonl"), *where)).output
    lines = (await run("export", *where)).stdout
    seen = [{key: one.get(key) for key in ("effective", "expires")} for one in map(json.loads, lines.splitlines())]
    assert seen == [{"effective": "2026-02-01", "expires": told[0]["expires"]}, {"effective": None, "expires": None}]
    (tmp_path / "b.jsonl").write_text(lines)
    assert "0 written, 2 unchanged" in (await run("import", str(tmp_path / "b.jsonl"), *where)).output


async def test_what_is_stored_is_looked_at_from_the_command_line(target: str, tmp_path: Path) -> None:
    folder = tmp_path / "articles"
    folder.mkdir()
    for name, answer in (("a", "word1 word2."), ("b", "word7 word8.")):
        article(folder, name, answer)
    where = ("--collection", "help", "--target", target)
    await run("import", str(folder), *where)
    shown = (await run("search", "word1 word2", *where)).output
    assert 0 < shown.index("word1") < shown.index("word7")
    hits = json.loads((await run("search", "word1 word2", *where, "--json", "--limit", "1")).output)
    assert [(one["document_id"], one["title"]) for one in hits] == [("a", "Title")]
    said = json.loads((await run("search", "word2", *where, "--json", "--ranker", "lexical")).output)
    assert [one["document_id"] for one in said] == ["a"]
    assert said[0]["score"] != said[0]["similarity"]
    late = await run("search", "word1", *where, "--min-knowledge-version", "99")
    assert late.exit_code == 4
    assert "99 was asked for" in late.output
    shown = (await run("stats", "help", "--target", target)).output
    assert [line.split()[-1] for line in shown.splitlines()[:4]] == ["2", "4", "1", "3"]
    assert json.loads((await run("stats", "help", "--target", target, "--json")).output)["documents"] == 2


async def test_changes_are_printed_as_they_come(target: str) -> None:
    with Editor(target) as editor:
        await asyncio.to_thread(editor.create, "help")
        watching = asyncio.create_task(run("watch", "help", "--target", target, "--json"))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(editor.upsert, "help", [document_from_proto(document("a"))])
        await asyncio.to_thread(editor.drop, "help")
    lines = [json.loads(line) for line in (await asyncio.wait_for(watching, 10)).output.splitlines()]
    assert [(one["op"], one["document_id"], one["version"]) for one in lines if one["op"] != "seen"] == [
        ("put", "a", 2),
        ("end", "", 3),
    ]
    assert (await run("watch", "help", "--target", target)).exit_code == 4


async def test_the_command_line_says_what_is_wrong(target: str) -> None:
    gone = await run("export", "--collection", "nope", "--target", target)
    assert gone.exit_code == 4
    assert "no stored collection 'nope' here" in gone.output
