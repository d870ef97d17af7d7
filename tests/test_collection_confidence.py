"""A stored collection's own confidence: written as any change, seen by whoever asks, used where it fits, and told."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest

from gateway import assembly
from gateway.cascade.confidence import FEATURES_VERSION, CollectionCalibration, features
from gateway.client import Client, Editor
from gateway.convert import confidence_from_proto, confidence_to_proto
from gateway.errors import InvalidQuestion, UnknownCollection
from gateway.forge import graph
from gateway.knowledge import snapshots
from gateway.knowledge.base import key
from gateway.knowledge.changes import Batch, Calibrate, Create, Drop, Put
from gateway.knowledge.store import Store
from gateway.knowledge.watching import Told, Watching
from gateway.rpc.server import Server
from gateway.telemetry.metrics import Metrics
from gateway.types import Answer, Policy, Route, SearchConfidence
from gateway.v1 import gateway_pb2 as pb
from tests import tiny
from tests.test_editing import OTHERS, Stub, code, config, put, run
from tests.test_editing import document as article
from tests.test_generation import NOBODY, document, query
from tests.test_knowledge_base import PLACE, Desk

CONFIDENCE = SearchConfidence(
    weights=(1.0, 2.0, 0.5, -0.5),
    bias=0.25,
    centre=(0.5, 0.25, 0.125, 0.5),
    scale=(0.25, 0.5, 1.0, 2.0),
    threshold=0.5,
    precision=0.8,
    questions=150,
    features_version=FEATURES_VERSION,
    scored_by="mini",
)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.store.close()


def mine(desk: Desk, threshold: float = 0.5) -> SearchConfidence:
    return replace(CONFIDENCE, scored_by=desk.base.scored_by, threshold=threshold)


def threshold(desk: Desk) -> float | None:
    found = desk.library.look(key(*PLACE), "card", query("card"), NOBODY)
    return found.threshold if found else None


# -- in the store and in memory ---------------------------------------------------------------------------------------


async def test_it_is_seen_by_the_next_question_in_every_process(desk: Desk, tmp_path: Path) -> None:
    await desk.write(Create(), Put(document("a", "card")))
    other = Desk(tmp_path)
    assert (threshold(desk), threshold(other)) == (None, None)
    (version,) = await desk.write(Calibrate(mine(desk)))
    assert threshold(desk) == 0.5
    assert desk.library.generation(key(*PLACE)).version == version == 3  # so that no answer from before is given again
    await other.base.follow()
    assert threshold(other) == 0.5
    await other.write(Calibrate(mine(desk, 0.75)))
    await desk.base.follow()
    assert (threshold(desk), threshold(other)) == (0.75, 0.75)
    await desk.write(Calibrate(None))
    await other.base.follow()
    assert (threshold(desk), threshold(other)) == (None, None)
    assert await desk.write(Calibrate(None)) == (0,)  # nothing to do
    other.store.close()


async def test_it_stays_through_changes_merges_and_a_restart(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.knowledge.generation.OPEN_ROWS", 4)
    await desk.write(Create(), Put(document("a", "card")), Calibrate(mine(desk)))
    for at in range(20):
        await desk.write(Put(document(f"d{at}", "card")))
    await asyncio.gather(*desk.base.merging)
    assert threshold(desk) == 0.5
    again = Desk(tmp_path)
    assert threshold(again) == 0.5
    again.store.close()


async def test_it_ends_with_its_collection(desk: Desk, tmp_path: Path) -> None:
    other = Desk(tmp_path)
    await desk.write(Create(), Calibrate(mine(desk)))
    await desk.write(Drop(), Create(), Put(document("a", "card")))
    await other.base.follow()
    again = Desk(tmp_path)
    for one in (desk, other, again):
        assert (threshold(one), one.store.confidence(*PLACE)) == (None, None)
    await desk.write(Drop(), Create(), Calibrate(mine(desk, 0.75)))
    await other.base.follow()
    assert (threshold(desk), threshold(other)) == (0.75, 0.75)
    other.store.close()
    again.store.close()


async def test_a_collection_that_is_not_there_takes_none(desk: Desk) -> None:
    with pytest.raises(UnknownCollection):
        await desk.write(Calibrate(mine(desk)))


async def test_another_encoder_does_not_use_it_and_says_so_once(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.write(Create(), Put(document("a", "card")), Calibrate(mine(desk)))
    caplog.clear()
    other = Desk(tmp_path, "maxi")
    for at in range(3):
        assert threshold(other) is None
        await other.write(Put(document(f"d{at}", "card")))
    assert caplog.text.count("acme/help: its confidence is not used") == 1
    held = other.library.generation(key(*PLACE)).confidence
    assert held is not None
    assert held.fitted == mine(desk)
    other.store.close()


@pytest.mark.parametrize(
    ("change", "field"), [({"scored_by": "maxi"}, "scored_by"), ({"features_version": FEATURES_VERSION + 1}, "feat")]
)
async def test_one_that_would_not_be_used_is_refused(desk: Desk, change: dict[str, object], field: str) -> None:
    await desk.write(Create())
    with pytest.raises(InvalidQuestion, match=rf"confidence\.{field}"):
        await desk.write(Calibrate(replace(mine(desk), **change)))  # type: ignore[arg-type]
    assert desk.store.last() == 1


async def test_it_is_in_snapshots(desk: Desk, tmp_path: Path) -> None:
    await desk.write(Create(), Calibrate(mine(desk)))
    snapshots.snapshot(desk.store, tmp_path / "copy", lambda done, of: None)
    snapshots.restore(tmp_path / "copy", tmp_path / "other", lambda done, of: None)
    restored = Store(tmp_path / "other")
    assert restored.confidence(*PLACE) == mine(desk)
    restored.close()


async def test_a_lookup_is_the_first_ten_of_a_search_and_how_sure_they_make(desk: Desk) -> None:
    texts = ["card pin", "card fee", "card", "tax", *["loan"] * 12]
    await desk.write(Create(), *(Put(document(f"d{at}", text)) for at, text in enumerate(texts)))
    await desk.write(Calibrate(mine(desk)))
    hits = desk.library.search(key(*PLACE), "card pin", query("card pin"), NOBODY, 10, 1).hits
    looked = desk.library.look(key(*PLACE), "card pin", query("card pin"), NOBODY)
    assert looked is not None
    assert looked.ranking.documents == tuple((hit.document.id, hit.score) for hit in hits)
    scored = [(hit.score, hit.similarity) for hit in hits]
    assert looked.confidence == CollectionCalibration(mine(desk)).confidence(scored)
    assert features(scored)[1] > 0


async def test_who_may_not_read_it_is_not_made_sure_by_it(desk: Desk) -> None:
    await desk.write(Create(), Put(document("a", "card", is_secret=True)), Calibrate(mine(desk)))
    looked = desk.library.look(key(*PLACE), "card", query("card"), NOBODY)
    assert looked is not None
    assert (looked.ranking.documents, looked.confidence) == ((), 0.0)


async def test_who_watches_is_told_of_documents_alone(desk: Desk) -> None:
    await desk.write(Create(), Calibrate(mine(desk)), Put(document("a", "card")))
    told = Watching(desk.store).changes(PLACE, NOBODY, 0)
    assert await anext(told) == Told("put", "a", 3)
    await told.aclose()


async def test_the_same_under_one_key_is_told_apart(desk: Desk) -> None:
    batches = [Batch(*PLACE, (Calibrate(one),)) for one in (mine(desk), mine(desk, 0.75), None)]
    assert len({one.fingerprint() for one in batches}) == 3


# -- over the API -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
async def target(bundle: Path, tmp_path: Path) -> AsyncIterator[str]:
    settings = config(bundle, tmp_path / "data")
    gateway = await assembly.build(settings)
    server = Server(gateway, settings, Metrics(), gateway, edited=gateway)
    yield f"127.0.0.1:{(await server.start()).grpc}"
    await server.stop()
    await gateway.close()


@pytest.fixture
async def knowledge(target: str) -> AsyncIterator[Stub]:
    async with grpc.aio.insecure_channel(target) as channel:
        stub = Stub(channel)
        await stub.CreateCollection(pb.CreateCollectionRequest(collection="help"))
        yield stub


async def fitting(stub: Stub, **changes: object) -> pb.Confidence:
    """One that the server would use."""
    (one,) = (await stub.ListCollections(pb.ListCollectionsRequest())).collections
    return confidence_to_proto(replace(CONFIDENCE, **{"scored_by": one.scored_by} | changes))


async def test_it_is_told_by_collections_and_stats(knowledge: Stub) -> None:
    (before,) = (await knowledge.ListCollections(pb.ListCollectionsRequest())).collections
    assert not before.HasField("confidence")
    assert not (await knowledge.Stats(pb.StatsRequest(collection="help"))).HasField("confidence")
    given = await fitting(knowledge)
    request = pb.SetConfidenceRequest(collection="help", confidence=given)
    assert (await knowledge.SetConfidence(request)).knowledge_version == 2
    given.is_used = True
    for told in (
        (await knowledge.ListCollections(pb.ListCollectionsRequest())).collections[0],
        await knowledge.Stats(pb.StatsRequest(collection="help")),
    ):
        assert told.confidence == given
        assert told.knowledge_version == 2
    for nothing in (pb.SetConfidenceRequest(collection="help"), pb.SetConfidenceRequest(collection="help")):
        cleared = await knowledge.SetConfidence(nothing)
    assert cleared.knowledge_version == 0  # the second time
    assert not (await knowledge.Stats(pb.StatsRequest(collection="help"))).HasField("confidence")


async def test_it_is_the_tenant_s_own(knowledge: Stub) -> None:
    request = pb.SetConfidenceRequest(collection="help", confidence=await fitting(knowledge))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await knowledge.SetConfidence(request, metadata=OTHERS)
    assert code(caught) == ("NOT_FOUND", "no stored collection 'help' here")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"weights": (1.0,) * 3}, "weights"),
        ({"centre": ()}, "centre"),
        ({"scale": (1.0, 1.0, 0.0, 1.0)}, "scale"),
        ({"scale": (1.0, 1.0, -1.0, 1.0)}, "scale"),
        ({"bias": float("nan")}, "bias"),
        ({"weights": (1e300, 0.0, 0.0, 0.0)}, "weights"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"precision": 2.0}, "precision"),
        ({"features_version": 7}, "features_version"),
        ({"scored_by": "another"}, "scored_by"),
    ],
)
async def test_what_is_wrong_with_it_is_named(knowledge: Stub, changes: dict[str, object], field: str) -> None:
    request = pb.SetConfidenceRequest(collection="help", confidence=await fitting(knowledge, **changes))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await knowledge.SetConfidence(request)
    name, said = code(caught)
    assert name == "INVALID_ARGUMENT"
    assert said.startswith(f"confidence.{field}: ")
    assert not (await knowledge.Stats(pb.StatsRequest(collection="help"))).HasField("confidence")


async def test_answers_rest_on_it_and_on_what_search_finds(knowledge: Stub, target: str) -> None:
    await put(knowledge, article("a"), article("b", "word7 word8"), article("c", "word1 word8", "staff"))
    given = await fitting(knowledge, threshold=0.0)
    calibration = CollectionCalibration(confidence_from_proto(given))
    with Client(target, timeout=5) as client:

        def ask(policy: Policy) -> Answer:
            return client.answer("word1 word2", collection="help", policy=policy)

        before = [await asyncio.to_thread(ask, policy) for policy in Policy]
        version = (
            await knowledge.SetConfidence(pb.SetConfidenceRequest(collection="help", confidence=given))
        ).knowledge_version
        hits = await asyncio.to_thread(client.search, "word1 word2", collection="help", limit=10)
        answer = await asyncio.to_thread(ask, Policy.RETRIEVAL_ONLY)
        assert (answer.route, answer.document_id, answer.text) == (Route.RETRIEVAL, "a", "word1 word2")
        assert answer.retrieval_confidence == calibration.confidence([(one.score, one.similarity) for one in hits])
        assert answer.knowledge_version == version
        assert {one.document_id for one in answer.citations} == {"a"}
        given.threshold = 2.0
        await knowledge.SetConfidence(pb.SetConfidenceRequest(collection="help", confidence=given))
        never = await asyncio.to_thread(ask, Policy.RETRIEVAL_ONLY)
        assert (never.route, never.suggestions[0]) == (Route.ABSTAIN, "a")
        await knowledge.SetConfidence(pb.SetConfidenceRequest(collection="help"))
        after = [await asyncio.to_thread(ask, policy) for policy in Policy]
    # Without it all is as it was, to the bit; but for the version, and how long it took.
    assert [_bare(one) for one in after] == [_bare(one) for one in before]


def _bare(answer: Answer) -> Answer:
    return replace(answer, knowledge_version=0, timings={})


async def test_a_swap_to_another_encoder_leaves_it_unused_until_the_first_is_back(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await assembly.build(config(bundle, tmp_path / "data"))
    whole = graph.merge(tiny.weights(1), tiny.SHAPE.num_hidden_layers)
    monkeypatch.setattr(tiny, "merged", lambda: whole)
    other = tiny.write(tmp_path / "other")
    await gateway.write(("default", "help"), [Create()])
    (scored_by,) = [one.scored_by for one in gateway.collections_of("default")]
    await gateway.write(("default", "help"), [Calibrate(replace(CONFIDENCE, scored_by=scored_by))])
    for folder, is_used in ((other, False), (bundle, True)):
        await gateway.swap(folder)
        (now,) = gateway.collections_of("default")
        assert (now.is_confidence_used, now.scored_by == scored_by) == (is_used, is_used)
        assert now.confidence is not None
    await gateway.close()


# -- the command line -------------------------------------------------------------------------------------------------


def questions(path: Path, rows: list[tuple[str, str]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"question": text, "document_id": ids}) + "\n" for text, ids in rows))
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("question", "document_id"), *rows])
    return path


ROWS = [(f"word{at} word{at + 1}", f"d{at}") for at in range(20)] + [(f"word{at} word9", "") for at in range(40, 60)]


@pytest.fixture
async def filled(knowledge: Stub) -> Stub:
    await put(knowledge, *(article(f"d{at}", f"word{at} word{at + 1}.") for at in range(20)))
    return knowledge


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
async def test_a_collection_is_calibrated_on_its_questions(
    filled: Stub, target: str, tmp_path: Path, suffix: str
) -> None:
    path = questions(tmp_path / f"q.{suffix}", ROWS)
    arguments = ("calibrate", str(path), "--collection", "help", "--target", target)
    tried = await run(*arguments, "--dry-run")
    assert tried.exit_code == 0, tried.output
    assert "dry run: nothing was set" in tried.output
    assert "40, of which 20 have no answer in here" in tried.output
    with Editor(target) as editor:
        assert (await asyncio.to_thread(editor.stats, "help")).confidence is None
        done = json.loads((await run(*arguments, "--json")).output)
        stats = await asyncio.to_thread(editor.stats, "help")
        assert stats.confidence is not None
        assert stats.is_confidence_used
        assert list(stats.confidence.weights) == done["confidence"]["weights"]
        assert (stats.confidence.questions, stats.knowledge_version) == (40, done["knowledge_version"])
        told = json.loads((await run("collections", "--json", "--target", target)).output)
        assert [one["threshold"] for one in told] == [stats.confidence.threshold]
        assert f"{stats.confidence.threshold:.3f}" in (await run("stats", "help", "--target", target)).output
        for said in ("cleared", "it had none"):
            assert said in (await run("calibrate", "--clear", "--collection", "help", "--target", target)).output
        assert (await asyncio.to_thread(editor.stats, "help")).confidence is None


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (ROWS[:29], "29 questions are too few"),
        ([(text, "") for text, _ in ROWS], "right for none of 40 questions"),
        ([*ROWS, ("word1", "d1; nope")], "1 document_ids are not in 'help'"),
        ([*ROWS, (" ", "d1")], ":41: question and document_id must be texts"),
        ([*ROWS, ("word1 " * 2000, "d1")], ":41: the gateway refuses it: query: has 12000 characters"),
    ],
)
async def test_what_cannot_be_fitted_is_refused_and_nothing_set(
    filled: Stub, target: str, tmp_path: Path, rows: list[tuple[str, str]], said: str
) -> None:
    path = questions(tmp_path / "q.jsonl", rows)
    failed = await run("calibrate", str(path), "--collection", "help", "--target", target)
    assert failed.exit_code == 1
    assert said in failed.output
    assert not (await filled.Stats(pb.StatsRequest(collection="help"))).HasField("confidence")


async def test_a_precision_that_is_not_reached_is_said(filled: Stub, target: str, tmp_path: Path) -> None:
    rows = [(text, ids if at % 2 else "d19") for at, (text, ids) in enumerate(ROWS)]
    path = questions(tmp_path / "q.csv", rows)
    shown = await run("calibrate", str(path), "--collection", "help", "--target", target, "--precision", "1")
    assert shown.exit_code == 0, shown.output
    assert "never: no confidence reaches that" in shown.output
    told = (await filled.Stats(pb.StatsRequest(collection="help"))).confidence
    assert told.threshold == 2.0


async def test_wrong_usage_is_named(target: str, tmp_path: Path) -> None:
    where = ("--collection", "help", "--target", target)
    assert (await run("calibrate", *where)).exit_code == 2
    path = questions(tmp_path / "q.csv", ROWS)
    assert (await run("calibrate", str(path), "--clear", *where)).exit_code == 2
    (tmp_path / "q.txt").write_text("x")
    assert "read from .jsonl and .csv" in (await run("calibrate", str(tmp_path / "q.txt"), *where)).output
    (tmp_path / "b.csv").write_text("question\nx\n")
    assert (
        "b.csv:2: needs a question and a document_id"
        in (await run("calibrate", str(tmp_path / "b.csv"), *where)).output
    )
    assert (await run("calibrate", str(path), *where)).exit_code in (1, 4)  # no such collection
