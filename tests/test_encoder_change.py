"""Another encoder for what is stored: one record of the log switches all who follow it, and back the same way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner

from gateway import assembly
from gateway.cli.main import cli
from gateway.deadline import Deadline
from gateway.errors import InferenceFailed, StoreFull, UnknownCollection
from gateway.following import Following
from gateway.forge import graph, trunk
from gateway.knowledge.backfill import Backfill, count_unembedded
from gateway.knowledge.changes import EVERYWHERE, Batch, Create, Put, Remove, Stored, Switch, Switched
from gateway.knowledge.documents import PASSAGES_VERSION
from gateway.knowledge.store import Store
from gateway.knowledge.verifying import verify
from gateway.knowledge.watching import Watching
from gateway.model.engine import Engine
from gateway.rpc.reach import Reach
from gateway.rpc.reading import Reading
from gateway.rpc.server import Ports, Server
from gateway.shadow import Shadow
from gateway.swapping import Swapping
from gateway.telemetry.metrics import Metrics
from gateway.types import Answer, Document, Policy, Principal, Question, StoredFigures
from gateway.workers.admin import _added
from tests import tiny
from tests.fakes import ABSTENTION, ANSWER, FakeGateway
from tests.test_editing import config
from tests.test_watching import told

PLACE = ("default", "help")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "1")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another encoder."""
    whole = graph.merge(tiny.weights(1), tiny.SHAPE.num_hidden_layers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "merged", lambda: whole)
        return tiny.write(tmp_path_factory.mktemp("bundles") / "2", version="2")


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that any encoder embeds from now on, but questions."""
    texts: list[str] = []
    embed, embed_soon = Engine.embed, Engine.embed_soon

    def noted(self: Engine, some: Sequence[str], *more: Any) -> Any:
        texts.extend(some)
        return embed(self, some, *more)

    async def noted_soon(self: Engine, some: Sequence[str]) -> Any:
        texts.extend(some)
        return await embed_soon(self, some)

    monkeypatch.setattr(Engine, "embed", noted)
    monkeypatch.setattr(Engine, "embed_soon", noted_soon)
    return texts


@dataclass
class Gate:
    """Where embedding stops after `left` calls, until it is `opened`; `reached` is set then."""

    left: int
    reached: threading.Event
    opened: threading.Event


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Of the back-fill's passes."""
    gate = Gate(2, threading.Event(), threading.Event())
    made = Backfill._made

    def waited(self: Backfill, some: Sequence[Stored]) -> Any:
        if gate.left == 0:
            gate.reached.set()
            assert gate.opened.wait(60)
        gate.left -= 1
        return made(self, some)

    monkeypatch.setattr(Backfill, "_made", waited)
    monkeypatch.setattr("gateway.knowledge.backfill.BESIDE", 4)
    yield gate
    gate.opened.set()


def soon() -> Deadline:
    return Deadline.after(60)


Opened = Callable[[Path], Awaitable[Swapping]]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    """Opens gateways on one store, each as a process has it."""
    gateways: list[Swapping] = []

    async def opening(bundle: Path) -> Swapping:
        gateways.append(await assembly.build(config(bundle, tmp_path / "data")))
        return gateways[-1]

    yield opening
    for gateway in gateways:
        await gateway.close()


def document(name: str, text: str = "word1 word2") -> Document:
    return Document(name, f"Title of {name}", "", "", text, f"{text}\n\nword3")


async def put(gateway: Swapping, *names: str) -> None:
    await gateway.write(PLACE, [Put(document(name)) for name in names])


async def found(gateway: Swapping) -> tuple[str, list[str]]:
    """The bundle that answers, and the documents that it finds."""
    await gateway.follow()
    answer = await gateway.answer(Question("word1 word2", "default/help"), soon())
    evidence = await gateway.search("word1 word2", "default/help", Principal(), 50, soon())
    return answer.bundle, sorted(hit.document.id for hit in evidence.hits)


def sha(gateway: Swapping) -> str:
    return gateway.describe().bundle_sha256


# -- the record -------------------------------------------------------------------------------------------------------


