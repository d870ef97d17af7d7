"""Who watches a collection is told what it may know of each change, in order, once, and for as long as it takes it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from gateway import assembly
from gateway.client import CallFailed, Editor
from gateway.client.editor import Change
from gateway.config import Config
from gateway.errors import KnowledgeBehind, KnowledgeCleared
from gateway.knowledge import watching
from gateway.knowledge.changes import Batch, Create, Drop, Put, Remove
from gateway.knowledge.changes import Change as Written
from gateway.knowledge.library import may_read
from gateway.knowledge.store import Store
from gateway.knowledge.watching import Told, Watching
from gateway.rpc import streams
from gateway.rpc.server import Server
from gateway.telemetry.metrics import Metrics
from gateway.types import Principal
from gateway.v1 import gateway_pb2 as pb
from tests import tiny
from tests.test_editing import OTHERS, STAFF, Stub, code, config, document, put
from tests.test_refusals import reason
from tests.test_store import document as stored

PLACE = ("acme", "help")
NOBODY, CLERK = Principal("acme"), Principal("acme", frozenset({"staff"}))
SECRET = frozenset({"staff"})


# -- what is told -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(tmp_path)
    await write(store, Create())
    yield store
    store.close()


async def write(store: Store, *changes: Written, place: tuple[str, str] = PLACE) -> None:
    await store.write(Batch(*place, changes))


async def told(store: Store, principal: Principal, after: int = 0) -> list[tuple[str, str, int]]:
    """Everything up to now."""
    found: list[tuple[str, str, int]] = []
    async with asyncio.timeout(5):
        async for one in Watching(store).changes(PLACE, principal, after):
            found.append((one.op, one.document_id, one.version))
            if one.op == "seen":
                break
    return found


async def test_changes_are_told_in_order_from_where_one_asks(store: Store) -> None:
    await write(store, Put(stored("a")), Put(stored("b")))
    await write(store, Create(), place=("other", "help"))
    await write(store, Remove("a"))
    assert await told(store, NOBODY) == [("put", "b", 3), ("delete", "a", 5), ("seen", "", 5)]
    assert await told(store, NOBODY, 3) == [("delete", "a", 5), ("seen", "", 5)]
    assert await told(store, NOBODY, 5) == [("seen", "", 5)]


async def test_of_what_one_never_could_read_nothing_is_told(store: Store) -> None:
    for text in ("By post.", "By courier."):
        await write(store, Put(stored("a", text, SECRET)))
    await write(store, Remove("a"))
    assert await told(store, NOBODY) == [("seen", "", 4)]
    assert await told(store, CLERK) == [("delete", "a", 4), ("seen", "", 4)]


async def test_what_became_unreadable_is_told_as_deleted_once(store: Store) -> None:
    await write(store, Put(stored("a")))
    for text in ("By post.", "By courier."):
        await write(store, Put(stored("a", text, SECRET)))
    assert await told(store, NOBODY) == [("delete", "a", 3), ("seen", "", 4)]
    await write(store, Remove("a"))  # and no word of what came of it afterwards
    assert await told(store, NOBODY, 3) == [("seen", "", 5)]


async def test_what_became_readable_again_is_told(store: Store) -> None:
    for groups in (frozenset[str](), SECRET, frozenset[str]()):
        await write(store, Put(stored("a", groups=groups)))
    assert await told(store, NOBODY) == [("put", "a", 2), ("delete", "a", 3), ("put", "a", 4), ("seen", "", 4)]
    assert [op for op, _, _ in await told(store, CLERK)] == ["put", "put", "put", "seen"]


async def test_whoever_follows_holds_what_it_may_read(store: Store) -> None:
    """All ways that a document can go, by two who hold what they were told, from any version on."""
    for before in range(3):
        for then in range(3):
            for now in range(3):
                name = f"d{before}{then}{now}"
                for kind in (before, then, now):
                    await write(store, (Remove(name), Put(stored(name)), Put(stored(name, groups=SECRET)))[kind])
    last = store.last()
    for principal in (NOBODY, CLERK):
        for after in range(0, last, 5):
            held: set[str] = set()  # as of that version
            for one in store.changes(0):
                written = store.around(one).written
                if one.seq <= after and written and may_read(written.document, principal):
                    held.add(one.document_id)
                elif one.seq <= after:
                    held.discard(one.document_id)
            for op, name, _ in await told(store, principal, after):
                if op == "put":
                    held.add(name)
                elif op == "delete":
                    held.discard(name)
            assert held == {one.document.id for one in store.documents(*PLACE) if may_read(one.document, principal)}


async def test_a_collection_s_end_is_the_last(store: Store) -> None:
    await write(store, Put(stored("a")))
    await write(store, Drop())
    await write(store, Create(), Put(stored("b")))
    ended = [(one.op, one.version) async for one in Watching(store).changes(PLACE, NOBODY, 1)]
    assert ended == [("end", 3)]
    assert await told(store, NOBODY, 3) == [("put", "b", 5), ("seen", "", 5)]
    assert await told(store, NOBODY) == [("put", "b", 5), ("seen", "", 5)]


async def test_what_is_cleared_cannot_be_told_right(store: Store) -> None:
    await write(store, Put(stored("a")))
    await write(store, Put(stored("a", groups=SECRET)))
    await asyncio.to_thread(store.clear, 1e12)
    with pytest.raises(KnowledgeCleared, match="after knowledge version 2 is not all kept"):
        await told(store, NOBODY, 2)
    assert await told(store, NOBODY, 3) == [("seen", "", 3)]
    assert await told(store, NOBODY) == [("seen", "", 3)]  # who holds nothing has nothing to be taken back
    with pytest.raises(KnowledgeBehind, match="sees knowledge version 3, and 4 was asked for"):
        await told(store, NOBODY, 4)


async def test_secret_changes_are_not_given_away_by_when_something_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SEEN_PERIOD", 0.3)
    found: asyncio.Queue[Told] = asyncio.Queue()

    async def follow() -> None:
        async for one in Watching(store).changes(PLACE, NOBODY, 0):
            found.put_nowait(one)

    following = asyncio.create_task(follow())
    assert (await asyncio.wait_for(found.get(), 5)).op == "seen"
    await write(store, Put(stored("a", groups=SECRET)))
    await asyncio.sleep(0.15)
    assert found.empty()
    assert await asyncio.wait_for(found.get(), 5) == Told("seen", "", 2)
    following.cancel()


async def test_many_changes_of_others_are_looked_through_piece_by_piece(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "WINDOW", 3)
    await write(store, Create(), *(Put(stored(f"d{at}")) for at in range(20)), place=("other", "help"))
    await write(store, Put(stored("a")))
    assert await told(store, NOBODY, 1) == [("put", "a", 23), ("seen", "", 23)]


# -- over the API -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def settings(bundle: Path, tmp_path: Path) -> Config:
    found = config(bundle, tmp_path / "data")
    return found.model_copy(update={"knowledge": found.knowledge.model_copy(update={"tenant_watchers": 2})})


class Served:
    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.target = f"127.0.0.1:{port}"


@pytest.fixture
async def served(settings: Config) -> AsyncIterator[Served]:
    gateway = await assembly.build(settings)
    server = Server(gateway, settings, Metrics(), gateway, edited=gateway)
    yield Served(server, (await server.start()).grpc)
    await server.stop()
    await gateway.close()


@pytest.fixture
async def knowledge(served: Served) -> AsyncIterator[Stub]:
    # Little that HTTP/2 holds for a caller who reads nothing.
    options = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024))
    async with grpc.aio.insecure_channel(served.target, options=options) as channel:
        stub = Stub(channel)
        await stub.CreateCollection(pb.CreateCollectionRequest(collection="help"))
        yield stub


def watch(stub: Stub, after: int = 0, metadata: tuple[tuple[str, str], ...] = ()) -> Any:
    return stub.Watch(pb.WatchRequest(collection="help", after=after), metadata=metadata)


async def read(call: Any) -> tuple[str, str, int]:
    one = await asyncio.wait_for(call.read(), 5)
    assert one is not grpc.aio.EOF
    return pb.WatchOp.Name(one.op).removeprefix("WATCH_OP_").lower(), one.document_id, one.version


async def test_own_writes_are_told_at_once(knowledge: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "POLL", 60.0)
    call = watch(knowledge)
    assert await read(call) == ("seen", "", 1)
    for version in (2, 3):
        await put(knowledge, document("a"))
        assert await read(call) == ("put", "a", version)
    await knowledge.Delete(pb.DeleteRequest(collection="help", document_ids=["a"]))
    assert await read(call) == ("delete", "a", 4)
    await knowledge.DropCollection(pb.DropCollectionRequest(collection="help"))
    assert await read(call) == ("end", "", 5)
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_what_other_processes_write_is_told_too(knowledge: Stub, tmp_path: Path) -> None:
    call = watch(knowledge)
    assert await read(call) == ("seen", "", 1)
    other = Store(tmp_path / "data")
    await write(other, Put(stored("a")), place=("default", "help"))
    other.close()
    assert await read(call) == ("put", "a", 2)


async def test_each_is_told_what_it_may_know(knowledge: Stub) -> None:
    everybody, clerk = watch(knowledge), watch(knowledge, metadata=STAFF)
    for call in (everybody, clerk):
        assert await read(call) == ("seen", "", 1)
    await put(knowledge, document("a", "word1", "staff"))
    await put(knowledge, document("b"))
    assert await read(everybody) == ("put", "b", 3)
    assert [await read(clerk), await read(clerk)] == [("put", "a", 2), ("put", "b", 3)]


async def test_no_more_watch_than_a_tenant_may(knowledge: Stub) -> None:
    calls = [watch(knowledge) for _ in range(2)]
    for call in calls:
        await read(call)
    with pytest.raises(grpc.aio.AioRpcError, match="2 streams of this tenant watch, limit 2") as caught:
        await read(watch(knowledge))
    assert reason(caught.value) == "OVERLOADED"
    calls[0].cancel()
    async with asyncio.timeout(5):
        while True:
            try:
                await read(watch(knowledge))
                break
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(("after", "named"), [(99, "KNOWLEDGE_BEHIND"), (2**63, "INVALID_QUESTION")])
async def test_a_version_that_is_none_is_refused(knowledge: Stub, after: int, named: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(watch(knowledge, after))
    assert reason(caught.value) == named


async def test_another_tenant_has_nothing_to_watch(knowledge: Stub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(watch(knowledge, metadata=OTHERS))
    assert code(caught) == ("NOT_FOUND", "no stored collection 'help' here")


async def test_a_server_that_stops_says_so(knowledge: Stub, served: Served) -> None:
    call = watch(knowledge)
    await read(call)
    draining = asyncio.create_task(served.server.drain())
    with pytest.raises(grpc.aio.AioRpcError, match="stopping") as caught:
        await read(call)
    assert reason(caught.value) == "DRAINING"
    await asyncio.wait_for(draining, 5)


async def test_a_caller_who_takes_nothing_is_given_up(knowledge: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PATIENCE", 0.2)
    for _ in range(12):
        await put(knowledge, *(document(f"{at:0120}", "word1") for at in range(250)))
    call = watch(knowledge)
    await read(call)
    await asyncio.sleep(0.8)
    taken = 0
    with pytest.raises(grpc.aio.AioRpcError, match="nothing was taken") as caught:  # noqa: PT012
        while True:
            await read(call)
            taken += 1
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert taken < 3000


async def test_the_client_goes_on_in_another_stream(
    knowledge: Stub, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "AGE", 0.2)
    seen: list[Change] = []
    is_over = threading.Event()

    def follow() -> None:
        with Editor(served.target) as editor:
            for one in editor.watch("help"):
                seen.append(one)
                if one.op == "end":
                    is_over.set()

    following = asyncio.create_task(asyncio.to_thread(follow))
    for version in range(2, 6):
        await put(knowledge, document("a"))
        await asyncio.wait_for(_until(lambda at=version: any(one.version == at for one in seen)), 5)  # type: ignore[misc]
        await asyncio.sleep(0.15)
    await knowledge.DropCollection(pb.DropCollectionRequest(collection="help"))
    await asyncio.wait_for(following, 5)
    assert is_over.is_set()
    assert [(one.op, one.version) for one in seen if one.op != "seen"] == [
        *(("put", version) for version in range(2, 6)),
        ("end", 6),
    ]
    with Editor(served.target) as editor, pytest.raises(CallFailed, match="no stored collection 'help' here"):
        await asyncio.to_thread(next, editor.watch("help"))


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0.005)
