"""Batches over one stream: in order, each whole or not at all, failing alone, and ended cleanly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from gateway import assembly
from gateway.client import CallFailed, Editor
from gateway.client.editor import Written
from gateway.config import AdmissionSection, Config
from gateway.knowledge.store import Store
from gateway.rpc import streams
from gateway.rpc.server import Server
from gateway.telemetry.metrics import Metrics
from gateway.types import Document
from gateway.v1 import gateway_pb2 as pb
from tests import tiny
from tests.test_editing import Stub, config, document
from tests.test_refusals import reason
from tests.test_store import document as stored


class Served:
    def __init__(self, server: Server, store: Store, port: int) -> None:
        self.server = server
        self.store = store
        self.target = f"127.0.0.1:{port}"

    def ids(self) -> list[str]:
        return [one.document.id for one in self.store.documents("default", "help")]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def settings(bundle: Path, tmp_path: Path) -> Config:
    return config(bundle, tmp_path / "data")


@pytest.fixture
async def served(settings: Config) -> AsyncIterator[Served]:
    gateway = await assembly.build(settings)
    server = Server(gateway, settings, Metrics(), gateway, edited=gateway)
    yield Served(server, gateway.store, (await server.start()).grpc)
    await server.stop()
    await gateway.close()


@pytest.fixture
async def knowledge(served: Served) -> AsyncIterator[Stub]:
    async with grpc.aio.insecure_channel(served.target) as channel:
        stub = Stub(channel)
        await stub.CreateCollection(pb.CreateCollectionRequest(collection="help"))
        yield stub


async def send(call: Any, *documents: pb.Document, key: str = "") -> None:
    await call.write(pb.UpsertRequest(collection="help", documents=documents, idempotency_key=key))


async def read(call: Any) -> pb.WriteResponse:
    response = await asyncio.wait_for(call.read(), 5)
    assert isinstance(response, pb.WriteResponse)
    return response


async def test_batches_are_acknowledged_in_order(knowledge: Stub, served: Served) -> None:
    call = knowledge.UpsertStream()
    for at in range(20):
        # Each replaces what the one before it has written: out of order it would be refused.
        await send(call, document("a", f"word{at}", expected_version=at + 1 if at else 0), key=f"k{at}")
    for at in range(20):
        response = await read(call)
        assert (response.request_number, list(response.versions)) == (at + 1, [at + 2])
    await send(call, document("a", "word19", expected_version=20), key="k19")
    assert (await read(call)).is_repeat
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_batch_fails_alone_and_whole(knowledge: Stub, served: Served) -> None:
    call = knowledge.UpsertStream()
    await send(call, document("a"), document("b", expected_version=7))
    await send(call)
    await send(call, document("c", ""))
    await send(call, document("d"))
    failed = [await read(call) for _ in range(3)]
    assert [(one.request_number, one.error.reason) for one in failed] == [
        (1, "VERSION_CONFLICT"),
        (2, "INVALID_QUESTION"),
        (3, "INVALID_QUESTION"),
    ]
    assert failed[2].error.message.startswith("documents[0].answer: ")
    fourth = await read(call)
    assert (fourth.request_number, fourth.HasField("error"), list(fourth.versions)) == (4, False, [2])
    assert served.ids() == ["d"]
    call.cancel()


async def test_a_server_that_stops_acknowledges_what_it_has_read(knowledge: Stub, served: Served) -> None:
    call = knowledge.UpsertStream()
    await send(call, document("a"))
    await asyncio.wait_for(_until_written(served, 1), 5)
    draining = asyncio.create_task(served.server.drain())
    assert (await read(call)).request_number == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(call)
    assert reason(caught.value) == "DRAINING"
    await asyncio.wait_for(draining, 5)


class TestQuota:
    @pytest.fixture
    def settings(self, bundle: Path, tmp_path: Path) -> Config:
        slow = AdmissionSection(tenant_rate=0.01, tenant_burst=3)
        return config(bundle, tmp_path / "data").model_copy(update={"admission": slow})

    async def test_batches_count_by_their_documents(self, knowledge: Stub, served: Served) -> None:
        call = knowledge.UpsertStream()
        for names in ("a", "bc", "d"):
            await send(call, *map(document, names))
        assert [(await read(call)).error.reason for _ in range(3)] == ["", "QUOTA_EXCEEDED", ""]
        assert served.ids() == ["a", "d"]
        call.cancel()


# -- the client -------------------------------------------------------------------------------------------------------


def batches(count: int, bad: int = -1) -> Iterator[Sequence[Document]]:
    for at in range(count):
        yield [stored(f"d{at}", "" if at == bad else "word1")]


async def test_the_client_hears_what_came_of_each(knowledge: Stub, served: Served) -> None:
    def write() -> list[Written | CallFailed]:
        with Editor(served.target) as editor:
            return list(editor.upsert_stream("help", batches(10, bad=3), idempotency_key="k"))

    came = await asyncio.to_thread(write)
    failed = came[3]
    assert isinstance(failed, CallFailed)
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "INVALID_QUESTION")
    assert [one.versions for one in came if isinstance(one, Written)] == [(version,) for version in range(2, 11)]
    again = await asyncio.to_thread(write)
    assert [one.is_repeat for one in again if isinstance(one, Written)] == [True] * 9


async def test_the_client_goes_on_in_another_stream(
    knowledge: Stub, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "AGE", 0.05)

    def write() -> int:
        with Editor(served.target) as editor:
            return sum(isinstance(one, Written) for one in editor.upsert_stream("help", batches(200)))

    assert await asyncio.to_thread(write) == 200
    assert len(served.ids()) == 200
    assert served.store.last() == 201  # none was written twice


async def test_what_the_callers_own_batches_raise_reaches_the_caller(knowledge: Stub, served: Served) -> None:
    def broken() -> Iterator[Sequence[Document]]:
        yield from batches(2)
        raise RuntimeError("the file is at its end")

    def write() -> None:
        with Editor(served.target) as editor:
            for one in editor.upsert_stream("help", broken()):
                came.append(one)  # noqa: PERF402

    came: list[Written | CallFailed] = []
    with pytest.raises(RuntimeError, match="the file is at its end"):
        await asyncio.to_thread(write)
    assert len(came) == 2


async def test_nobody_there_is_unavailable() -> None:
    with Editor("127.0.0.1:1") as editor, pytest.raises(CallFailed, match="UNAVAILABLE"):
        await asyncio.to_thread(lambda: list(editor.upsert_stream("help", batches(1))))


async def _until_written(served: Served, count: int) -> None:
    while len(served.ids()) < count:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0.005)