async def test_a_swap_is_a_record_and_so_is_the_way_back(opened: Opened, bundle: Path, other: Path) -> None:
    gateway = await opened(bundle)
    await gateway.write(PLACE, [Create(), Put(document("a"))])
    assert gateway.store.switched() is None
    names = {}
    for version, folder in ((3, other), (4, bundle)):
        await gateway.swap(folder)
        now = gateway.store.switched()
        assert now is not None
        names[folder] = now.encoder
        assert (now.bundle, now.version, now.encoder.startswith(sha(gateway))) == (f"tiny/{folder.name}", version, True)
        assert gateway.version("default/help") == version
    await gateway.roll_back()
    assert [(one.op, one.document_id) for one in gateway.store.changes(2)] == [
        ("encoder", names[one]) for one in (other, bundle, other)
    ]
    assert list(verify(gateway.store, lambda done, of: None)) == []


async def test_another_bundle_with_the_same_encoder_is_no_record(
    opened: Opened, bundle: Path, tmp_path: Path, embedded: list[str]
) -> None:
    gateway = await opened(bundle)
    await gateway.swap(bundle)
    last = gateway.store.last()
    assert (await gateway.swap(tiny.write(tmp_path / "3", version="3"))).bundle == "tiny/3"
    assert (gateway.store.last(), embedded) == (last, [])


async def test_another_head_on_the_same_encoder_embeds_nothing_again(
    opened: Opened, tmp_path: Path, embedded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a turn of the flywheel makes it."""
    first = tiny.write(tmp_path / "1")
    headed = tiny.merged() | {"answer.bias": tiny.merged()["answer.bias"] + 0.5}
    monkeypatch.setattr(tiny, "merged", lambda: headed)
    second = tiny.write(tmp_path / "2", version="2")
    for folder in (first, second):
        trunk.write(folder)
    gateway = await opened(first)
    await gateway.write(PLACE, [Create(), Put(document("a"))])
    await gateway.swap(first)  # so that the log has a word on it
    last, before = gateway.store.last(), sha(gateway)
    embedded.clear()
    await gateway.swap(second)
    assert (await found(gateway), embedded, gateway.store.last()) == (("tiny/2", ["a"]), [], last)
    assert sha(gateway) != before


async def test_the_way_back_embeds_nothing(opened: Opened, bundle: Path, other: Path, embedded: list[str]) -> None:
    gateway = await opened(bundle)
    await gateway.write(PLACE, [Create()])
    await put(gateway, *(f"d{at}" for at in range(9)))
    await gateway.swap(other)
    embedded.clear()
    await gateway.roll_back()
    assert (await found(gateway), embedded) == (("tiny/1", sorted(f"d{at}" for at in range(9))), [])
    await put(gateway, "new")
    embedded.clear()
    await gateway.roll_back()
    assert (await found(gateway))[1][-1] == "new"
    assert {text.partition(".")[0] for text in embedded} == {"Title of new"}  # what came meanwhile


@pytest.mark.parametrize("is_told", [False, True])
async def test_who_has_it_prepared_follows_the_record(opened: Opened, bundle: Path, other: Path, is_told: bool) -> None:
    """Two workers, of which the second may be told by its supervisor too, before or after it has asked the log."""
    first, second = await opened(bundle), await opened(bundle)
    await first.write(PLACE, [Create(), Put(document("a"))])
    for gateway in (first, second):
        await gateway.prepare(other)
    await put(first, "b")
    assert await found(second) == ("tiny/1", ["a", "b"])
    await first.switch(other)
    if is_told:
        assert (await second.switch(other)).bundle == "tiny/2"
    assert await found(second) == await found(first) == ("tiny/2", ["a", "b"])
    if not is_told:
        assert (await second.switch(other)).bundle == "tiny/2"
    assert [one.op for one in first.store.changes(0)].count("encoder") == 1
    await second.swap(bundle)  # to which the first has nothing prepared
    assert (await found(first), await found(second)) == (("tiny/2", ["a", "b"]), ("tiny/1", ["a", "b"]))


async def test_what_is_prepared_waits_for_a_record_that_comes_after_it(
    opened: Opened, bundle: Path, other: Path
) -> None:
    first = await opened(bundle)
    await first.write(PLACE, [Create(), Put(document("a"))])
    await first.swap(other)
    second = await opened(bundle)
    await second.prepare(other)
    assert await found(second) == ("tiny/1", ["a"])


async def test_where_the_record_cannot_be_written_nothing_is_switched(
    opened: Opened, bundle: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await opened(bundle)
    await gateway.write(PLACE, [Create(), Put(document("a"))])

    async def full(self: Store, batch: Batch) -> None:
        raise StoreFull("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(Store, "write", full)
        with pytest.raises(StoreFull):
            await gateway.swap(other)
    assert (await found(gateway), gateway.store.switched()) == (("tiny/1", ["a"]), None)
    await gateway.swap(other)
    assert (await found(gateway))[0] == "tiny/2"


async def test_a_start_follows_its_settings_and_says_what_the_store_was_switched_to(
    opened: Opened, bundle: Path, other: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.model.arithmetic.products_are_exact", lambda: True)
    caplog.set_level(logging.WARNING)
    first = await opened(bundle)
    await first.write(PLACE, [Create(), Put(document("a"))])
    await first.swap(other)
    assert not caplog.messages
    second = await opened(bundle)
    (said,) = caplog.messages
    assert f"switched to the encoder of tiny/2 ({sha(first)[:12]}) by change 3, and are searched here by that" in said
    stored = [one.describe().stored for one in (first, second)]
    assert [one and one.is_encoder_current for one in stored] == [True, False]
    assert await found(second) == ("tiny/1", ["a"])
    caplog.clear()
    await opened(other)
    assert not caplog.messages


async def test_who_has_nothing_prepared_says_so_once_and_goes_on(
    opened: Opened, bundle: Path, other: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await opened(bundle), await opened(bundle)
    await first.write(PLACE, [Create(), Put(document("a"))])
    await first.swap(other)
    for _ in range(2):
        assert await found(second) == ("tiny/1", ["a"])
    assert caplog.text.count("were switched to the encoder of tiny/2") == 1


async def test_watchers_of_every_collection_are_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for place in (("acme", "help"), ("other", "help")):
        await store.write(Batch(*place, (Create(),)))
    for name in ("maxi", "maxi", "mini"):
        await store.write(Batch(*EVERYWHERE, (Switch(name, "tiny/1"),)))
    assert await told(store, Principal("acme")) == [("encoder", "", 3), ("encoder", "", 4), ("seen", "", 4)]
    one = await anext(Watching(store).changes(("acme", "help"), Principal("acme"), 3))
    assert (one.op, one.encoder) == ("encoder", "mini")
    assert store.switched() == Switched("mini", "tiny/1", 4)
    store.close()


async def test_a_record_that_is_not_what_the_log_says_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    await store.write(Batch(*EVERYWHERE, (Switch("maxi", "tiny/1"),)))
    assert list(verify(store, lambda done, of: None)) == []
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM meta WHERE name = 'encoder'")
    assert list(verify(store, lambda done, of: None)) == [
        "what is current is not what change 1, the last of the log, says",
        "searches go by the encoder and change None, by the log it is ('maxi', 1)",
    ]
    store.close()


# -- the back-fill ----------------------------------------------------------------------------------------------------


async def test_what_is_written_meanwhile_is_embedded_before_the_switch(
    opened: Opened, bundle: Path, other: Path, gate: Gate, embedded: list[str]
) -> None:
    gateway = await opened(bundle)
    await gateway.write(PLACE, [Create()])
    await put(gateway, *(f"d{at:02}" for at in range(20)))
    swap = asyncio.create_task(gateway.swap(other))
    await asyncio.to_thread(gate.reached.wait, 60)
    await put(gateway, "d03", "d07", "d19", "new")  # two that were embedded, one that was not, and one more
    await gateway.write(PLACE, [Remove("d00"), Remove("d18")])
    assert await found(gateway) == ("tiny/1", sorted({f"d{at:02}" for at in range(1, 20)} - {"d18"} | {"new"}))
    embedded.clear()
    gate.opened.set()
    await swap
    assert await found(gateway) == ("tiny/2", sorted({f"d{at:02}" for at in range(1, 20)} - {"d18"} | {"new"}))
    assert {text.partition(".")[0].removeprefix("Title of ") for text in embedded} == {
        *(f"d{at:02}" for at in range(8, 20) if at != 18),
        *("d03", "d07", "new"),
    }


async def test_its_progress_is_seen_while_another_bundle_answers(
    opened: Opened, bundle: Path, other: Path, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    gateway = await opened(bundle)
    server = Server(gateway, config(bundle, None), Metrics(), gateway, edited=gateway)
    ports = await server.start()
    await gateway.write(PLACE, [Create()])
    await put(gateway, *(f"d{at:02}" for at in range(20)))
    swap = asyncio.create_task(gateway.swap(other))
    await asyncio.to_thread(gate.reached.wait, 60)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{ports.admin}") as session:
        stored = (await (await session.get("/status")).json())["stored"]
        assert stored["backfill"] == {"bundle": "tiny/2", "done": 8, "total": 20}
        assert "gateway_knowledge_backfill_done 8.0" in await (await session.get("/metrics")).text()
    arguments = ["knowledge", "stats", "help", "--target", f"127.0.0.1:{ports.grpc}"]
    shown = (await asyncio.to_thread(CliRunner().invoke, cli, arguments)).output
    assert f"embedded by {sha(gateway)[:12]}" in shown
    assert "20 of 20 documents, which searches go by" in shown
    assert "  8 of 20 documents  " in shown
    gate.opened.set()
    await swap
    last = gateway.store.last()
    [change] = gateway.store.changes(last - 1)
    assert gateway.describe().stored == StoredFigures(
        1, 20, 40, 1, last, f"{sha(gateway)} {PASSAGES_VERSION}", written=change.at
    )
    said = [one for one in caplog.messages if one.startswith("tiny/2: ")]
    assert said[0] == "tiny/2: 20 stored documents are to be embedded by its encoder"
    assert said[-1].startswith("tiny/2: 20 stored documents were embedded in ")
    await server.stop()


# -- beside the one that serves ---------------------------------------------------------------------------------------


async def until(is_true: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not is_true():  # noqa: ASYNC110  # what others do in their own time
            await asyncio.sleep(0.01)


def documents(gateway: Any) -> set[str]:
    """That a gateway would search, without asking it to look at the log."""
    return {one.id for one in gateway.library.generation("default/help").documents}


@pytest.mark.parametrize("is_shadow", [False, True])
async def test_what_serves_nobody_yet_follows_the_log(
    opened: Opened, bundle: Path, other: Path, is_shadow: bool
) -> None:
    gateway = await opened(bundle)
    await gateway.write(PLACE, [Create(), Put(document("a")), Put(document("b"))])
    if is_shadow:
        await gateway.cast_shadow(other, 1.0)
        assert gateway._shadow is not None
        beside: Any = gateway._shadow.candidate
    else:
        await gateway.prepare(other)
        assert gateway._prepared is not None
        beside = gateway._prepared.gateway
    assert documents(beside) == {"a", "b"}
    await gateway.write(PLACE, [Put(document("c")), Remove("a")])
    await until(lambda: documents(beside) == {"b", "c"})
    with gateway.store.apart() as read:  # and others of that encoder find it
        await until(lambda: not count_unembedded(read, beside.heard().encoder))


async def test_a_shadow_knows_what_was_written_before_the_question(
    opened: Opened, bundle: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.following.PERIOD", 3600.0)
    gateway = await opened(bundle)
    await gateway.write(PLACE, [Create()])
    await gateway.cast_shadow(other, 1.0)
    assert gateway._shadow is not None
    candidate: Any = gateway._shadow.candidate
    for name in ("a", "b", "c"):
        await put(gateway, name)
        await gateway.answer(Question("word1 word2", "default/help"), soon())
        assert gateway._shadow._task is not None
        await gateway._shadow._task
        assert name in documents(candidate)


async def test_where_following_fails_it_is_said_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    gateway = FakeGateway()
    looks = 0

    async def follow() -> None:
        nonlocal looks
        looks += 1
        raise InferenceFailed("broken")

    gateway.follow = follow  # type: ignore[method-assign]
    following = Following(gateway, period=0.0)
    await until(lambda: looks > 2)
    await following.end()
    assert "banking/1 could not follow the log" in caplog.text


def swapped(ports: Ports, *arguments: str) -> Any:
    return asyncio.to_thread(CliRunner().invoke, cli, ["swap", *arguments, "--admin", f"127.0.0.1:{ports.admin}"])


async def test_a_shadow_is_compared_by_what_both_answer_and_find(
    opened: Opened, bundle: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await opened(bundle)
    server = Server(gateway, config(bundle, None), Metrics(), gateway, edited=gateway)
    ports = await server.start()
    await gateway.write(PLACE, [Create()])
    await put(gateway, "a", "b")
    said = (await swapped(ports, str(other), "--shadow", "1")).output
    assert said.endswith("sees 100.0% of the questions; `gateway swap --status` compares\n")
    assert gateway._shadow is not None
    for number, hides in enumerate((False, True), 1):
        if hides:  # the candidate finds one of the two, and not the first
            candidate: Any = gateway._shadow.candidate
            best = (await gateway.search("word1 word2", "default/help", Principal(), 1, soon())).hits[0].document.id
            now = candidate.library.generation("default/help")
            candidate.library.replace("default/help", now.changed(now.version, [], frozenset({best})))
        await gateway.answer(Question("word1 word2", "default/help", policy=Policy.MODEL_ONLY), soon())
        assert gateway._shadow._task is not None
        await gateway._shadow._task
        assert gateway._shadow.figures.searches == number
    figures = gateway._shadow.figures
    assert (figures.same_first, figures.hits, figures.shared) == (1, 4, 3)
    output = (await swapped(ports, "--status")).output
    assert "beside it tiny/2 sees 100.0% of the questions\n  answers   2: " in output
    assert "  searches  2: the same first for 50.0%, and 75.0% of the ten best are shared\n" in output
    async with aiohttp.ClientSession(f"http://127.0.0.1:{ports.admin}") as session:
        for _ in range(2):  # what was counted once is not counted again
            text = await (await session.get("/metrics")).text()
            assert "gateway_shadow_shared_total 3.0" in text
    assert "no bundle sees questions" in (await swapped(ports, "--end-shadow")).output
    assert "beside it" not in (await swapped(ports, "--status")).output
    assert (await swapped(ports, "--shadow", "1")).exit_code == 2
    await server.stop()


async def test_moves_to_another_route_are_counted_by_where_from_and_where_to() -> None:
    async def abstained(question: Question, deadline: Deadline) -> Answer:
        return ABSTENTION

    candidate = FakeGateway(abstained)
    candidate.waiting = lambda: 0  # type: ignore[method-assign]
    shadow = Shadow(candidate, 1.0, lambda agreement, seconds: None)
    for _ in range(2):
        shadow.offer(Question("why?", "banking"), ANSWER, 0, candidate)
        assert shadow._task is not None
        await shadow._task
    figures = shadow.figures
    assert (figures.answers, figures.moves) == ({"other_route": 2}, {"model > abstain": 2})
    assert (figures.searches, figures.same_first, figures.hits, figures.shared) == (2, 2, 2, 2)
    await shadow.close()


async def test_a_search_that_fails_is_no_comparison() -> None:
    async def gone(*_: object) -> Any:
        raise UnknownCollection("no such collection here")

    candidate, serving = FakeGateway(), FakeGateway()
    serving.waiting = lambda: 0  # type: ignore[method-assign]
    serving.search = gone  # type: ignore[assignment, method-assign]
    shadow = Shadow(candidate, 1.0, lambda agreement, seconds: None)
    shadow.offer(Question("why?", "banking"), ANSWER, 0, serving)
    assert shadow._task is not None
    await shadow._task
    assert (shadow.figures.searches, shadow.figures.answers) == (0, {"same": 1})
    await shadow.close()


def test_workers_shadows_are_told_as_one() -> None:
    one = {"bundle": "tiny/2", "share": 0.5, "answers": {"same": 3}, "moves": {}, "searches": 3, "hits": 20}
    two = {"bundle": "tiny/2", "share": 0.5, "answers": {"same": 1, "failed": 2}, "moves": {}, "searches": 1, "hits": 5}
    assert _added([one, two]) == {
        "bundle": "tiny/2",
        "share": 0.5,
        "moves": {},
        "answers": {"same": 4, "failed": 2},
        "searches": 4,
        "hits": 25,
    }
    assert _added([]) is None


async def test_a_page_is_read_beside_all_other_reads(opened: Opened, bundle: Path) -> None:
    gateway = await opened(bundle)
    await gateway.write(PLACE, [Create()])
    await put(gateway, *(f"d{at:02}" for at in range(40)))
    reading = Reading(gateway, Reach(gateway), None, 0)
    with gateway.store._rows._turn:  # as a question that looks at the log holds it
        page = await asyncio.wait_for(asyncio.to_thread(reading._page, Principal(), "help", "", 35), 60)
    assert [one.document.id for one in page.documents] == [f"d{at:02}" for at in range(35)]
    assert page.next_page_token == "d34"
